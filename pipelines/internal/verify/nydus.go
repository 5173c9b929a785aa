package verify

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// Nydus is the snapshotter of Kata guests, as the tree declares it.
type Nydus struct {
	// Asset is its name, Arch its architecture as `uname -m` prints it.
	Asset, Arch string
	// Version and Revision are the pins: "v0.15.13", and the commit of its tag.
	Version, Revision string
}

// The two instances, and what is the same on every host: installers and containerd's
// records rely on these names.
const (
	guestPull     = "nydus-for-kata-tee"
	hostShare     = "nydus-for-kata-tee-host-share"
	nydusHome     = "opt/kata/nydus-for-kata-tee"
	nydusGRPC     = nydusHome + "/containerd-nydus-grpc"
	nydusMount    = nydusHome + "/nydus-overlayfs"
	nydusRenderer = nydusHome + "/templates/render.sh"
	// Not of this asset: what host sharing converts layers with.
	nydusImage = "opt/kata/libexec/nydus-image"
)

// nydusInstance is one of the two that run beside each other.
type nydusInstance struct {
	name string
	// config and unit are its files in the tarball.
	config, unit string
}

var nydusInstances = []nydusInstance{
	{guestPull, nydusHome + "/config-guest-pulling.toml", nydusHome + "/systemd/" + guestPull + ".service"},
	{hostShare, nydusHome + "/config-host-sharing.toml", nydusHome + "/systemd/" + hostShare + ".service"},
}

// dropIn is the file in the tarball for a version of containerd's configuration.
func dropIn(version int) string {
	return fmt.Sprintf("%s/containerd/%s-v%d.toml", nydusHome, guestPull, version)
}

// nydusTemplates are the templates in the tarball, and what each is rendered to.
var nydusTemplates = map[string]string{
	"config-guest-pulling.toml": nydusInstances[0].config,
	"config-host-sharing.toml":  nydusInstances[1].config,
	guestPull + ".service":      nydusInstances[0].unit,
	hostShare + ".service":      nydusInstances[1].unit,
	"containerd-v2.toml":        dropIn(2),
	"containerd-v3.toml":        dropIn(3),
}

// nydusMembers are the files of the tarball and their modes.
func nydusMembers() map[string]fs.FileMode {
	files := map[string]fs.FileMode{
		nydusGRPC: 0o755, nydusMount: 0o755, nydusRenderer: 0o755, nydusHome + "/README.md": 0o644,
	}
	for template, rendered := range nydusTemplates {
		files[nydusHome+"/templates/"+template+".in"] = 0o644
		files[rendered] = 0o644
	}
	return files
}

// Verify looks at the tarball of the snapshotter: inspects programs, files and
// units, and has both instances serve a containerd. The error is for what is no
// tarball, and for a machine on which nothing can be verified.
func (n Nydus) Verify(ctx context.Context, tarball string, serving Serving) (*Report, error) {
	// Paths of sockets, and the snapshotter's root, may not be long.
	dir, err := os.MkdirTemp("", "kv-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the snapshotter: %w", err)
	}
	defer os.RemoveAll(dir)
	members, err := unpackNydus(tarball, dir)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", tarball, err)
	}
	report := &Report{Asset: n.Asset, Arch: n.Arch, Tarball: tarball}
	checkNydusMembers(report, members)
	native := true
	for _, program := range []string{nydusGRPC, nydusMount} {
		ours, err := n.checkProgram(report, filepath.Join(dir, program))
		if err != nil {
			return nil, err
		}
		native = native && ours
	}
	if err := n.checkFiles(ctx, report, dir); err != nil {
		return nil, err
	}
	if err := serving.checkUnits(ctx, report, dir); err != nil {
		return nil, err
	}
	if why := serving.cannot(n.Arch, native); why != "" {
		for _, name := range servingChecks {
			report.Skip(name, "%s", why)
		}
		return report, nil
	}
	return report, serving.run(ctx, report, dir)
}

// unpackNydus lists the tarball and puts its files below dir, at their paths.
func unpackNydus(tarball, dir string) ([]archive.Member, error) {
	const maxFile = 256 << 20
	file, err := os.Open(tarball)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	wanted := nydusMembers()
	members, err := archive.Extract(file, func(name string, size int64) (string, error) {
		name = strings.TrimPrefix(name, "./")
		if _, ours := wanted[name]; !ours {
			return "", nil
		}
		if size > maxFile {
			return "", fmt.Errorf("it has %d bytes: a file of the snapshotter has less than %d", size, maxFile)
		}
		target := filepath.Join(dir, name)
		return target, os.MkdirAll(filepath.Dir(target), 0o755)
	})
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		// The modes of the tarball, as on a host.
		if name := strings.TrimPrefix(m.Name, "./"); wanted[name] != 0 && m.Mode.IsRegular() {
			if err := os.Chmod(filepath.Join(dir, name), m.Mode.Perm()); err != nil {
				return nil, err
			}
		}
	}
	return members, nil
}

// checkNydusMembers holds the members of the tarball against its files, no more and
// no less.
func checkNydusMembers(report *Report, members []archive.Member) {
	wanted := nydusMembers()
	found := map[string]bool{}
	var problems []string
	for _, m := range members {
		name := strings.TrimPrefix(m.Name, "./")
		mode, ours := wanted[name]
		switch {
		case m.Mode.IsDir() && nydusFolder(name):
		case !ours:
			problems = append(problems, fmt.Sprintf("%s does not belong to the asset", m.Name))
		case m.Mode != mode:
			problems = append(problems, fmt.Sprintf("%s has mode %s: want %s", m.Name, m.Mode, mode))
		case m.Size == 0:
			problems = append(problems, fmt.Sprintf("%s is empty", m.Name))
		}
		found[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if !found[name] {
			problems = append(problems, fmt.Sprintf("./%s is missing", name))
		}
	}
	report.Judge("members", problems, "%d files below %s: programs, configurations, units, drop-ins and templates", len(wanted), nydusHome)
}

// nydusFolder says whether a name of the tarball is a folder that leads to a file.
func nydusFolder(name string) bool {
	for file := range nydusMembers() {
		if name == "" || strings.HasPrefix(file, strings.TrimSuffix(name, "/")+"/") {
			return true
		}
	}
	return false
}
