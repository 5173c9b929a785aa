package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
)

// Planned is what a Job would do. Looking for it changes nothing anywhere.
type Planned struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	// Problems are the reasons why a run would refuse.
	Problems []string `json:"problems"`
	// Finished is true where all of it is published already, at URL.
	Finished bool           `json:"finished"`
	URL      string         `json:"url"`
	Assets   []PlannedAsset `json:"assets"`
	Files    []PlannedFile  `json:"files"`
	Images   []PlannedImage `json:"images"`
	// Cache is the registry that assets would be pushed to, "" for none.
	Cache string `json:"cache"`
	// Page is what would be done to the release on GitHub: "create", "change", ""
	// where there is none. Publish says whether it would be published, Latest
	// whether it would be the latest one then.
	Page    string `json:"page"`
	Publish bool   `json:"publish"`
	Latest  bool   `json:"latest"`
}

// PlannedAsset is an asset that a release needs.
type PlannedAsset struct {
	Asset string `json:"asset"`
	Arch  string `json:"arch"`
	// State is "hit", "build" or "pending", Where the cache of a hit, and Why what
	// there is to build for.
	State string `json:"state"`
	Where string `json:"where"`
	Why   string `json:"why"`
	// Problems are the reasons why it cannot be built.
	Problems []string `json:"problems,omitempty"`
	// Key, Digest and Size are "" and 0 where they are not known yet.
	Key    string `json:"key"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// PlannedFile is a file of a release.
type PlannedFile struct {
	Name string `json:"name"`
	// Size is in bytes; unless Exact, it is the sum of the components' tarballs, a
	// little more than the file will have, but for those of Unknown ones.
	Size    int64 `json:"size"`
	Exact   bool  `json:"exact"`
	Unknown int   `json:"unknown,omitempty"`
	// Action is what GitHub's copy needs, "compare" where that is not known yet,
	// "" where nothing is sent to GitHub.
	Action github.Action `json:"action"`
}

// PlannedImage is an image, or where it has no architecture, the index of them.
type PlannedImage struct {
	Repository string   `json:"repository"`
	GoArch     string   `json:"goarch,omitempty"`
	Tags       []string `json:"tags"`
	// There are those of the release that are there already, of this commit: an
	// earlier run has given them.
	There []string `json:"there"`
}

// compare stands for an action that depends on what is still to be made.
const compare github.Action = "compare"

// Plan says what Run would do. Find looks assets up, dependencies too, and builds
// nothing.
func (j *Job) Plan(ctx context.Context, find func(ctx context.Context, names []string, arch catalog.Arch) ([]PlannedAsset, error)) (Planned, error) {
	p := Planned{Version: j.Version, Commit: j.Commit, Problems: []string{}, Assets: []PlannedAsset{}, Files: []PlannedFile{}, Images: []PlannedImage{}}
	seen, assets, err := j.lookOnly(ctx, &p)
	if err != nil || p.Finished {
		return p, err
	}
	for _, arch := range j.Arches {
		found, err := find(ctx, j.components(arch), arch)
		if err != nil {
			return p, err
		}
		p.Assets = append(p.Assets, found...)
		for _, asset := range found {
			for _, problem := range asset.Problems {
				p.Problems = append(p.Problems, fmt.Sprintf("%s for %s: %s", asset.Asset, arch, problem))
			}
		}
		for _, set := range j.sets(arch) {
			if err := j.planTarball(ctx, &p, set, arch, found, assets); err != nil {
				return p, err
			}
		}
	}
	for _, name := range []string{pinsFile(j.Version), SumsName} {
		p.Files = append(p.Files, PlannedFile{Name: name, Action: j.action(name, "", assets)})
	}
	return p, j.planImages(ctx, &p, seen)
}

// lookOnly finds out what GitHub has. What would be an error of Run is a problem
// here.
func (j *Job) lookOnly(ctx context.Context, p *Planned) (state, []github.Asset, error) {
	s, err := j.look(ctx)
	switch {
	case ctx.Err() != nil:
		return s, nil, context.Cause(ctx)
	case err != nil:
		p.Problems = append(p.Problems, err.Error())
	case j.GitHub == nil:
		return s, nil, nil
	}
	p.Finished, p.URL, p.Latest = s.finished, s.release.URL, s.latest && !j.KeepDraft
	p.Publish = !j.KeepDraft && (s.release.ID == 0 || s.release.Draft)
	if p.Page = "create"; s.release.ID == 0 {
		return s, nil, nil
	}
	if p.Page = "change"; !s.release.Draft {
		p.Page = ""
	}
	assets, err := j.GitHub.Assets(ctx, s.release)
	return s, assets, err
}

// action is what a file of a digest needs, which is "" where it is not made yet.
func (j *Job) action(name, digest string, assets []github.Asset) github.Action {
	if j.GitHub == nil {
		return ""
	}
	i := slices.IndexFunc(assets, func(asset github.Asset) bool { return asset.Name == name })
	switch {
	case i < 0:
		return github.Upload
	case !assets[i].Whole():
		return github.Resume
	case digest == "" || assets[i].Digest == "":
		return compare
	case digest == assets[i].Digest:
		return github.Keep
	}
	return github.Replace
}

// planTarball plans a merged tarball and its report: to the byte where an earlier
// run has left the tarballs of its components, else by their sizes.
func (j *Job) planTarball(ctx context.Context, p *Planned, set catalog.Set, arch catalog.Arch, found []PlannedAsset, assets []github.Asset) error {
	file := PlannedFile{Name: PublishedFile(set.Name, j.Version, arch)}
	merge := Merge{Merge: sizes.Merge{Set: set.Name, Arch: arch, Version: j.Version, Catalog: j.Catalog, Limit: j.Limit}, Pins: j.Pins, Cache: j.Cache}
	file.Exact = true
	for _, name := range set.Components[arch] {
		i := slices.IndexFunc(found, func(asset PlannedAsset) bool { return asset.Asset == name })
		if i < 0 {
			return fmt.Errorf("%s for %s was not looked for", name, arch)
		}
		if file.Size += found[i].Size; found[i].Size == 0 {
			file.Unknown++
		}
		path := filepath.Join(j.folder(arch), ComponentFile(name))
		there, err := inPlace(path, found[i].Size)
		if err != nil {
			return err
		}
		file.Exact = file.Exact && there
		merge.Components = append(merge.Components, archive.Component{Name: name, Path: path})
	}
	digest, err := j.planMerge(ctx, p, merge, &file)
	if err != nil {
		return err
	}
	file.Action = j.action(file.Name, digest, assets)
	report := PlannedFile{Name: reportFile(file.Name), Action: j.action(reportFile(file.Name), "", assets)}
	p.Files = append(p.Files, file, report)
	return nil
}

// planMerge fills in the exact size of a merged tarball, where it can be known, and
// returns its digest where it is in place.
func (j *Job) planMerge(ctx context.Context, p *Planned, merge Merge, file *PlannedFile) (digest string, err error) {
	if !file.Exact {
		if limit := cmp.Or(j.Limit, sizes.Limit); file.Size >= limit {
			p.Problems = append(p.Problems, fmt.Sprintf("%s would have about %d bytes, and must have less than %d", file.Name, file.Size, limit))
		}
		return "", nil
	}
	plan, err := merge.Plan(ctx)
	if err == nil {
		file.Size = plan.Report.Size
		err = plan.Report.Check(j.Strict)
	}
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		p.Problems = append(p.Problems, err.Error())
		return "", nil
	}
	return plan.there(ctx, filepath.Join(j.Output, file.Name))
}

// there returns the digest of the merged tarball where it is in place, else "".
func (p *MergePlan) there(ctx context.Context, path string) (string, error) {
	same, err := p.Merged.Same(ctx, path)
	if err != nil || !same {
		return "", err
	}
	return digestOf(path)
}

// inPlace tells whether a tarball of an asset is there, and has an index, without
// which a plan would have to write one.
func inPlace(path string, size int64) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil || size == 0 || info.Size() != size {
		return false, err
	}
	file, err := archive.Open(path)
	if err != nil {
		return false, nil //nolint:nilerr // One that cannot be read is brought anew.
	}
	return true, file.Close()
}
