package trust

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Types of predicates.
const (
	ProvenanceType = "https://slsa.dev/provenance/v1"
	// VerdictType is in-toto's result of a test. Ours also has the whole proof.
	VerdictType = "https://in-toto.io/attestation/test-result/v0.1"

	statementType = "https://in-toto.io/Statement/v1"
	payloadType   = "application/vnd.in-toto+json"

	// project prefixes the names that SLSA wants as URIs; docs/trust.md describes them.
	project   = "https://github.com/kata-containers/kata-pipelines/"
	buildType = project + "recipe/v1"
)

// Resource is in-toto's description of a thing: a source, a package, another artifact.
type Resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// Provenance says how something was made.
type Provenance struct {
	// Claim identifies it, and Role is that of its signer.
	Claim
	Role
	// Recipe are its declared inputs, and Record what was used, both in JSON, nil for none.
	Recipe, Record []byte
	Materials      []Resource
}

// The parts of SLSA's predicate that we fill in.
type provenance struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string         `json:"buildType"`
	ExternalParameters   map[string]any `json:"externalParameters"`
	InternalParameters   map[string]any `json:"internalParameters,omitempty"`
	ResolvedDependencies []Resource     `json:"resolvedDependencies,omitempty"`
}

type runDetails struct {
	Builder  builder  `json:"builder"`
	Metadata metadata `json:"metadata"`
}

type builder struct {
	ID string `json:"id"`
}

type metadata struct {
	FinishedOn time.Time `json:"finishedOn"`
}

// Predicate is what a statement says about its subject, in JSON. Role is that of the signer.
// Claim tells it from others of its type.
type Predicate struct {
	Type string
	Role
	Claim
	Content []byte
}

// Predicate encodes the provenance, as of now.
func (p Provenance) Predicate() (Predicate, error) {
	external, internal, materials := map[string]any{}, map[string]any{}, p.Materials
	for name, value := range p.Claim {
		external[name] = value
	}
	if p.Recipe != nil {
		external["recipe"] = json.RawMessage(p.Recipe)
	}
	if p.Record != nil {
		internal["record"] = json.RawMessage(p.Record)
		used, err := used(p.Recipe, p.Record)
		if err != nil {
			return Predicate{}, err
		}
		materials = append(materials, used...)
	}
	data, err := json.Marshal(provenance{
		buildDefinition{buildType, external, internal, materials},
		runDetails{builder{project + "pipelines"}, metadata{time.Now().UTC().Truncate(time.Second)}},
	})
	if err != nil {
		return Predicate{}, fmt.Errorf("encoding the provenance of %s: %w", p.Claim, err)
	}
	return Predicate{Type: ProvenanceType, Role: p.Role, Claim: p.Claim, Content: data}, nil
}

// verdict is the part of a test result that we fill in; proofs are those of
// `pipelines verify`.
type verdict struct {
	Result        string          `json:"result"`
	Configuration []Resource      `json:"configuration"`
	PassedTests   []string        `json:"passedTests"`
	FailedTests   []string        `json:"failedTests,omitempty"`
	Proof         json.RawMessage `json:"proof"`
}

// Verdict returns the predicate for a proof: the result of its checks, for every reader,
// and the proof itself.
func Verdict(proof []byte) (Predicate, error) {
	var said struct {
		Checks []struct{ Name, Verdict string }
	}
	if err := json.Unmarshal(proof, &said); err != nil {
		return Predicate{}, fmt.Errorf("reading a proof: %w", err)
	}
	v := verdict{Result: "PASSED", Configuration: []Resource{}, PassedTests: []string{}, Proof: proof}
	for _, check := range said.Checks {
		switch check.Verdict {
		case "passed":
			v.PassedTests = append(v.PassedTests, check.Name)
		case "failed":
			v.FailedTests, v.Result = append(v.FailedTests, check.Name), "FAILED"
		}
	}
	data, err := json.Marshal(v)
	return Predicate{Type: VerdictType, Claim: v.claim(), Content: data}, err
}

// claim tells a verdict from others.
func (v verdict) claim() Claim {
	var compact bytes.Buffer
	_ = json.Compact(&compact, v.Proof) // It was decoded.
	return Claim{"proof": digest.FromBytes(compact.Bytes()).String()}
}

// statement encodes a statement.
func statement(subjects []Subject, predicateType string, predicate []byte) ([]byte, error) {
	var about []Resource
	for _, s := range subjects {
		about = append(about, Resource{Name: s.Name, Digest: digestSet(s.Digest)})
	}
	return json.Marshal(struct {
		Type          string          `json:"_type"`
		Subject       []Resource      `json:"subject"`
		PredicateType string          `json:"predicateType"`
		Predicate     json.RawMessage `json:"predicate"`
	}{statementType, about, predicateType, predicate})
}

// digestSet returns a digest, "sha256:<hex>", as in-toto has it; nil for another one.
func digestSet(digest string) map[string]string {
	hex, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(hex) != 64 {
		return nil
	}
	return map[string]string{"sha256": hex}
}
