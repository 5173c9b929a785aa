// Package trust signs statements about what the pipelines push, and checks those of
// others before anything is used.
//
// The one idea: a signature is about a digest and says what the digest is. A statement
// names the digest of a manifest as its subject, and the asset, the architecture and the
// recipe key of the manifest as parameters of its provenance. A check compares both with
// what was asked for, so that neither a replaced entry nor a replayed signature is
// accepted.
//
// The formats are those of the field, so that other tools read them: an in-toto statement
// with SLSA provenance (v1), in a DSSE envelope, in a Sigstore bundle (v0.3). A key needs
// no service. An identity is a certificate of Fulcio, with an entry of Rekor; the roots of
// those are a file of the tree, because an update over TUF needs the network on each
// machine that only checks.
package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Mode says what happens to an entry whose signature the policy does not accept.
type Mode string

// The modes: nothing is checked; a warning; the entry counts as missing.
const (
	Off     Mode = "off"
	Warn    Mode = "warn"
	Require Mode = "require"
)

// ParseMode parses a mode; "" stays "".
func ParseMode(text string) (Mode, error) {
	if modes := []Mode{"", Off, Warn, Require}; !slices.Contains(modes, Mode(text)) {
		return "", fmt.Errorf("%q: choose one of off, warn, require", text)
	}
	return Mode(text), nil
}

// Role is what a signer may sign.
type Role string

// The roles.
const (
	// Cache is for artifacts, their verdicts, sources and builders.
	Cache Role = "cache"
	// Release is for images and the files of a release.
	Release Role = "release"
)

// Claim is what a statement says about its subject, by the names of SLSA's external
// parameters: asset, arch, key.
type Claim map[string]string

func (c Claim) String() string {
	var parts []string
	for name, value := range c {
		parts = append(parts, name+" "+shorten(value))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// shorten cuts a long hash.
func shorten(text string) string {
	if len(text) > 40 {
		return text[:12]
	}
	return text
}

// Wanted is what a check asks for: a statement of a predicate type, by a signer with a
// role, about a digest ("sha256:...") with a claim.
type Wanted struct {
	Type   string
	Role   Role
	Digest string
	Claim  Claim
}

// Refusal is the error of an entry that the policy does not accept. Its text continues a
// sentence whose subject is the entry.
type Refusal struct{ Why string }

func (r *Refusal) Error() string { return r.Why }

func refused(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// IsRefusal reports whether an error is a Refusal.
func IsRefusal(err error) bool {
	var refusal *Refusal
	return errors.As(err, &refusal)
}
