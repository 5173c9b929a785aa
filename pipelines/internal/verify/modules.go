package verify

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
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/modsig"
)

// checkModules checks the signature of every module, where the kernel has any.
func (k Kernel) checkModules(report *Report, f *files) error {
	const name = "module signatures"
	if k.Modules == "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "kata-verify-modules-")
	if err != nil {
		return fmt.Errorf("making a folder for the modules: %w", err)
	}
	defer os.RemoveAll(dir)
	modules, compressed, err := unpackModules(k.Modules, dir)
	if err != nil {
		report.Fail(name, "reading %s: %v", k.Modules, err)
		return nil
	}
	switch {
	case len(modules)+len(compressed) == 0:
		report.Fail(name, "no modules in %s", k.Modules)
	case len(compressed) > 0:
		report.Fail(name, "%d modules are compressed, %s first: install them as .ko", len(compressed), compressed[0])
	default:
		k.judgeModules(report, f, modules)
	}
	return nil
}

// module is one of a tarball, and where it was put.
type module struct{ name, path string }

// unpackModules puts the modules of a tarball into a flat folder.
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
			return "", fmt.Errorf("it has %d bytes: a module has less than %d", size, maxModule)
		}
		m := module{name, filepath.Join(dir, strconv.Itoa(len(modules)))}
		modules = append(modules, m)
		return m.path, nil
	})
	return modules, compressed, err
}

func (k Kernel) judgeModules(report *Report, f *files, modules []module) {
	const name = "module signatures"
	certificate, err := certificate(k.Certificate)
	if err != nil {
		report.Fail(name, "the certificate of the tree: %v", err)
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
		signature, err := modsig.Parse(data)
		if errors.Is(err, modsig.ErrUnsigned) && f.options["CONFIG_MODULE_SIG"] != "y" {
			continue
		}
		if err == nil && certificate != nil {
			err = signature.Verify(certificate)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", m.name, err))
			continue
		}
		signed, hash = signed+1, signature.Hash
	}
	switch {
	case len(problems) == 0 && signed == 0:
		report.Skip(name, "%d modules, unsigned, as CONFIG_MODULE_SIG is off", len(modules))
	case certificate == nil:
		report.Judge(name, problems, "%d of %d modules are signed with %s; by whom is not checked: the tree declares no certificate", signed, len(modules), hash)
	default:
		report.Judge(name, problems, "%d of %d modules are signed with %s by the tree's certificate", signed, len(modules), hash)
	}
}

// certificate reads a PEM certificate, nil where there is none.
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
