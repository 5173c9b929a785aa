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
	// Key is that of the artifact's recipe, in hex.
	Key string `json:"key"`
	// Tarball is the digest of the main tarball, "sha256:<hex>"; Outputs are
	// those of the secondary tarballs, by name.
	Tarball string            `json:"tarball"`
	Outputs map[string]string `json:"outputs,omitempty"`
}

// same says whether two subjects are one asset with the same content. A key may
// change without changing the content.
func (s Subject) same(other Subject) bool {
	return s.Asset == other.Asset && s.Arch == other.Arch && s.Tarball == other.Tarball && maps.Equal(s.Outputs, other.Outputs)
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
	checks := make([]Check, len(p.Checks))
	for i, c := range p.Checks {
		c.Console = nil
		checks[i] = c
	}
	p.Checks = checks
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
	if err := decoder.Decode(&p); err != nil {
		return Proof{}, fmt.Errorf("reading a proof: %w", err)
	}
	if p.Version != ProofVersion {
		return Proof{}, fmt.Errorf("reading a proof: version %d, want %d", p.Version, ProofVersion)
	}
	if err := digest.Digest(p.Tarball).Validate(); err != nil {
		return Proof{}, fmt.Errorf("reading a proof: digest %q of the tarball: %w", p.Tarball, err)
	}
	for _, c := range p.Checks {
		if c.Verdict != Passed && c.Verdict != Failed && c.Verdict != Skipped {
			return Proof{}, fmt.Errorf("reading a proof: check %q has the unknown verdict %q", c.Name, c.Verdict)
		}
	}
	return p, nil
}

// Passed says whether at least one check passed and none failed.
func (p Proof) Passed() bool { return p.Err() == nil }

// Err says why a proof does not pass.
func (p Proof) Err() error { return verdict(p.Checks) }

// Accept returns nil if one of the encoded proofs is a passing proof of the
// subject's content; else an error says what is wrong with each of them.
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

// Adds reports whether a proof says more than the encoded ones that an artifact has
// already: CI verifies an unchanged artifact in every run, and a second proof of the
// same checks only makes the list of proofs longer. A failure always adds.
func (p Proof) Adds(there [][]byte) bool {
	var passed []string
	for _, c := range p.Checks {
		if c.Verdict == Passed {
			passed = append(passed, c.Name)
		}
	}
	return !p.Passed() || Accept(there, p.Subject, passed...) != nil
}

func (p Proof) accept(subject Subject, required []string) error {
	if !p.same(subject) {
		return fmt.Errorf("the proof by %s is for %s %s with digest %s", p.Runner.By, p.Asset, p.Arch, p.Tarball)
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("the proof by %s: %w", p.Runner.By, err)
	}
	for _, name := range required {
		if !slices.ContainsFunc(p.Checks, func(c Check) bool { return c.Name == name && c.Verdict == Passed }) {
			return fmt.Errorf("the proof by %s: the required check %q did not run", p.Runner.By, name)
		}
	}
	return nil
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
