package plan

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/components"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/config"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/cri"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/shim"
)

// Node is what a plan depends on besides the environment and the payload.
type Node struct {
	Runtime cri.Runtime
	// Reported is the version of the runtime, as the node reports it.
	Reported string
	// Main is containerd's configuration, nil if there is none. Plugin is the table of
	// its CRI plugin that is in force, nil unless containerd is of version 1.
	Main   []byte
	Plugin map[string]any
	// Astray are the imports of Main that lead to other folders than its own, whatever
	// their names.
	Astray []string
}

// debugKernel is a component of most shims, of which it is the largest part, although no
// shipped configuration names it. Who does, asks for it.
const debugKernel = "kernel-debug"

// glibc is the component that shims of cloud-hypervisor need on Azure Linux.
const glibc = "cloud-hypervisor-glibc"

// Make computes the plan of an installation.
func Make(c config.Config, payload *components.Payload, node Node) (Plan, error) {
	m := maker{Config: c, payload: payload, node: node, plan: Plan{
		Manifest: Manifest{Owner: c.Owner(), Tree: Tree(c.Dir)},
		Sources:  map[string]Source{},
	}}
	names := slices.DeleteFunc(payload.Components(c.Shims()), func(name string) bool { return name == debugKernel && !debugs(c) })
	if c.HostOS == config.Mariner && payload.Has(glibc) {
		names = append(names, glibc)
	}
	if m.nydus() {
		names = append(names, nydusComponent)
	}
	if err := m.components(names); err != nil {
		return Plan{}, fmt.Errorf("reading the payload: %w", err)
	}
	for _, step := range []error{m.shims(), m.snapshotters(), m.runtime(), m.plan.check()} {
		if step != nil {
			return Plan{}, step
		}
	}
	m.plan.sort()
	return m.plan, nil
}

// debugs reports whether something asks for the debug kernel: DEBUG, or the drop-in of a custom
// runtime by the name of a file.
func debugs(c config.Config) bool {
	return c.Debug || slices.ContainsFunc(c.Runtimes, func(r config.Runtime) bool { return bytes.Contains(r.Overrides, []byte("-debug")) })
}

// maker makes a plan.
type maker struct {
	config.Config
	payload *components.Payload
	node    Node
	plan    Plan
	// files are those of the components, by path.
	files map[string]components.File
	// handlers are those of the runtime.
	handlers []cri.Handler
}

func (m *maker) components(names []string) error {
	slices.Sort(names)
	all, err := m.payload.Files(slices.Compact(names))
	if err != nil {
		return err
	}
	m.files = map[string]components.File{}
	for _, f := range all {
		m.files[f.Path] = f
		e := Entry{Path: f.Path, Link: f.Link}
		if f.Link == "" {
			e = Entry{Path: f.Path, Mode: fmt.Sprintf("%04o", f.Mode.Perm()), Size: f.Size, SHA256: f.SHA256}
			m.plan.Sources[f.Path] = Source{Component: f.Component}
		}
		// A link to the folder that Kata is built for leads into this installation.
		if rest, found := strings.CutPrefix(f.Link, config.DefaultDir+"/"); found {
			e.Link = path.Join(m.Dir, rest)
		}
		m.plan.Files = append(m.plan.Files, e)
	}
	return nil
}

// shims adds the configurations of all handlers.
func (m *maker) shims() error {
	var problems []error
	for _, r := range m.Runtimes {
		problems = append(problems, m.shim(r))
	}
	return errors.Join(problems...)
}

func (m *maker) shim(r config.Runtime) error {
	candidates := shim.Candidates(r.Shim)
	i := slices.IndexFunc(candidates, func(at string) bool { _, found := m.files[at]; return found })
	if i < 0 {
		return fmt.Errorf("the shim %s: the payload has no %s", r.Shim, strings.Join(candidates, " and no "))
	}
	shipped, err := m.payload.Read(m.files[candidates[i]])
	if err != nil {
		return err
	}
	s, err := shim.Parse(r.Shim, candidates[i], shipped)
	if err != nil {
		return err
	}
	if _, found := m.files[s.Program()]; !found {
		return fmt.Errorf("the shim %s: the payload has no %s", r.Shim, s.Program())
	}
	made, err := s.Files(shim.Options{
		Runtime: r, Dir: m.Dir, KubeletRoot: m.node.Runtime.KubeletRoot, Debug: m.Debug,
		Mariner: m.HostOS == config.Mariner && m.payload.Has(glibc),
	})
	if err != nil {
		return err
	}
	for _, f := range made {
		m.plan.inTree(f.Path, f.Content, f.Executable)
	}
	m.handlers = append(m.handlers, cri.Handler{
		Name: r.Handler, Program: path.Join(m.Dir, s.Program()), Config: path.Join(m.Dir, s.Config(r)),
		Snapshotter: r.Snapshotter, GuestPull: r.GuestPull,
	})
	return nil
}

// runtime adds the drop-in of the container runtime.
func (m *maker) runtime() error {
	o := cri.Options{Handlers: m.handlers, Debug: m.Debug, Erofs: slices.Contains(m.Snapshotters, config.Erofs)}
	for _, name := range []string{config.Nydus, config.NydusHostShare} {
		if slices.Contains(m.Snapshotters, name) {
			o.Proxies = append(o.Proxies, m.HostName(name))
		}
	}
	if m.node.Runtime.Name == cri.Crio {
		content, err := cri.CrioDropIn(o)
		m.plan.outside(cri.CrioPath(m.Suffix), content)
		m.restarts(cri.CrioPath(m.Suffix))
		return err
	}
	version, err := cri.ParseVersion(m.node.Reported)
	if err != nil {
		return err
	}
	if err := o.CheckVersion(version, m.Suffix); err != nil {
		return err
	}
	return m.containerd(version, o)
}

func (m *maker) containerd(version cri.Version, o cri.Options) error {
	data, empty := m.node.Main, ""
	if data == nil {
		data = cri.Empty(version)
		empty = string(data)
	}
	main, err := cri.ParseMain(data)
	if err != nil {
		return fmt.Errorf("reading %s: %w", m.node.Runtime.MainPath(), err)
	}
	main.Imports = slices.DeleteFunc(main.Imports, func(pattern string) bool { return slices.Contains(m.node.Astray, pattern) })
	file, imported, err := m.node.Runtime.DropIn(main, m.Dir, m.Suffix)
	if err != nil {
		return err
	}
	var base map[string]any
	if version.Major < 2 {
		if base = m.node.Plugin; base == nil {
			base = map[string]any{}
		}
	}
	content, err := cri.Containerd(main.Version, base, o)
	if err != nil {
		return fmt.Errorf("%s: %w", m.node.Runtime.MainPath(), err)
	}
	if imported == "" {
		m.plan.outside(file, content)
		m.restarts(file)
		return nil
	}
	m.plan.inTree(strings.TrimPrefix(file, m.plan.Tree+"/"), content, false)
	m.plan.Imports = append(m.plan.Imports, Import{File: m.node.Runtime.MainPath(), Value: imported, Empty: empty})
	m.restarts(file, m.node.Runtime.MainPath())
	return nil
}

// restarts adds the runtime's own service, which reads files when it starts.
func (m *maker) restarts(files ...string) {
	if m.node.Runtime.Service != "" {
		m.plan.Services = append(m.plan.Services, Service{Name: m.node.Runtime.Service, Files: files})
	}
}
