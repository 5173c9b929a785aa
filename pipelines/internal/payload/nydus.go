package payload

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// nydus is the asset whose files an installer takes from the image itself, not out
// of a tarball: it installs a service of the node, which no runtime class names.
const nydus = "nydus-for-kata-tee"

// installerNydus is where kata-deploy looks for the snapshotter, below Root; the
// name that the node sees is another.
const installerNydus = "nydus-snapshotter"

// limits of what is unpacked, in bytes: a tarball does not fill the disk.
const (
	maxFile = 256 << 20
	maxAll  = 512 << 20
)

// template is a file of the asset that kata-deploy fills in by itself. Its own
// placeholders stand for whole paths, so these become them.
type template struct {
	// from is the file in the asset, to the one that kata-deploy reads.
	from, to string
	replace  *strings.Replacer
	// known are the placeholders that may be left.
	known []string
}

var templates = []template{
	{
		from: "templates/config-guest-pulling.toml.in", to: "config-guest-pulling.toml",
		replace: strings.NewReplacer(
			"/run/@SNAPSHOTTER@/containerd-nydus-grpc.sock", "@SNAPSHOTTER_GRPC_SOCKET_ADDRESS@",
			"/var/lib/@SNAPSHOTTER@", "@SNAPSHOTTER_ROOT_DIR@",
			"@KATA_PREFIX@/"+nydus+"/nydus-overlayfs", "@NYDUS_OVERLAYFS_PATH@",
			// Of a server that is off: no name of an instance is needed.
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
			// kata-deploy names the unit as it names the folders, and systemd knows
			// the unit's name.
			"@SNAPSHOTTER@", "%N",
		),
		known: []string{"@CONTAINERD_NYDUS_GRPC_BINARY@", "@CONFIG_GUEST_PULLING@", "@CRI_SERVICE@"},
	},
}

// nydusLayer has the files of the asset as they are, and those that kata-deploy
// asks for. Its programs are links, so that the image has them once.
func nydusLayer(ctx context.Context, tarball, scratch string) (*layer, error) {
	members, err := unpack(tarball, scratch)
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", tarball, err)
	}
	var entries []entry
	for _, m := range members {
		entries = append(entries, entry{name: path.Join(Root, nydus, m.name), mode: m.mode, path: m.path})
	}
	for _, program := range []string{"containerd-nydus-grpc", "nydus-overlayfs"} {
		if _, err := find(members, program); err != nil {
			return nil, fmt.Errorf("reading %s: %w", tarball, err)
		}
		entries = append(entries, entry{name: path.Join(Root, installerNydus, program), mode: 0o777, link: path.Join("..", nydus, program)})
	}
	for _, t := range templates {
		content, err := t.fill(members)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", tarball, err)
		}
		entries = append(entries, entry{name: path.Join(Root, installerNydus, t.to), mode: 0o644, content: content})
	}
	return newLayer(ctx, nydus, "files of "+nydus, entries)
}

// unpacked is a file of the asset that is on the disk.
type unpacked struct {
	// name is below the folder of the asset.
	name, path string
	mode       int64
}

// unpack writes the files of the asset into a folder, sorted by name.
func unpack(tarball, folder string) ([]unpacked, error) {
	file, err := os.Open(tarball)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	prefix := "./opt/kata/" + nydus + "/"
	places, total := map[string]string{}, int64(0)
	members, err := archive.Extract(file, func(name string, size int64) (string, error) {
		if total += size; size > maxFile || total > maxAll {
			return "", fmt.Errorf("it has %d bytes, and all until here %d: more than belongs into an image", size, total)
		}
		if !strings.HasPrefix(name, prefix) {
			return "", nil
		}
		// Numbers have no way out of the folder.
		places[name] = filepath.Join(folder, fmt.Sprint(len(places)))
		return places[name], nil
	})
	if err != nil {
		return nil, err
	}
	var files []unpacked
	for _, m := range members {
		if place, ok := places[m.Name]; ok {
			files = append(files, unpacked{strings.TrimPrefix(m.Name, prefix), place, int64(m.Mode.Perm())})
		}
	}
	slices.SortFunc(files, func(a, b unpacked) int { return cmp.Compare(a.name, b.name) })
	return files, nil
}

func find(files []unpacked, name string) (unpacked, error) {
	i := slices.IndexFunc(files, func(f unpacked) bool { return f.name == name })
	if i < 0 {
		return unpacked{}, fmt.Errorf("it has no opt/kata/%s/%s, which kata-deploy installs", nydus, name)
	}
	return files[i], nil
}

var placeholder = regexp.MustCompile(`@[A-Z][A-Z0-9_]*@`)

// fill makes what kata-deploy reads of a template of the asset. A placeholder that
// kata-deploy would leave as it is, is an error.
func (t template) fill(files []unpacked) ([]byte, error) {
	file, err := find(files, t.from)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(file.path)
	if err != nil {
		return nil, err
	}
	filled := t.replace.Replace(string(content))
	for _, left := range placeholder.FindAllString(filled, -1) {
		if !slices.Contains(t.known, left) {
			return nil, fmt.Errorf("%s: kata-deploy has no value for the placeholder %s: give it one in package payload", t.from, left)
		}
	}
	return []byte(filled), nil
}
