// Package nydus verifies the snapshotter of Kata guests: its programs, templates and
// units, and that both of its instances serve a real containerd through its proxy
// plugins, pull images, and keep their data when they are killed or stopped.
package nydus

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// Snapshotter is the snapshotter of Kata guests, as the tree declares it.
type Snapshotter struct {
	// Arch is its architecture as `uname -m` prints it.
	Arch string
	// Version and Revision are the pins: "v0.15.13", and the commit of its tag.
	Version, Revision string
}

// The names of the two instances, and paths in the tarball: installers and
// containerd's records rely on them.
const (
	guestPull = "nydus-for-kata-tee"
	hostShare = "nydus-for-kata-tee-host-share"
	home      = "opt/kata/nydus-for-kata-tee"
	grpc      = home + "/containerd-nydus-grpc"
	overlayfs = home + "/nydus-overlayfs"
	renderer  = home + "/templates/render.sh"
	// converter converts layers for host sharing. It belongs to another asset.
	converter = "opt/kata/libexec/nydus-image"
)

// instance is one of the two that run next to each other.
type instance struct {
	name string
	// config and unit are its files in the tarball.
	config, unit string
}

var instances = []instance{
	{guestPull, home + "/config-guest-pulling.toml", home + "/systemd/" + guestPull + ".service"},
	{hostShare, home + "/config-host-sharing.toml", home + "/systemd/" + hostShare + ".service"},
}

// dropIn is the file in the tarball for a version of containerd's configuration.
func dropIn(version int) string {
	return fmt.Sprintf("%s/containerd/%s-v%d.toml", home, guestPull, version)
}

// templates are the templates in the tarball, and what each is rendered to.
var templates = map[string]string{
	"config-guest-pulling.toml": instances[0].config,
	"config-host-sharing.toml":  instances[1].config,
	guestPull + ".service":      instances[0].unit,
	hostShare + ".service":      instances[1].unit,
	"containerd-v2.toml":        dropIn(2),
	"containerd-v3.toml":        dropIn(3),
}

// Layout has the programs, configurations, units, drop-ins and templates.
func (Snapshotter) Layout() tarball.Layout {
	program, data := tarball.File{Mode: 0o755}, tarball.File{Mode: 0o644}
	layout := tarball.Layout{grpc: program, overlayfs: program, renderer: program, home + "/README.md": data}
	for template, rendered := range templates {
		layout[home+"/templates/"+template+".in"] = data
		layout[rendered] = data
	}
	return layout
}

// Checks are those of the files, and the stages.
func (Snapshotter) Checks() []string {
	names := []string{"members"}
	for _, c := range slices.Concat(inspections, stages) {
		names = append(names, c.name)
	}
	return names
}

// Check inspects programs, files and units, and has both instances serve a
// containerd.
func (s Snapshotter) Check(ctx context.Context, r *report.Report, t *tarball.Tarball, h host.Host) (err error) {
	layout := s.Layout()
	layout.Check(r, t, fmt.Sprintf("%d files below %s: programs, configurations, units, drop-ins and templates", len(layout), home))
	x := &run{Snapshotter: s, Host: h, t: t, dir: t.Dir, daemons: map[string]*host.Daemon{}}
	for _, c := range inspections {
		saw, err := report.Steps(func() string { return c.do(x, ctx) })
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.Result(c.name, saw, err)
	}
	defer func() { err = errors.Join(err, x.end()) }()
	why := x.cannot()
	for _, c := range stages {
		saw, err := "", why
		if why == nil {
			saw, err = report.Steps(func() string { return c.do(x, ctx) })
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.Result(c.name, saw, err)
		switch missing, skipped := report.AsMissing(err); {
		case err != nil && !skipped:
			why = report.Missing("because of " + c.name)
		case skipped && x.server == nil:
			why = missing // Without a containerd there is nothing to serve.
		}
	}
	return nil
}
