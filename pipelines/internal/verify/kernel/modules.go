package kernel

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// checkModules checks the signature of every module of a kernel that has modules.
func (f *files) checkModules() error {
	const name = "module signatures"
	if !f.Modules {
		return nil
	}
	path := f.t.Outputs[ModulesOutput]
	if path == "" {
		f.r.Skip(name, "there is no tarball of the modules next to the kernel's")
		return nil
	}
	dir, err := os.MkdirTemp(f.t.Dir, "modules-")
	if err != nil {
		return fmt.Errorf("making a folder for the modules: %w", err)
	}
	modules, compressed, err := unpackModules(path, dir)
	switch {
	case err != nil:
		f.r.Fail(name, "reading %s: %v", path, err)
	case len(modules)+len(compressed) == 0:
		f.r.Fail(name, "no modules in %s", path)
	case len(compressed) > 0:
		f.r.Fail(name, "%d modules are compressed, %s first: install them as .ko", len(compressed), compressed[0])
	default:
		f.judgeModules(name, modules)
	}
	return nil
}

// module is a module of a tarball, and where it was unpacked.
type module struct{ name, path string }

// unpackModules unpacks the modules of a tarball into a flat folder.
func unpackModules(tarball, dir string) (modules []module, compressed []string, err error) {
	const maxModule = 1 << 30
	file, err := os.Open(tarball)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	_, err = archive.Extract(file, func(name string, size int64) (string, error) {
		if strings.HasSuffix(name, ".ko.xz") || strings.HasSuffix(name, ".ko.zst") || strings.HasSuffix(name, ".ko.gz") {
			compressed = append(compressed, name)
		}
		if !strings.HasSuffix(name, ".ko") {
			return "", nil
		}
		if size > maxModule {
			return "", fmt.Errorf("it has %d bytes: a module has at most %d", size, maxModule)
		}
		m := module{name, filepath.Join(dir, strconv.Itoa(len(modules)))}
		modules = append(modules, m)
		return m.path, nil
	})
	return modules, compressed, err
}

// judgeModules judges the signatures of unpacked modules.
func (f *files) judgeModules(name string, modules []module) {
	certificate, err := certificate(f.Certificate)
	if err != nil {
		f.r.Fail(name, "the certificate of the tree: %v", err)
		return
	}
	var problems []string
	signed, hash := 0, ""
	for _, m := range modules {
		data, err := os.ReadFile(m.path)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		signature, err := parseSignature(data)
		if errors.Is(err, errUnsigned) && f.options["CONFIG_MODULE_SIG"] != "y" {
			continue
		}
		if err == nil && certificate != nil {
			err = signature.verify(certificate)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", m.name, err))
			continue
		}
		signed, hash = signed+1, signature.hash.String()
	}
	switch {
	case len(problems) == 0 && signed == 0:
		f.r.Skip(name, "%d modules, unsigned, as CONFIG_MODULE_SIG is off", len(modules))
	case certificate == nil:
		f.r.Judge(name, problems, "%d of %d modules are signed with %s; the signer is not checked: the tree declares no certificate", signed, len(modules), hash)
	default:
		f.r.Judge(name, problems, "%d of %d modules are signed with %s by the tree's certificate", signed, len(modules), hash)
	}
}

// certificate reads a PEM certificate, nil if there is none.
func certificate(data []byte) (*x509.Certificate, error) {
	if data == nil {
		return nil, nil
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
