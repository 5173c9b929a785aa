package engine

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dagger.io/dagger"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// Installed is a package of a root filesystem, with its size in bytes.
type Installed struct {
	recipe.Locked
	Size int64
}

// RootRecord is the part of a record about the root filesystem of a guest.
type RootRecord struct {
	// Base, Digest and Packages are as those of a builder.
	Base     string   `json:"base"`
	Digest   string   `json:"digest,omitempty"`
	Packages []string `json:"packages"`
	// Largest are the largest packages, "name=version bytes".
	Largest []string `json:"largest"`
}

// packagesFile is the list of packages in a root: name, version, hash and size in bytes of
// each, a package a line. Steps read it, and leave it out.
const packagesFile = "/.packages"

// keyringFile is the package with the keys of another repository.
const keyringFile = "/.keyring.deb"

// rootScript is called with a package manager, install, and packages; or with available,
// and prints the name and version of each package that can be had, of those named.
//
//go:embed root.sh
var rootScript string

// shownPackages is how many packages a record lists by size.
const shownPackages = 10

func (b Builder) record() *RootRecord {
	record := &RootRecord{Base: b.Base, Digest: b.Digest, Packages: b.Packages}
	largest := slices.Clone(b.Installed)
	slices.SortStableFunc(largest, func(a, b Installed) int { return cmp.Compare(b.Size, a.Size) })
	for _, p := range largest[:min(shownPackages, len(largest))] {
		record.Largest = append(record.Largest, fmt.Sprintf("%s=%s %d", p.Name, p.Version, p.Size))
	}
	return record
}

// installRoot adds the packages of a root filesystem: exactly the locked ones, if there is
// a lock.
func (s *Session) installRoot(ctx context.Context, container *dagger.Container, declared recipe.Builder, keyring string, stage *progress.Stage) (*dagger.Container, error) {
	run := func(container *dagger.Container, verb string, packages []string) (*dagger.Container, error) {
		return s.exec(ctx, container, stage, append([]string{"sh", "-c", rootScript, "root", declared.Manager, verb}, packages...)...)
	}
	container = container.WithEnvVariable("KATA_BUILDER_EPOCH", strconv.Itoa(declared.Epoch)+s.Nonce)
	if declared.Repository != "" {
		container = container.WithMountedFile(keyringFile, s.client.Host().File(keyring)).WithEnvVariable("REPOSITORY", declared.Repository)
	}
	container, err := run(container, "update", nil)
	if err != nil {
		return nil, fmt.Errorf("fetching the index of %s %s: %w; try again, or use the root of another machine with --cache", declared.Distribution, declared.Suite, err)
	}
	wanted := declared.Packages
	if len(declared.Locked) > 0 {
		wanted = lockedNames(declared.Locked)
	}
	listed, err := run(container, "available", wanted)
	if err != nil {
		return nil, fmt.Errorf("looking for the packages of the root: %w", err)
	}
	text, err := listed.Stdout(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for the packages of the root: %w", err)
	}
	if err := available(declared, text); err != nil {
		return nil, err
	}
	verb := "install"
	if len(declared.Locked) > 0 {
		verb = "restore"
	}
	container = container.WithEnvVariable("REMOVE", strings.Join(declared.Remove, " "))
	if container, err = run(container, verb, wanted); err != nil {
		return nil, fmt.Errorf("installing %s: %w", strings.Join(declared.Packages, " "), err)
	}
	return container.WithoutEnvVariable("KATA_BUILDER_EPOCH").WithoutEnvVariable("REMOVE").
		WithoutEnvVariable("REPOSITORY").WithoutMount(keyringFile), nil
}

// lockedNames returns what the script takes for a package of a version.
func lockedNames(locked []recipe.Locked) []string {
	names := make([]string, len(locked))
	for i, p := range locked {
		names[i] = p.Name + "=" + p.Version
	}
	return names
}

// available reports the packages of a root that the script has not listed.
func available(declared recipe.Builder, text string) error {
	names, versions := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(text) {
		name, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		names[name], versions[name+"="+version] = true, true
	}
	for _, name := range declared.Packages {
		if before, _, versioned := strings.Cut(name, "="); versioned && versions[name] {
			names[name] = names[before]
		}
	}
	wanted, there, problem := declared.Packages, names, "%s %s does not have the packages %s: correct their names in its parts"
	if len(declared.Locked) > 0 {
		wanted, there = lockedNames(declared.Locked), versions
		problem = "%s %s does not have the locked packages %s any more: run `pipelines rootfs lock`, or use a root that another machine has kept, with --cache"
	}
	gone := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return there[name] })
	if len(gone) == 0 {
		return nil
	}
	return fmt.Errorf(problem, declared.Distribution, declared.Suite, strings.Join(gone, ", "))
}

// parseInstalled reads packagesFile.
func parseInstalled(text string) ([]Installed, error) {
	var list []Installed
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 4 {
			return nil, fmt.Errorf("%s has the line %q: want name, version, hash and size", packagesFile, strings.TrimSpace(line))
		}
		size, err := strconv.ParseInt(fields[3], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s has the size %q of %s: %w", packagesFile, fields[3], fields[0], err)
		}
		list = append(list, Installed{recipe.Locked{Name: fields[0], Version: fields[1], Hash: fields[2]}, size})
	}
	if len(list) == 0 {
		return nil, errors.New("the root has no packages")
	}
	slices.SortFunc(list, func(a, b Installed) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// lockHolds compares the packages of a root with its lock.
func lockHolds(locked []recipe.Locked, installed []Installed) error {
	if len(locked) == 0 {
		return nil
	}
	want, problems := map[string]recipe.Locked{}, []string{}
	for _, p := range locked {
		want[p.Name] = p
	}
	for _, p := range installed {
		if lock, found := want[p.Name]; !found {
			problems = append(problems, fmt.Sprintf("%s %s is not locked", p.Name, p.Version))
		} else if lock != p.Locked {
			problems = append(problems, fmt.Sprintf("%s is %s %s, and locked is %s %s", p.Name, p.Version, p.Hash, lock.Version, lock.Hash))
		}
		delete(want, p.Name)
	}
	for _, p := range locked {
		if _, left := want[p.Name]; left {
			problems = append(problems, fmt.Sprintf("%s %s is locked, and not installed", p.Name, p.Version))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("the root differs from its lock: %s; run `pipelines rootfs lock`", strings.Join(problems, "; "))
	}
	return nil
}
