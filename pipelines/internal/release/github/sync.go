package github

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Action says what a file needs.
type Action string

// The actions of a Change.
const (
	// Keep is for an asset that is there with the same content.
	Keep Action = "keep"
	// Upload is for one that is missing.
	Upload Action = "upload"
	// Replace is for one with other content.
	Replace Action = "replace"
	// Resume is for one whose upload broke off.
	Resume Action = "resume"
)

// Change is what one file needs to be an asset of a release.
type Change struct {
	Action Action
	File   File
	// There is what has its name, for all actions but Upload.
	There Asset
}

// Compare returns what each file needs, in the order of the files, and the
// assets of the release that are none of them. It changes nothing.
func (c *Client) Compare(ctx context.Context, release Release, files []File) (changes []Change, others []Asset, err error) {
	if err := check(files); err != nil {
		return nil, nil, err
	}
	assets, err := c.Assets(ctx, release)
	if err != nil {
		return nil, nil, err
	}
	for _, file := range files {
		i := slices.IndexFunc(assets, func(asset Asset) bool { return asset.Name == file.Name })
		if i < 0 {
			changes = append(changes, Change{Action: Upload, File: file})
			continue
		}
		change := Change{Action: Replace, File: file, There: assets[i]}
		same, err := c.same(ctx, assets[i], file)
		switch {
		case err != nil:
			return nil, nil, err
		case same:
			change.Action = Keep
		case !assets[i].Whole():
			change.Action = Resume
		}
		changes = append(changes, change)
	}
	for _, asset := range assets {
		if !slices.ContainsFunc(files, func(file File) bool { return file.Name == asset.Name }) {
			others = append(others, asset)
		}
	}
	return changes, others, nil
}

func check(files []File) error {
	var problems []error
	for i, file := range files {
		problems = append(problems, file.Check())
		if slices.ContainsFunc(files[:i], func(other File) bool { return other.Name == file.Name }) {
			problems = append(problems, fmt.Errorf("two files are to be the asset %s", file.Name))
		}
	}
	return errors.Join(problems...)
}

// Allowed tells whether changes may be made to a release: ErrPublished where it
// is published, there is something to change, and force is not given. Those of
// an immutable release are never allowed.
func Allowed(release Release, changes []Change, force bool) error {
	var names []string
	for _, change := range changes {
		if change.Action != Keep {
			names = append(names, change.File.Name)
		}
	}
	switch {
	case release.Draft || len(names) == 0:
		return nil
	case release.Immutable:
		return fmt.Errorf("%w and immutable, and differs in %s: make a release of another version", ErrPublished, strings.Join(names, ", "))
	case force:
		return nil
	}
	return fmt.Errorf("%w and differs in %s: make a release of another version, or change it all the same with --force", ErrPublished, strings.Join(names, ", "))
}

// Sync makes changes, which Allowed has to allow. Where it is broken off, what
// Compare returns the next time is what is left.
func (c *Client) Sync(ctx context.Context, release Release, changes []Change, force bool) error {
	if err := Allowed(release, changes, force); err != nil {
		return err
	}
	for _, change := range changes {
		if change.Action == Keep {
			continue
		}
		if change.Action != Upload {
			if err := c.remove(ctx, change.There); err != nil {
				return err
			}
		}
		if err := c.upload(ctx, release, change.File); err != nil {
			return err
		}
	}
	return nil
}
