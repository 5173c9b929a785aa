package payload

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"regexp"
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
	// imports are those of the configuration; wrong are others that lead elsewhere, with
	// which an installation is refused.
	imports string
	wrong   []string
	// label is one that the node has.
	label string
	// follows is true where the distribution itself restarts its containerd.
	follows bool
}

// distributions are the layouts, for a folder of drop-ins of k3s and rke2.
func distributions(folder string) []distribution {
	rancher := func(name, unit string) distribution {
		dir := "/var/lib/rancher/" + name + "/agent/etc/containerd/"
		return distribution{
			name: name, unit: unit, config: dir + "config.toml", imports: dir + folder + "/*.toml",
			wrong: []string{"/nowhere/*.toml", "/nowhere/" + folder + "/*.toml", dir + folder + "/*.conf"},
		}
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
	folder := "config-v3.toml.d"
	if r.containerd == testtools.Containerd1 {
		folder = "config.toml.d"
	}
	r.shell(ctx, "systemctl stop containerd")
	var saw []string
	for _, d := range distributions(folder) {
		saw = append(saw, r.distribution(ctx, d))
	}
	r.shell(ctx, "systemctl start containerd")
	r.loaded(ctx, older)
	return strings.Join(saw, "\n")
}

// distribution installs on one of them, and removes the installation again.
func (r *run) distribution(ctx context.Context, d distribution) string {
	text, command := r.config, "ExecStart=/usr/local/bin/containerd --config "+d.config
	if d.imports != "" {
		text = importing(text, d.imports)
		// The installer makes the folder, and leaves it to other drop-ins.
		r.shell(ctx, "mkdir -p "+path.Dir(d.imports))
	}
	r.write(d.config, text)
	if d.source != "" {
		r.write(d.source, text)
		command = fmt.Sprintf("ExecStartPre=/bin/cp %s %s\n%s", d.source, d.config, command)
	}
	r.write("/run/systemd/system/"+d.unit+".service", strings.Replace(containerdUnit, "ExecStart=/usr/local/bin/containerd", command, 1))
	r.setLabel(ctx, d.label, "true")
	r.shell(ctx, "systemctl daemon-reload && systemctl start "+d.unit)
	p := report.Try(r.render(ctx, shims(values{"k8sDistribution": d.name})))
	for _, imports := range d.wrong {
		r.write(d.config, importing(text, imports))
		r.refusesImports(ctx, d, p, imports)
	}
	r.write(d.config, text)
	empty := r.tree(ctx)
	r.apply(ctx, p)
	c := r.start(ctx, p, imagePath, nil).installed()
	if d.follows {
		r.shell(ctx, "systemctl restart "+d.unit)
	}
	names := r.works(ctx)
	r.agrees(ctx, p, prefix)
	r.remove(ctx, p)
	c.terminate(ctx).succeeds(d.name + ": the clean-up")
	r.same(ctx, empty, d.name+": after the clean-up")
	r.shell(ctx, fmt.Sprintf("systemctl stop %[1]s && rm -r %[2]s /run/systemd/system/%[1]s.service", d.unit, path.Dir(d.config)))
	r.setLabel(ctx, d.label, "")
	return fmt.Sprintf("%s: with the unit %s and %s, containerd accepts %s; nothing stays", d.name, d.unit, d.config, names)
}

// refusesImports expects an installer to say what to add to a configuration that imports no
// drop-ins, or those of another folder.
func (r *run) refusesImports(ctx context.Context, d distribution, p *pod, imports string) {
	before := r.tree(ctx)
	r.apply(ctx, p)
	c := r.start(ctx, p, imagePath, nil)
	report.Want(c.wait() != nil, "%s: a configuration that imports %s is no error%s", d.name, imports, c.tail())
	want := "does not import " + path.Base(path.Dir(d.imports))
	report.Want(strings.Contains(c.last(), want), "%s: the error does not say %q%s", d.name, want, c.tail())
	r.same(ctx, before, d.name+": after an installation that was refused")
	r.remove(ctx, p)
}

var importsLine = regexp.MustCompile(`(?m)^imports = .*$`)

// importing returns the text of a configuration with other imports.
func importing(text, pattern string) string {
	return importsLine.ReplaceAllLiteralString(text, fmt.Sprintf("imports = [%q]", pattern))
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
	report.Must(r.api.Do(ctx, http.MethodPatch, "/api/v1/nodes/"+cluster.NodeName, values{"metadata": values{"labels": labels}}, nil))
}
