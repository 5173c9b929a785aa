package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// VerifyShared reads every blob of the sources and the builders in the registry,
// hashes it, and returns the damage that it found, a line each, in the order of
// the tags. The error is that of a registry that fails. Foreign tags are left
// out; repositories that are not there are empty.
func (r *Registry) VerifyShared(ctx context.Context) ([]string, error) {
	var all []string
	for _, repository := range []struct {
		name string
		// check returns what checks the entry of a tag, or nil for a foreign one.
		check func(tag string) func(entry) error
	}{
		{builderRepository, builderCheck},
		{sourceRepository, sourceCheck},
	} {
		tags, err := r.tags(ctx, repository.name)
		if err != nil {
			return nil, err
		}
		slices.Sort(tags)
		for _, tag := range tags {
			check := repository.check(tag)
			if check == nil {
				continue
			}
			err := r.verifyEntry(ctx, repository.name, tag, check)
			var damaged *damage
			switch {
			case errors.As(err, &damaged):
				all = append(all, fmt.Sprintf("%s of %s: %s %v", tag, repository.name, r, damaged))
			case IsNotFound(err):
				// It went away since the tags were listed.
			case err != nil:
				return nil, r.hinted(err)
			}
		}
	}
	return all, nil
}

func builderCheck(tag string) func(entry) error {
	id, arch, _ := strings.Cut(tag, "-")
	if !validKey.MatchString(id) || !validName.MatchString(arch) {
		return nil
	}
	return func(e entry) error { return checkBuilder(e, id, arch) }
}

func sourceCheck(tag string) func(entry) error {
	hash, ok := sourceHash(tag)
	if !ok {
		return nil
	}
	return func(e entry) error { return checkSource(e, hash) }
}

// verifyEntry reads all that is under a tag.
func (r *Registry) verifyEntry(ctx context.Context, name, tag string, check func(entry) error) error {
	e, err := r.entry(ctx, name, tag)
	if err == nil {
		err = check(e)
	}
	if err != nil {
		return err
	}
	for _, part := range e.parts() {
		progress, end := r.transfer(name, part)
		err := r.stream(ctx, name, part, &sink{to: toNobody{}, hash: sha256.New(), progress: progress})
		end(err, "verified")
		if err != nil {
			return err
		}
	}
	return nil
}
