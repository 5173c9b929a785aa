package payload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/cluster"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/testtools"
)

// distribution is where a distribution of Kubernetes has its containerd.
type distribution struct {
	// name is the chart's.
	name string
	// unit runs containerd, with the configuration config, which it makes of source each
	// time where there is one.
	unit, config, source string
	// imports are those of the configuration.
	imports string
	// label is one that the node has.
	label string
	// follows is true where the distribution itself restarts its containerd.
	follows bool
}

// distributions are the layouts, for a version of the configuration.
func distributions(version int) []distribution {
	rancher := func(name, unit string) distribution {
		dir := "/var/lib/rancher/" + name + "/agent/etc/containerd/"
		folder := map[int]string{2: "config.toml.d", 3: "config-v3.toml.d"}[version]
		return distribution{name: name, unit: unit, config: dir + "config.toml", imports: dir + folder + "/*.toml"}
	}
	const snap = "/var/snap/microk8s/current/args/"
	return []distribution{
		rancher("k3s", "k3s"), rancher("rke2", "rke2-server"),
		{name: "k0s", unit: "k0sworker", config: "/etc/k0s/containerd.toml", imports: "/etc/k0s/containerd.d/*.toml", follows: true},
		{name: "microk8s", unit: "snap.microk8s.daemon-containerd", config: snap + "containerd.toml", source: snap + "containerd-template.toml", label: "microk8s.io/cluster"},
	}
}

// distributions installs on the layouts of other distributions, whose files and units are
// there, with the same containerd.
func (r *run) distributions(ctx context.Context) string {
	r.leave(ctx)
	version := 3
	if r.containerd == testtools.Containerd1 {
		version = 2
	}
	report.Try(r.node.Run(ctx, "systemctl", "stop", "containerd"))
	var saw []string
	for _, d := range distributions(version) {
		saw = append(saw, r.distribution(ctx, d))
	}
	report.Try(r.node.Run(ctx, "systemctl", "start", "containerd"))
	r.loaded(ctx, older)
	return strings.Join(saw, "\n")
}

// distribution installs on one of them, and removes the installation again.
func (r *run) distribution(ctx context.Context, d distribution) string {
	text := r.config
	if d.imports != "" {
		text = importing(text, d.imports)
	}
	unit := strings.Replace(containerdUnit, "ExecStart=/usr/local/bin/containerd", "ExecStart=/usr/local/bin/containerd --config "+d.config, 1)
	r.write(d.config, text)
	if d.source != "" {
		r.write(d.source, text)
		unit = strings.Replace(unit, "ExecStart=", fmt.Sprintf("ExecStartPre=/bin/cp %s %s\nExecStart=", d.source, d.config), 1)
	}
	r.write("/run/systemd/system/"+d.unit+".service", unit)
	r.setLabel(ctx, d.label, "true")
	report.Try(r.node.Run(ctx, "systemctl", "daemon-reload"))
	report.Try(r.node.Run(ctx, "systemctl", "start", d.unit))
	p := report.Try(r.render(ctx, shims(values{"k8sDistribution": d.name})))
	empty := r.tree(ctx)
	if strings.HasSuffix(d.imports, ".toml.d/*.toml") {
		r.withoutImports(ctx, d, p, text)
	}
	r.apply(ctx, p)
	c := r.start(ctx, p, imagePath, nil)
	c.installed()
	if d.follows {
		report.Try(r.node.Run(ctx, "systemctl", "restart", d.unit))
	}
	names := r.works(ctx)
	report.Try(r.agrees(p, r.tree(ctx), prefix))
	r.remove(ctx, p)
	c.terminate(ctx)
	report.Want(c.wait() == nil, "%s: the clean-up: %w%s", d.name, c.err, c.tail())
	now := r.tree(ctx)
	diff := slices.DeleteFunc(empty.differences(now), func(line string) bool {
		// The unit makes its configuration again, and an empty folder of drop-ins may have
		// been made for others.
		return strings.HasPrefix(line, "~ "+d.config+" ") && d.source != "" || strings.HasPrefix(now[strings.TrimPrefix(line, "+ ")], "d")
	})
	report.Want(len(diff) == 0, "%s: the clean-up left:\n%s", d.name, strings.Join(diff, "\n"))
	report.Try(r.node.Run(ctx, "systemctl", "stop", d.unit))
	report.Try(r.node.Run(ctx, "rm", "-r", path.Dir(d.config), "/run/systemd/system/"+d.unit+".service"))
	r.setLabel(ctx, d.label, "")
	return fmt.Sprintf("%s: with the unit %s and %s, containerd accepts %s; nothing stays", d.name, d.unit, d.config, names)
}

// withoutImports expects an installer to say what to add to a configuration that imports
// no drop-ins.
func (r *run) withoutImports(ctx context.Context, d distribution, p *pod, text string) {
	r.write(d.config, importing(text, "/nowhere/*.toml"))
	empty := r.tree(ctx)
	r.apply(ctx, p)
	c := r.start(ctx, p, imagePath, nil)
	err := c.wait()
	report.Want(err != nil, "%s: a configuration without imports of %s is no error%s", d.name, d.imports, c.tail())
	report.Want(strings.Contains(c.text(), path.Base(path.Dir(d.imports))), "%s: the error does not say what to import%s", d.name, c.tail())
	diff := empty.differences(r.tree(ctx))
	report.Want(len(diff) == 0, "%s: an installation that was refused left:\n%s", d.name, strings.Join(diff, "\n"))
	r.remove(ctx, p)
	r.write(d.config, text)
}

// importing returns the text of a configuration with imports.
func importing(text, pattern string) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if !strings.HasPrefix(line, "imports = ") {
			lines = append(lines, line)
		} else {
			lines = append(lines, fmt.Sprintf("imports = [%q]", pattern))
		}
	}
	return strings.Join(lines, "\n")
}

// setLabel sets a label of the node, or removes it.
func (r *run) setLabel(ctx context.Context, name, value string) {
	if name == "" {
		return
	}
	labels := map[string]any{name: value}
	if value == "" {
		labels[name] = nil
	}
	err := r.api.Do(ctx, http.MethodPatch, "/api/v1/nodes/"+cluster.NodeName, object{"metadata": object{"labels": labels}}, nil)
	report.Want(err == nil || errors.Is(err, context.Canceled), "labelling the node: %w", err)
}
