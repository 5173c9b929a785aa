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
	// Keep is for an asset with the same content.
	Keep Action = "keep"
	// Upload is for a missing asset.
	Upload Action = "upload"
	// Replace is for an asset with other content.
	Replace Action = "replace"
	// Resume is for an asset whose upload broke off.
	Resume Action = "resume"
	// Unknown is for an asset that can only be compared by reading it, or the file.
	Unknown Action = "compare"
)

// Action returns what the file needs to be one of the assets of a release, and the
// asset of its name.
func (f File) Action(assets []Asset) (Action, Asset) {
	i := slices.IndexFunc(assets, func(asset Asset) bool { return asset.Name == f.Name })
	if i < 0 {
		return Upload, Asset{}
	}
	switch there := assets[i]; {
	case !there.Whole():
		return Resume, there
	case f.Digest == "", there.Digest == "" && there.Size == f.Size:
		return Unknown, there
	case there.Digest == f.Digest:
		return Keep, there
	default:
		return Replace, there
	}
}

// Change is what one file needs to be an asset of a release.
type Change struct {
	Action Action
	File   File
	// There is the asset that has the file's name, for all actions but Upload.
	There Asset
	// successor is the asset that an earlier run has uploaded to take the name, if
	// its ID is not 0. Leftovers are such assets with other content.
	successor Asset
	leftovers []Asset
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
		change, err := c.compare(ctx, file, assets)
		if err != nil {
			return nil, nil, err
		}
		changes = append(changes, change)
	}
	for _, asset := range assets {
		if !slices.ContainsFunc(files, func(file File) bool { return file.Name == asset.Name || file.preceded(asset.Name) }) {
			others = append(others, asset)
		}
	}
	return changes, others, nil
}

func (c *Client) compare(ctx context.Context, file File, assets []Asset) (change Change, err error) {
	change.File = file
	if change.Action, change.There = file.Action(assets); change.Action == Unknown {
		same, err := c.same(ctx, change.There, file)
		if err != nil {
			return change, err
		}
		if change.Action = Replace; same {
			change.Action = Keep
		}
	}
	for _, asset := range assets {
		if !file.preceded(asset.Name) {
			continue
		}
		same := false
		if change.Action != Keep && asset.Name == file.successor() {
			if same, err = c.same(ctx, asset, file); err != nil {
				return change, err
			}
		}
		if same {
			change.successor = asset
		} else {
			change.leftovers = append(change.leftovers, asset)
		}
	}
	return change, nil
}

func check(files []File) error {
	var problems []error
	for i, file := range files {
		problems = append(problems, file.Check())
		if slices.ContainsFunc(files[:i], func(other File) bool { return other.Name == file.Name }) {
			problems = append(problems, fmt.Errorf("two files have the name of asset %s", file.Name))
		}
	}
	return errors.Join(problems...)
}

// Allowed checks that changes may be made to a release. The error is ErrPublished if it
// is published, something would change, and force is not given. An immutable release is
// never changed.
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
	return fmt.Errorf("%w and differs in %s: make a release of another version, or change it with --force", ErrPublished, strings.Join(names, ", "))
}

// Sync makes changes if Allowed allows them. If a run ends in the middle, the next
// Compare returns what is left to do: an asset is deleted only when its successor is
// there under a temporary name, and the successor is renamed last.
func (c *Client) Sync(ctx context.Context, release Release, changes []Change, force bool) error {
	if err := Allowed(release, changes, force); err != nil {
		return err
	}
	for _, change := range changes {
		for _, asset := range change.leftovers {
			if err := c.remove(ctx, asset); err != nil {
				return err
			}
		}
		if err := c.sync(ctx, release, change); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) sync(ctx context.Context, release Release, change Change) (err error) {
	successor := change.successor
	switch {
	case change.Action == Keep:
		return nil
	case change.Action == Replace && successor.ID == 0:
		if successor, err = c.upload(ctx, release, change.File, change.File.successor()); err != nil {
			return err
		}
	}
	if change.Action != Upload {
		if err := c.remove(ctx, change.There); err != nil {
			return err
		}
	}
	if successor.ID != 0 {
		return c.rename(ctx, successor, change.File.Name)
	}
	_, err = c.upload(ctx, release, change.File, change.File.Name)
	return err
}
