package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// ProofVersion is the version of the proof's JSON.
const ProofVersion = 1

// Subject is the artifact that a proof is about.
type Subject struct {
	Asset string `json:"asset"`
	Arch  string `json:"arch"`
	// Key is the key of the artifact's recipe, in hex.
	Key string `json:"key"`
	// Tarball is the digest of the main tarball, "sha256:<hex>"; Outputs are
	// those of the secondary tarballs, by name.
	Tarball string            `json:"tarball"`
	Outputs map[string]string `json:"outputs,omitempty"`
}

// Proof is a report bound to one artifact by digest. It carries no time, so that
// two runs with the same result on the same machine give the same bytes.
type Proof struct {
	Version int `json:"version"`
	Subject
	Checks []Check `json:"checks"`
	// Required are the names of checks that could not be skipped.
	Required []string `json:"required,omitempty"`
	Runner   Runner   `json:"runner"`
}

// Runner says who verified the artifact, and with what.
type Runner struct {
	// By is the URL of the CI run, or "user@host".
	By string `json:"by"`
	// Program is the version of this program.
	Program string `json:"program"`
	// Arch is the architecture of the machine, as `uname -m` prints it, and
	// Accelerator what guests ran with: "tcg" or "kvm".
	Arch        string `json:"arch"`
	Accelerator string `json:"accelerator"`
}

// Encode returns the JSON of a proof. Consoles are left out: they are for the
// reader of a failure.
func (p Proof) Encode() ([]byte, error) {
	p.Checks = slices.Clone(p.Checks)
	for i := range p.Checks {
		p.Checks[i].Console = nil
	}
	data, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding the proof of %s: %w", p.Asset, err)
	}
	return data, nil
}

// Parse reads the JSON of a proof. Unknown fields and versions are errors.
func Parse(data []byte) (Proof, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var p Proof
	err := decoder.Decode(&p)
	if err == nil && p.Version != ProofVersion {
		err = fmt.Errorf("version %d, want %d", p.Version, ProofVersion)
	}
	if err == nil && digest.Digest(p.Tarball).Validate() != nil {
		err = fmt.Errorf("the tarball has the digest %q: want sha256:HEX", p.Tarball)
	}
	for _, c := range p.Checks {
		if err == nil && c.Verdict != Passed && c.Verdict != Failed && c.Verdict != Skipped {
			err = fmt.Errorf("check %q has the unknown verdict %q", c.Name, c.Verdict)
		}
	}
	if err != nil {
		return Proof{}, fmt.Errorf("reading a proof: %w", err)
	}
	return p, nil
}

// Err says why a proof does not pass: a check failed, or none passed.
func (p Proof) Err() error { return verdict(p.Checks) }

// Accept returns nil if one of the encoded proofs is a passing proof of the
// subject's content; otherwise the error says what is wrong with each of them.
// A proof that failed does not outweigh one that passed: checks depend on the
// machine that runs them. A required check that was skipped did not pass.
func Accept(proofs [][]byte, subject Subject, required ...string) error {
	var problems []error
	for _, data := range proofs {
		p, err := Parse(data)
		if err == nil {
			err = p.accept(subject, required)
		}
		if err == nil {
			return nil
		}
		problems = append(problems, err)
	}
	if len(problems) == 0 {
		return errors.New("no proof")
	}
	return fmt.Errorf("no proof that passed: %w", errors.Join(problems...))
}

// accept ignores the key, which may change without changing the content.
func (p Proof) accept(subject Subject, required []string) error {
	if p.Asset != subject.Asset || p.Arch != subject.Arch || p.Tarball != subject.Tarball || !maps.Equal(p.Outputs, subject.Outputs) {
		return fmt.Errorf("the proof by %s is for %s %s with digest %s", p.Runner.By, p.Asset, p.Arch, p.Tarball)
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("the proof by %s: %w", p.Runner.By, err)
	}
	passed := p.passed()
	for _, name := range required {
		if !slices.Contains(passed, name) {
			return fmt.Errorf("the proof by %s: the required check %q did not run", p.Runner.By, name)
		}
	}
	return nil
}

func (p Proof) passed() (names []string) {
	for _, c := range p.Checks {
		if c.Verdict == Passed {
			names = append(names, c.Name)
		}
	}
	return names
}

// Adds reports whether a proof says more than the encoded proofs that an artifact
// already has: CI verifies an unchanged artifact in every run, and a second proof of the
// same checks only makes the list of proofs longer. A failure always adds.
func (p Proof) Adds(there [][]byte) bool {
	return p.Err() != nil || Accept(there, p.Subject, p.passed()...) != nil
}

// Who returns Runner.By for this process: the URL of the GitHub Actions run, or the
// user and the name of the machine.
func Who(getenv func(string) string) string {
	if id := getenv("GITHUB_RUN_ID"); id != "" {
		return fmt.Sprintf("%s/%s/actions/runs/%s", getenv("GITHUB_SERVER_URL"), getenv("GITHUB_REPOSITORY"), id)
	}
	machine, err := os.Hostname()
	if err != nil {
		machine = "unknown"
	}
	return cmp.Or(getenv("USER"), strconv.Itoa(os.Getuid())) + "@" + machine
}
