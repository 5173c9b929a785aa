package payload

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// nydus is the asset whose files an installer takes from the image itself, not from a
// tarball: they are a service of the node, which no runtime class names.
const nydus = "nydus-for-kata-tee"

// installerNydus is where kata-deploy looks for the snapshotter, below Root. Nodes see
// it under another name.
const installerNydus = "nydus-snapshotter"

// maxFiles limits the bytes of all files of the asset.
const maxFiles = 512 << 20

// template is a file of the asset that kata-deploy fills in itself. Its placeholders
// stand for whole paths, so they replace whole paths of the asset.
type template struct {
	// from is the file in the asset, to the one that kata-deploy reads.
	from, to string
	replace  *strings.Replacer
	// known are the placeholders that kata-deploy fills in.
	known []string
}

var templates = []template{
	{
		from: "templates/config-guest-pulling.toml.in", to: "config-guest-pulling.toml",
		replace: strings.NewReplacer(
			"/run/@SNAPSHOTTER@/containerd-nydus-grpc.sock", "@SNAPSHOTTER_GRPC_SOCKET_ADDRESS@",
			"/var/lib/@SNAPSHOTTER@", "@SNAPSHOTTER_ROOT_DIR@",
			"@KATA_PREFIX@/"+nydus+"/nydus-overlayfs", "@NYDUS_OVERLAYFS_PATH@",
			// This server is off, so its path needs no name of an instance.
			"/run/@SNAPSHOTTER@/", "/run/"+nydus+"/",
		),
		known: []string{"@SNAPSHOTTER_GRPC_SOCKET_ADDRESS@", "@SNAPSHOTTER_ROOT_DIR@", "@NYDUS_OVERLAYFS_PATH@"},
	},
	{
		from: "templates/nydus-for-kata-tee.service.in", to: "nydus-snapshotter.service",
		replace: strings.NewReplacer(
			"@KATA_PREFIX@/"+nydus+"/containerd-nydus-grpc", "@CONTAINERD_NYDUS_GRPC_BINARY@",
			"@KATA_PREFIX@/"+nydus+"/config-guest-pulling.toml", "@CONFIG_GUEST_PULLING@",
			"@KATA_PREFIX@/", "/opt/kata/",
			// kata-deploy names the unit like the folders, and systemd expands %N to
			// the unit's name.
			"@SNAPSHOTTER@", "%N",
		),
		known: []string{"@CONTAINERD_NYDUS_GRPC_BINARY@", "@CONFIG_GUEST_PULLING@", "@CRI_SERVICE@"},
	},
}

// nydusEntries returns the files of the asset unchanged, and those that kata-deploy
// expects. The programs of the latter are links, so that the image has them once.
func nydusEntries(tarball string) ([]entry, error) {
	listing, err := archive.Inspect(tarball)
	if err != nil {
		return nil, err
	}
	prefix := "./opt/kata/" + nydus + "/"
	files := map[string]entry{}
	var total int64
	for _, m := range listing.Members {
		name, found := strings.CutPrefix(m.Name, prefix)
		if !found || !m.Mode.IsRegular() {
			continue
		}
		if total += m.Size; total > maxFiles {
			return nil, fmt.Errorf("its files have more than %d bytes: too many for an image", maxFiles)
		}
		files[name] = entry{name: path.Join(Root, nydus, name), mode: int64(m.Mode.Perm()), piece: piece{member{tarball, m.Name}, m.Size}}
	}
	for _, name := range []string{"containerd-nydus-grpc", "nydus-overlayfs", templates[0].from, templates[1].from} {
		if _, found := files[name]; !found {
			return nil, fmt.Errorf("it has no opt/kata/%s/%s, which kata-deploy installs", nydus, name)
		}
	}
	var entries []entry
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entries = append(entries, files[name])
	}
	for _, program := range []string{"containerd-nydus-grpc", "nydus-overlayfs"} {
		entries = append(entries, entry{name: path.Join(Root, installerNydus, program), mode: 0o777, link: path.Join("..", nydus, program)})
	}
	for _, t := range templates {
		content, err := t.fill(tarball, prefix)
		if err != nil {
			return nil, err
		}
		entries = append(entries, text(path.Join(Root, installerNydus, t.to), content))
	}
	return entries, nil
}

var placeholder = regexp.MustCompile(`@[A-Z][A-Z0-9_]*@`)

// fill returns the template for kata-deploy. A placeholder that kata-deploy would not
// fill in is an error.
func (t template) fill(tarball, prefix string) ([]byte, error) {
	var content bytes.Buffer
	if err := archive.Cat(&content, tarball, prefix+t.from); err != nil {
		return nil, err
	}
	filled := t.replace.Replace(content.String())
	for _, left := range placeholder.FindAllString(filled, -1) {
		if !slices.Contains(t.known, left) {
			return nil, fmt.Errorf("%s: kata-deploy has no value for the placeholder %s: give it one in package payload", t.from, left)
		}
	}
	return []byte(filled), nil
}
