package recipe

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// builderSchema is the version of how builders are made. It is raised whenever
// equal declarations should give another builder than before.
const builderSchema = 1

// On returns the builder as it is made on a machine of an architecture for a
// recipe of another or the same: with the packages to cross-build, or without.
// It is an error where the recipe cannot be built there.
func (r Recipe) On(machine string) (Builder, error) {
	b := r.Builder
	if machine != r.Arch {
		if len(b.Cross) == 0 {
			return Builder{}, fmt.Errorf("%s for %s is built on %s alone, and the engine runs on %s: name one that suits with --engine", r.Asset, r.Arch, r.Arch, machine)
		}
		b.Packages = slices.Sorted(slices.Values(slices.Concat(b.Packages, b.Cross)))
	}
	b.Cross = nil
	return b, nil
}

// ID names the builder, as On returns it, on a machine of an architecture: the
// SHA-256, in hex, of the canonical JSON of what it is made of. It is no part of
// a key, which has the declaration itself; recipes with the same builder share
// what was made of it.
func (b Builder) ID(machine string) (string, error) {
	type made struct {
		Distribution string   `json:"distribution"`
		Suite        string   `json:"suite"`
		Image        string   `json:"image"`
		Epoch        int      `json:"epoch"`
		Packages     []string `json:"packages"`
	}
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(struct {
		Schema  int    `json:"schema"`
		Arch    string `json:"arch"`
		Builder made   `json:"builder"`
	}{builderSchema, machine, made{b.Distribution, b.Suite, b.Image, b.Epoch, b.Packages}})
	if err != nil {
		return "", fmt.Errorf("encoding the builder: %w", err)
	}
	sum := sha256.Sum256(bytes.TrimSuffix(data.Bytes(), []byte("\n")))
	return hex.EncodeToString(sum[:]), nil
}
