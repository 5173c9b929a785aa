package plan

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/config"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/cri"
)

// nydusComponent is the component of the snapshotter, and its folder below that of the
// installation.
const nydusComponent = "nydus-for-kata-tee"

const (
	units     = HostDir + "/etc/systemd/system"
	templates = nydusComponent + "/templates/"
	// maxData is the longest path that the snapshotter takes for its data.
	maxData = 70
)

// instance is one of the two services that the component can run as. The names are those
// of files in the component, and its placeholders.
type instance struct{ snapshotter, unit, configuration string }

var instances = []instance{
	{config.Nydus, "nydus-for-kata-tee.service", "config-guest-pulling.toml"},
	{config.NydusHostShare, "nydus-for-kata-tee-host-share.service", "config-host-sharing.toml"},
}

// nydus reports whether an instance is asked for. CRI-O has no use for one.
func (m *maker) nydus() bool {
	return m.node.Runtime.Name != cri.Crio && slices.ContainsFunc(m.Snapshotters, func(s string) bool { return s != config.Erofs })
}

// snapshotters adds the services of the snapshotters. The data of one is never in a plan:
// containerd keeps records of what is in it, so it outlives the installation.
func (m *maker) snapshotters() error {
	if !m.nydus() {
		return nil
	}
	for _, i := range instances {
		if !slices.Contains(m.Snapshotters, i.snapshotter) {
			continue
		}
		if err := m.instance(i); err != nil {
			return fmt.Errorf("the snapshotter %s: %w", m.HostName(i.snapshotter), err)
		}
	}
	return m.rendered()
}

// rendered renders the other files that the component has filled in with its own names.
func (m *maker) rendered() error {
	for _, i := range instances {
		for _, at := range []string{path.Join(nydusComponent, i.configuration), path.Join(nydusComponent, "systemd", i.unit)} {
			content, err := m.render(path.Base(at))
			if err != nil {
				return err
			}
			m.plan.inTree(at, content, false)
		}
	}
	for _, version := range []string{"v2", "v3"} {
		content, err := m.render("containerd-" + version + ".toml")
		if err != nil {
			return err
		}
		m.plan.inTree(path.Join(nydusComponent, "containerd", nydusComponent+"-"+version+".toml"), content, false)
	}
	return nil
}

func (m *maker) instance(i instance) error {
	name := m.HostName(i.snapshotter)
	if data := cri.Data(name); len(data) > maxData {
		return fmt.Errorf("its data would be in %s, a path of %d bytes: it takes %d, so shorten MULTI_INSTALL_SUFFIX", data, len(data), maxData)
	}
	unit, err := m.render(i.unit)
	if err != nil {
		return err
	}
	file := path.Join(units, name+".service")
	m.plan.outside(file, unit)
	wants := path.Join(units, serviceName(m.node.Runtime.Wants)+".wants", name+".service")
	m.plan.Outside = append(m.plan.Outside, Entry{Path: wants, Link: strings.TrimPrefix(file, HostDir)})
	m.plan.Services = append(m.plan.Services, Service{Name: name + ".service", Own: true, Files: []string{
		file, path.Join(m.plan.Tree, nydusComponent, i.configuration), path.Join(m.plan.Tree, nydusComponent, "containerd-nydus-grpc"),
	}})
	return nil
}

var placeholder = regexp.MustCompile(`@[A-Z][A-Z0-9_]*@`)

// render fills in a template of the component.
func (m *maker) render(name string) ([]byte, error) {
	file, found := m.files[templates+name+".in"]
	if !found {
		return nil, fmt.Errorf("the component %s has no %s%s.in", nydusComponent, templates, name)
	}
	content, err := m.payload.Read(file)
	if err != nil {
		return nil, err
	}
	values := map[string]string{
		"@SNAPSHOTTER@": m.HostName(config.Nydus), "@SNAPSHOTTER_HOST_SHARE@": m.HostName(config.NydusHostShare),
		"@KATA_PREFIX@": m.Dir, "@NYDUS_IMAGE@": path.Join(m.Dir, "libexec/nydus-image"), "@CRI_SERVICE@": serviceName(m.node.Runtime.Wants),
	}
	var unknown error
	filled := placeholder.ReplaceAllStringFunc(string(content), func(p string) string {
		value, known := values[p]
		if !known {
			unknown = fmt.Errorf("%s%s.in has the placeholder %s, which kata-deploy does not know", templates, name, p)
		}
		return value
	})
	return []byte(filled), unknown
}

// serviceName completes the name of a unit.
func serviceName(unit string) string {
	if strings.HasSuffix(unit, ".service") {
		return unit
	}
	return unit + ".service"
}
