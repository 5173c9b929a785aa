package versions

import "regexp"

// kind is what may stand below a key.
type kind int

const (
	_       kind = iota
	prose        // a string for people
	text         // a string that builds use: a pin
	either       // a pin, or an entry of that name
	entries      // entries by name
	table        // pins by name
	sources      // see placeKeys
)

// topKeys are the keys of the document.
var topKeys = map[string]kind{
	"description":   prose,
	"format":        prose,
	"assets":        entries,
	"externals":     entries,
	"languages":     entries,
	"docker_images": entries,
}

// needsURL are the groups whose versioned entries are downloaded by address;
// languages and images come by name from a builder or a registry.
var needsURL = map[string]bool{"assets": true, "externals": true}

// groupKeys are the keys of a group that are not names of entries.
var groupKeys = map[string]kind{
	"description": prose,
	"notes":       prose,
}

// entryKeys are the keys of an entry. A mapping below any other key is an
// entry of its own.
var entryKeys = map[string]kind{
	"description": prose,
	"desc":        prose,
	"notes":       prose,
	"issue":       prose,
	"uscan-opts":  prose,
	"uscan-url":   prose,

	"url":         text,
	"repo":        either,
	"registry":    text,
	"name":        text,
	"tarball_url": text,

	"version": text,
	"tag":     text,
	"ref":     text,
	"commit":  text,
	"release": text,
	"branch":  text,
	"digest":  text,
	"latest":  text,
	"minimum": text,
	"lts":     text,
	"active":  text,

	"toolchain":          text,
	"variant":            text,
	"pkg":                text,
	"package":            text,
	"package_output_dir": text,
	"image":              either,
	"image_tag":          text,
	"ita_image":          text,
	"ita_image_tag":      text,
	"container_image":    text,
	"extension_image":    text,

	"architecture": entries,
	"images":       table,
	"checksum":     table,
	"meta":         table,
	"sources":      sources,
}

// versionKeys make an entry one that something has to be downloaded for, and
// addressKeys say where: an entry has one of the second with one of the first.
var (
	versionKeys = []string{"version", "tag", "ref", "commit", "release", "branch", "digest", "latest", "minimum"}
	addressKeys = []string{"url", "repo", "registry", "name"}
)

// The keys of a place, and of the kinds of place that are mappings. Every key
// of the latter is required, but some of gitKeys.
var (
	placeKeys   = []string{"name", "sha256", "size", "url", "debian", "git", "go", "goproxy"}
	placeKinds  = []string{"url", "debian", "git", "go", "goproxy"}
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
