package kernel

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/modsig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// checkModules checks the signature of every module in the secondary tarball.
func (f *files) checkModules(ctx context.Context) (saw string, err error) {
	file := f.t.Outputs[ModulesOutput]
	if file == "" {
		return "", report.Missing("there is no tarball of the modules next to the kernel's")
	}
	// Modules are ELF files, which are unpacked.
	t, err := tarball.Layout{}.Unpack(ctx, file, f.t.Path("modules"), nil)
	if err != nil {
		return "", err
	}
	plain, compressed := modules(t)
	switch {
	case len(plain)+len(compressed) == 0:
		return "", fmt.Errorf("no modules in %s", file)
	case len(compressed) > 0:
		return "", fmt.Errorf("%d modules are compressed, %s first: install them as .ko", len(compressed), compressed[0])
	}
	by, certificate := " by the tree's certificate", (*x509.Certificate)(nil)
	if f.Certificate == nil {
		by = "; the signer is not checked: the tree declares no certificate"
	} else if certificate, err = modsig.ParseCertificate(f.Certificate); err != nil {
		return "", fmt.Errorf("the certificate of the tree: %w", err)
	}
	signed, hash, err := f.signatures(t, plain, certificate)
	if err == nil && signed == 0 {
		return "", report.Missing(fmt.Sprintf("%d modules, unsigned, as CONFIG_MODULE_SIG is off", len(plain)))
	}
	return fmt.Sprintf("%d of %d modules are signed with %s%s", signed, len(plain), hash, by), err
}

// signatures checks the signatures of modules, with a certificate if there is one. It
// returns how many are signed, and with which hash.
func (f *files) signatures(t *tarball.Tarball, names []string, certificate *x509.Certificate) (signed int, hash string, err error) {
	var problems []error
	for _, name := range names {
		module := t.Read(name)
		if module == nil {
			problems = append(problems, fmt.Errorf("%s is not an ELF file", name))
			continue
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
	return signed, hash, errors.Join(append(problems, t.Err())...)
}

// modules returns the names of the modules of a tarball, and of compressed modules.
func modules(t *tarball.Tarball) (plain, compressed []string) {
	for _, m := range t.Members {
		name := path.Clean(m.Name)
		switch {
		case strings.Contains(path.Base(name), ".ko."):
			compressed = append(compressed, name)
		case path.Ext(name) == ".ko":
			plain = append(plain, name)
		}
	}
	return plain, compressed
}
