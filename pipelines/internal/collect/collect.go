// Package collect decides what a cache keeps, and removes the rest.
//
// The one idea: everything in a cache is a Thing with a time of last use, and a decision
// is a reason to keep it, or none. So the rules are one function over a list, which a dry
// run prints and a real run executes. What is removed can always be made again: a wrong
// decision costs a build, never a wrong result.
//
// Package store has the entries of the layouts and of a registry, and knows how to remove
// one next to running builds. The engine collects its own cache.
package collect

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// Thing is an entry of the store or of a registry, or a file of a cache.
type Thing struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Arch string `json:"arch,omitempty"`
	Key  string `json:"key,omitempty"`
	Size int64  `json:"size"`
	// Used is the time of the last use, nil if that is not known.
	Used *time.Time `json:"used"`
	// Keep is why it stays, "" if it goes.
	Keep string `json:"keep"`

	inUse bool
	// item is set for an entry, path for a file or a folder.
	item store.Item
	path string
	// blobs are what it consists of; things may share them.
	blobs []ocispec.Descriptor
	// tags are the moving tags of a registry.
	tags []moving
}

// moving is a moving tag without its architecture: kind is latest, commit or release.
type moving struct{ kind, name string }

var movingTag = regexp.MustCompile(`^(latest|commit|release)-(.*)$`)

// OfItems returns the things of entries. Commits are the times of the commits of the
// clone: in a registry, the newest commit that pushed an entry is its last use.
func OfItems(items []store.Item, commits map[string]time.Time) []Thing {
	var things []Thing
	for _, item := range items {
		t := Thing{
			Kind: string(item.Kind), Name: item.Name, Arch: item.Arch, Key: item.Key,
			inUse: item.InUse, item: item, blobs: item.Blobs,
		}
		for _, blob := range unique(item.Blobs) {
			t.Size += blob.Size
		}
		used := item.Used
		for _, tag := range item.Tags {
			if m := movingTag.FindStringSubmatch(strings.TrimSuffix(tag, "-"+item.Arch)); m != nil {
				t.tags = append(t.tags, moving{m[1], m[2]})
				if made := commits[m[2]]; m[1] == "commit" && made.After(used) {
					used = made
				}
			}
		}
		if !used.IsZero() {
			t.Used = &used
		}
		things = append(things, t)
	}
	return things
}

func unique(blobs []ocispec.Descriptor) map[digest.Digest]ocispec.Descriptor {
	all := map[digest.Digest]ocispec.Descriptor{}
	for _, blob := range blobs {
		all[blob.Digest] = blob
	}
	return all
}

// Wanted is what the trees of some revisions need.
type Wanted struct {
	// Names are keys, IDs of builders, hashes of sources and names of files, with the
	// revision that needs each.
	Names map[string]string
	// Pending are the reasons why the key of an asset is not known, by "<asset> <arch>".
	Pending map[string]string
}

// Rules say what stays.
type Rules struct {
	Wanted
	Now time.Time
	// Days keeps what was used in the last days, and what has no known time of use unless it
	// is 0. Newest keeps the newest artifacts of each asset, and the newest releases.
	Days, Newest int
}

// Decide sets the reasons to keep things.
func Decide(things []Thing, rules Rules) {
	releases := newestReleases(things, rules.Newest)
	byAsset := map[string][]*Thing{}
	for i := range things {
		t := &things[i]
		t.Keep = rules.reason(*t, releases)
		if t.Kind == string(store.KindArtifact) {
			byAsset[t.Name+" "+t.Arch] = append(byAsset[t.Name+" "+t.Arch], t)
		}
	}
	for _, list := range byAsset {
		slices.SortStableFunc(list, func(a, b *Thing) int { return b.Last().Compare(a.Last()) })
		for _, t := range list[:min(len(list), rules.Newest)] {
			t.Keep = cmp.Or(t.Keep, fmt.Sprintf("one of the %d newest", rules.Newest))
		}
	}
}

// Last is the time of the last use, the zero time if it is not known.
func (t Thing) Last() time.Time {
	if t.Used == nil {
		return time.Time{}
	}
	return *t.Used
}

func (r Rules) reason(t Thing, releases []string) string {
	if by := r.Names[cmp.Or(t.Key, t.Name)]; by != "" {
		return "needed by " + by
	}
	if why := r.Pending[t.Name+" "+t.Arch]; why != "" && t.Kind == string(store.KindArtifact) {
		return "perhaps needed: " + why
	}
	if t.inUse {
		return "in use"
	}
	for _, tag := range t.tags {
		if tag.kind == "latest" {
			return "the latest of " + tag.name
		}
		if tag.kind == "release" && slices.Contains(releases, tag.name) {
			return "release " + tag.name
		}
	}
	switch {
	case r.Days == 0:
	case t.Used == nil:
		return "of unknown age: this clone has no commit that pushed it"
	case t.Used.After(r.Now.AddDate(0, 0, -r.Days)):
		return "used on " + t.Used.Format(time.DateOnly)
	}
	return ""
}

// newestReleases returns the newest releases that the tags name.
func newestReleases(things []Thing, count int) (releases []string) {
	for _, t := range things {
		for _, tag := range t.tags {
			if tag.kind == "release" {
				releases = append(releases, tag.name)
			}
		}
	}
	slices.SortFunc(releases, func(a, b string) int { return semver.Compare(b, a) })
	releases = slices.Compact(releases)
	return releases[:min(len(releases), count)]
}

// Fit lets the things go that were not used for the longest time, until the rest fits
// into a budget in bytes. Those in use stay.
func Fit(things []Thing, budget int64) {
	order := make([]*Thing, len(things))
	for i := range things {
		order[i] = &things[i]
	}
	slices.SortStableFunc(order, func(a, b *Thing) int { return a.Last().Compare(b.Last()) })
	named := names(things)
	var size int64
	for _, blob := range named.blobs {
		size += blob.Size
	}
	for _, t := range order {
		if size <= budget {
			return
		}
		if t.Keep != "" && !t.inUse {
			t.Keep = ""
			size -= named.drop(*t)
		}
	}
}

// shared counts the things that consist of each blob.
type shared struct {
	blobs map[digest.Digest]ocispec.Descriptor
	count map[digest.Digest]int
}

// names counts the blobs of the things that stay.
func names(things []Thing) shared {
	s := shared{map[digest.Digest]ocispec.Descriptor{}, map[digest.Digest]int{}}
	for _, t := range things {
		if t.Keep != "" {
			for d, blob := range unique(t.blobs) {
				s.blobs[d] = blob
				s.count[d]++
			}
		}
	}
	return s
}

// drop returns how many bytes only this thing has, of those that stay.
func (s shared) drop(t Thing) (size int64) {
	for d, blob := range unique(t.blobs) {
		if s.count[d]--; s.count[d] == 0 {
			size += blob.Size
		}
	}
	return size
}

// Total is a number of things and their size in bytes.
type Total struct {
	Count int   `json:"count"`
	Size  int64 `json:"size"`
}

// Totals returns what stays and what goes; blobs that several things share count once.
func Totals(things []Thing) (stay, gone Total) {
	kept, all := names(things), map[digest.Digest]int64{}
	for _, t := range things {
		total := &gone
		if t.Keep != "" {
			total = &stay
		}
		total.Count++
		for d, blob := range unique(t.blobs) {
			all[d] = blob.Size
		}
	}
	for d, size := range all {
		if kept.count[d] > 0 {
			stay.Size += size
		} else {
			gone.Size += size
		}
	}
	return stay, gone
}
