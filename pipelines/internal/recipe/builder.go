package recipe

import (
	"fmt"
	"slices"
)

// builderSchema is the version of how builders are made. It is raised whenever equal
// declarations give another builder than before.
const builderSchema = 1

// On returns the builder on a machine of an architecture: with the packages for
// cross-building if the recipe is for another one. The error is a recipe that cannot
// be built there.
func (r Recipe) On(machine string) (Builder, error) {
	b := r.Builder
	if machine != r.Arch {
		if len(b.Cross) == 0 {
			return Builder{}, fmt.Errorf("%s for %s can only be built on %s, but the engine runs on %s: name another with --engine", r.Asset, r.Arch, r.Arch, machine)
		}
		b.Packages = slices.Sorted(slices.Values(slices.Concat(b.Packages, b.Cross)))
	}
	b.Cross = nil
	return b, nil
}

// ID identifies the builder that On returns on a machine of an architecture: the
// SHA-256, in hex, of the canonical JSON of its parts. It is not in a key, which has
// the declaration itself; recipes with the same ID share a builder.
func (b Builder) ID(machine string) (string, error) {
	type made struct {
		Distribution string   `json:"distribution"`
		Suite        string   `json:"suite"`
		Image        string   `json:"image"`
		Epoch        int      `json:"epoch"`
		Packages     []string `json:"packages"`
	}
	return canonicalHash(struct {
		Schema  int    `json:"schema"`
		Arch    string `json:"arch"`
		Builder made   `json:"builder"`
	}{builderSchema, machine, made{b.Distribution, b.Suite, b.Image, b.Epoch, b.Packages}})
}
