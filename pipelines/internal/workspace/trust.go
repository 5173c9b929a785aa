package workspace

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// Signing says how to sign what is pushed.
type Signing struct {
	// Key is the path of a private key, the key itself in PEM, or Keyless; "" signs nothing.
	Key, Passphrase string
	// Job is that of GitHub Actions, for Keyless.
	Job trust.Job
}

// Keyless is the name of signing with the identity of a CI job.
const Keyless = "keyless"

// maxKey is the largest file of a key, in bytes.
const maxKey = 64 << 10

// guard returns which entries are used: by default, those that the policy of the tree
// accepts, if it has one.
func (w *Workspace) guard(mode string) (g store.Guard, err error) {
	if g.Mode, err = trust.ParseMode(mode); err != nil {
		return g, Usage(fmt.Errorf("--trust %w", err))
	}
	if g.Policy, err = trust.LoadPolicy(w.Resolver.Tree); err != nil {
		return g, err
	}
	if g.Policy == nil && (g.Mode == trust.Warn || g.Mode == trust.Require) {
		return g, Usage(fmt.Errorf("--trust %s: the tree has no %s, which says whose signatures to accept (see docs/trust.md)", g.Mode, trust.PolicyFile))
	}
	if g.Policy != nil {
		g.Mode = cmp.Or(g.Mode, trust.Require)
	}
	return g, nil
}

// signer returns what signs, nil for nothing.
func (s Signing) signer(policy *trust.Policy) (*trust.Signer, error) {
	key := []byte(s.Key)
	switch {
	case s.Key == "":
		return nil, nil
	case s.Key == Keyless:
		signer, err := trust.Keyless(s.Job, policy)
		if err != nil {
			return nil, Usage(fmt.Errorf("--sign %s: %w", Keyless, err))
		}
		return signer, nil
	case !strings.HasPrefix(strings.TrimSpace(s.Key), "-----BEGIN"):
		var err error
		if key, err = files.Read(s.Key, maxKey); errors.Is(err, os.ErrNotExist) {
			return nil, Usage(fmt.Errorf("--sign, or KATA_SIGNING_KEY: no such file %q: want the path of a private key, the key in PEM, or %s", s.Key, Keyless))
		} else if err != nil {
			return nil, fmt.Errorf("reading the signing key: %w", err)
		}
	}
	return trust.LoadKey(key, s.Passphrase)
}

// openTrust sets what the store and the registry accept and sign.
func (w *Workspace) openTrust(o Options) error {
	guard, err := w.guard(o.Trust)
	if err != nil {
		return err
	}
	if w.Signer, err = o.Signing.signer(guard.Policy); err != nil {
		return err
	}
	w.Store.Guard = guard
	if w.Store.Registry != nil {
		w.Store.Registry.Guard, w.Store.Registry.Signer = guard, w.Signer
	}
	return nil
}
