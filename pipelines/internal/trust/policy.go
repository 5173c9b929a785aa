package trust

import (
	"cmp"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// PolicyFile is the policy of a tree.
const PolicyFile = "assets/trust.yaml"

// Policy says who may sign what.
type Policy struct {
	file     string
	Sigstore Sigstore       `yaml:"sigstore"`
	Signers  []PolicySigner `yaml:"signers"`

	// material are the roots for identities, nil without them.
	material root.TrustedMaterial
}

// Sigstore names the services for identities, and the file of their roots, which lies
// next to the policy.
type Sigstore struct {
	Root       string `yaml:"root"`
	Fulcio     string `yaml:"fulcio"`
	Rekor      string `yaml:"rekor"`
	Timestamps string `yaml:"timestamps"`
}

// PolicySigner is a key or an identity that may sign.
type PolicySigner struct {
	Name  string `yaml:"name"`
	Signs []Role `yaml:"signs"`
	// Key is a public key in PEM; Until is the last day, in UTC, on which it is accepted,
	// "" for no end.
	Key   string `yaml:"key"`
	Until string `yaml:"until"`
	// Identity is the subject of a certificate, and Issuer who vouched for it.
	Identity string `yaml:"identity"`
	Issuer   string `yaml:"issuer"`

	public crypto.PublicKey
	// id is what a bundle has of the key; end is the moment after Until.
	id  string
	end time.Time
}

// The public instances of Sigstore.
var public = Sigstore{Fulcio: "https://fulcio.sigstore.dev", Rekor: "https://rekor.sigstore.dev", Timestamps: "https://timestamp.sigstore.dev/api/v1/timestamp"}

// LoadPolicy reads the policy of a tree; nil if the tree has none.
func LoadPolicy(tree fs.FS) (*Policy, error) {
	p := &Policy{file: PolicyFile}
	node, err := strictyaml.ReadFile(tree, PolicyFile, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(p.Signers) == 0 {
		node.Problem("the policy has no signers: add one, or remove the file")
	}
	names := map[string]bool{}
	for i := range p.Signers {
		s, at := &p.Signers[i], node.At("signers", i)
		if names[s.Name] {
			at.At("name").Problem("duplicate signer %q", s.Name)
		}
		names[s.Name] = true
		s.load(at)
	}
	if slices.ContainsFunc(p.Signers, func(s PolicySigner) bool { return s.Identity != "" }) {
		p.loadRoot(tree, node)
	}
	return p, node.Err()
}

// load checks a signer and parses its key.
func (s *PolicySigner) load(at strictyaml.Node) {
	if s.Name == "" {
		at.Problem("a signer has no name")
	}
	if len(s.Signs) == 0 {
		at.Problem("signer %q may sign nothing: want signs: [cache], [release] or both", s.Name)
	}
	for i, role := range s.Signs {
		at.At("signs", i).Known("role", []string{string(role)}, []string{string(Cache), string(Release)})
	}
	switch {
	case (s.Key == "") == (s.Identity == ""):
		at.Problem("signer %q: want either a key or an identity", s.Name)
	case s.Key == "" && s.Issuer == "":
		at.Problem("signer %q: an identity needs the issuer that vouches for it", s.Name)
	case s.Key == "" && s.Until != "":
		at.At("until").Problem("signer %q: only a key ends: remove the identity instead", s.Name)
	case s.Key != "" && s.Issuer != "":
		at.At("issuer").Problem("signer %q: a key has no issuer", s.Name)
	case s.Key != "":
		s.loadKey(at)
	}
}

func (s *PolicySigner) loadKey(at strictyaml.Node) {
	var err error
	if strings.Contains(s.Key, "PRIVATE KEY") {
		at.At("key").Problem("signer %q: this is a private key: replace it, and put its public part here", s.Name)
		return
	}
	if s.public, err = cryptoutils.UnmarshalPEMToPublicKey([]byte(s.Key)); err == nil {
		s.id, err = keyID(s.public)
	}
	if err != nil {
		at.At("key").Problem("signer %q: want a public key in PEM: %v", s.Name, err)
	}
	if s.Until == "" {
		return
	}
	last, err := time.Parse(time.DateOnly, s.Until)
	if err != nil {
		at.At("until").Problem("signer %q: want the last day as YYYY-MM-DD, and found %q", s.Name, s.Until)
	}
	s.end = last.AddDate(0, 0, 1)
}

// loadRoot reads the roots for identities, and completes the services.
func (p *Policy) loadRoot(tree fs.FS, node strictyaml.Node) {
	s := &p.Sigstore
	for _, field := range []struct{ value, otherwise *string }{
		{&s.Fulcio, &public.Fulcio}, {&s.Rekor, &public.Rekor}, {&s.Timestamps, &public.Timestamps},
	} {
		*field.value = cmp.Or(*field.value, *field.otherwise)
	}
	at := node.At("sigstore", "root")
	if s.Root == "" {
		at.Problem("an identity needs sigstore.root, a trusted root in JSON next to this file: `cosign trusted-root create` or `gh attestation trusted-root` writes one")
		return
	}
	data, err := fs.ReadFile(tree, path.Join(path.Dir(p.file), s.Root))
	if err == nil {
		p.material, err = root.NewTrustedRootFromJSON(data)
	}
	if err != nil {
		at.Problem("reading the trusted root %s: %v", s.Root, strictyaml.Cause(err))
	}
}

// keyID returns what a bundle has of a key, as cosign makes it: the hash of the key in
// base64.
func keyID(key crypto.PublicKey) (string, error) {
	der, err := cryptoutils.MarshalPublicKeyToDER(key)
	if err != nil {
		return "", err
	}
	hash := crypto.SHA256.New()
	hash.Write(der)
	return base64.StdEncoding.EncodeToString(hash.Sum(nil)), nil
}

// verifier returns the verifier of a key, as of a moment.
func (s PolicySigner) verifier() (root.TimeConstrainedVerifier, error) {
	v, err := signature.LoadDefaultVerifier(s.public)
	if err != nil {
		return nil, err
	}
	return root.NewExpiringKey(v, time.Time{}, time.Time{}), nil
}

// Refuse returns the *Refusal of an entry whose signatures were all refused.
func (p *Policy) Refuse(role Role, reasons []error) error {
	var why []string
	for _, reason := range reasons {
		if !slices.Contains(why, reason.Error()) && len(why) < 3 {
			why = append(why, reason.Error())
		}
	}
	if len(why) == 0 {
		why = []string{"is unsigned"}
	}
	return refused("%s; %s", strings.Join(why, ", "), p.wants(role))
}

// wants says in messages who may sign for a role.
func (p *Policy) wants(role Role) string {
	var names []string
	for _, s := range p.Signers {
		if slices.Contains(s.Signs, role) {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return fmt.Sprintf("%s has no signer with the role %s", p.file, role)
	}
	return fmt.Sprintf("%s wants a signature by %s", p.file, strings.Join(names, " or "))
}
