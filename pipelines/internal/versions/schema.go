package versions

import (
	"regexp"
	"slices"
	"strings"
)

// groups are the mappings of entries at the top of the file. Entries with a
// version need a url in the groups that are true: languages and images come by
// name, from a builder or a registry.
var groups = map[string]bool{"assets": true, "externals": true, "languages": false, "docker_images": false}

// The keys of an entry: strings for people, pins, and mappings of pins. A mapping
// below any other key but sources is an entry of its own.
var (
	proseKeys = strings.Fields("desc description format issue notes uscan-opts uscan-url")
	pinKeys   = strings.Fields(`active branch commit container_image digest extension_image image image_tag ita_image
		ita_image_tag latest lts minimum name package package_output_dir pkg ref registry release repo tag tarball_url
		toolchain url variant version`)
	tableKeys = strings.Fields("checksum images meta")
)

// entryKeys are all keys of an entry, for hints.
var entryKeys = slices.Concat(proseKeys, pinKeys, tableKeys, []string{"architecture", "sources"})

// An entry with one of versionKeys is something to download, and needs one of
// addressKeys, or the url of an entry around it.
var (
	versionKeys = []string{"version", "tag", "ref", "commit", "release", "branch", "digest", "latest", "minimum"}
	addressKeys = []string{"url", "repo", "registry", "name"}
)

// The keys of a place, and of the kinds of places that are mappings. Every key of
// the latter is required, except for git.
var (
	placeKinds  = []string{"url", "debian", "git", "go", "goproxy"}
	placeKeys   = append([]string{"name", "sha256", "size"}, placeKinds...)
	debianKeys  = []string{"package", "version", "suite", "file"}
	gitKeys     = []string{"url", "commit", "path", "ref"}
	goKeys      = []string{"module", "version", "sum"}
	goProxyKeys = []string{"module", "version"}
)

var (
	// plainName has no dot, which separates the names of a path.
	plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)
	commitHex = regexp.MustCompile(`^[0-9a-f]{40}$`)
	goSum     = regexp.MustCompile(`^h1:[A-Za-z0-9+/]{43}=$`)
)
