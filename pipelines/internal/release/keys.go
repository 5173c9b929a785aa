package release

import (
	"context"
	"fmt"
	"io"
	"path"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/modsig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// declaredKey returns why the key that signs modules of an asset, or of one that it
// depends on, is public, or "". It knows this before anything is built.
func declaredKey(plan build.Plan, name string) string {
	step := plan.Step(name)
	if names := step.PublicKeys(); len(names) > 0 {
		return fmt.Sprintf("%s signs modules with the key of %s, which is public", name, names[0])
	}
	for _, dependency := range step.Dependencies {
		if why := declaredKey(plan, dependency); why != "" {
			return why
		}
	}
	return ""
}

// CheckKeys reads the modules in the secondary tarballs of artifacts. For those with a
// module that was signed with a public key it sets PublicKey.
func CheckKeys(ctx context.Context, from *store.Tiered, components []Component) error {
	for i, c := range components {
		if c.State != build.Hit || c.PublicKey != "" {
			continue
		}
		for _, output := range c.Artifact.Outputs {
			blob, err := from.Blob(ctx, c.Artifact, output.Name)
			if err == nil {
				components[i].PublicKey, err = publicKeyIn(blob)
			}
			if err != nil {
				return fmt.Errorf("reading the signatures in %q of %q: %w", output.Name, c.Asset, err)
			}
		}
	}
	return nil
}

// publicKeyIn returns which module of a tarball was signed with a public key, or "".
func publicKeyIn(tarball string) (why string, err error) {
	file, err := archive.Open(tarball)
	if err != nil {
		return "", err
	}
	defer file.Close()
	for _, member := range file.Index().Members() {
		if path.Ext(member.Name) != ".ko" {
			continue
		}
		public, err := byPublicKey(file, member.Name)
		if err != nil {
			return "", err
		}
		if public {
			return member.Name + " was signed with a key that is public", nil
		}
	}
	return "", nil
}

func byPublicKey(file *archive.File, name string) (bool, error) {
	content, err := file.ReadFile(name)
	if err != nil {
		return false, err
	}
	defer content.Close()
	module, err := io.ReadAll(content)
	if err != nil {
		return false, err
	}
	// Only proofs decide whether unsigned modules are good.
	signature, err := modsig.Parse(module)
	return err == nil && modsig.ByPublicKey(signature), nil
}

// PubliclySigned returns an error that lists the components that were signed with a public
// key, and says what to do.
func PubliclySigned(components []Component) error {
	return listed(components, "public key", func(c Component) string { return c.PublicKey }, func([]string) string {
		return "are signed with a key that is public, so that anybody can sign modules that their kernels load: " +
			"replace the pair in assets/kernel/signing with your own (assets/kernel/README.md), " +
			"set KBUILD_SIGN_PIN to its passphrase and build again, or leave them out (--without)"
	})
}

// unreleasable returns which asset that a component is built with is not for releases, and
// why, or "".
func unreleasable(from *catalog.Catalog, name string, arch catalog.Arch) (string, error) {
	closure, err := from.Closure([]string{name}, arch)
	for _, asset := range closure {
		if asset.Unreleasable != "" {
			return asset.Name + ": " + asset.Unreleasable, err
		}
	}
	return "", err
}

// Unreleasable returns an error that lists the components with an asset that is not for
// releases.
func Unreleasable(components []Component) error {
	return listed(components, "not for releases", func(c Component) string { return c.Unreleasable }, func([]string) string {
		return "are built with what is only for tests: replace that in the tree, or leave them out (--without)"
	})
}
