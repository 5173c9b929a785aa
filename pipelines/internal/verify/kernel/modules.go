package kernel

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	disk "github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/modsig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// checkModules checks the signature of every module in the secondary tarball.
func (f *files) checkModules() (saw string, err error) {
	tarball := f.t.Outputs[ModulesOutput]
	if tarball == "" {
		return "", report.Missing("there is no tarball of the modules next to the kernel's")
	}
	modules, compressed, err := f.unpackModules(tarball)
	switch {
	case err != nil:
		return "", fmt.Errorf("reading %s: %w", tarball, err)
	case len(modules)+len(compressed) == 0:
		return "", fmt.Errorf("no modules in %s", tarball)
	case len(compressed) > 0:
		return "", fmt.Errorf("%d modules are compressed, %s first: install them as .ko", len(compressed), compressed[0])
	}
	by, certificate := " by the tree's certificate", (*x509.Certificate)(nil)
	if f.Certificate == nil {
		by = "; the signer is not checked: the tree declares no certificate"
	} else if certificate, err = modsig.ParseCertificate(f.Certificate); err != nil {
		return "", fmt.Errorf("the certificate of the tree: %w", err)
	}
	var problems []error
	signed, hash := 0, ""
	for n, name := range modules {
		module, err := os.ReadFile(f.modulePath(n))
		if err != nil {
			return "", err
		}
		signature, err := modsig.Parse(module)
		if errors.Is(err, modsig.ErrUnsigned) && f.options["CONFIG_MODULE_SIG"] != "y" {
			continue
		}
		if err == nil && certificate != nil {
			err = signature.Verify(certificate)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
			continue
		}
		signed, hash = signed+1, signature.Hash.String()
	}
	if len(problems) == 0 && signed == 0 {
		return "", report.Missing(fmt.Sprintf("%d modules, unsigned, as CONFIG_MODULE_SIG is off", len(modules)))
	}
	return fmt.Sprintf("%d of %d modules are signed with %s%s", signed, len(modules), hash, by), errors.Join(problems...)
}

// modulePath is where a module is unpacked.
func (f *files) modulePath(n int) string { return f.t.Path(fmt.Sprintf("module-%d", n)) }

// unpackModules unpacks the modules of a tarball, and returns their names, and the names
// of compressed modules, which it does not unpack.
func (f *files) unpackModules(tarball string) (modules, compressed []string, err error) {
	const maxModule = 1 << 30
	file, err := disk.OpenNamed(tarball)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	_, err = archive.Extract(file, func(name string, size int64) (string, error) {
		if strings.Contains(path.Base(name), ".ko.") {
			compressed = append(compressed, name)
		}
		if path.Ext(name) != ".ko" {
			return "", nil
		}
		if size > maxModule {
			return "", fmt.Errorf("it has %d bytes: a module has at most %d", size, maxModule)
		}
		modules = append(modules, name)
		return f.modulePath(len(modules) - 1), nil
	})
	return modules, compressed, err
}
