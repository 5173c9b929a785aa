package shim

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/config"
)

// ofHypervisor is a drop-in with values of the hypervisor.
func (s Shim) ofHypervisor(values map[string]any) map[string]any {
	if len(values) == 0 {
		return nil
	}
	return map[string]any{"hypervisor": map[string]any{s.hypervisor: values}}
}

// moved returns all values that name the folder that Kata is built for, with the folder of
// the installation in its place. QEMU looks for its firmware in the folder that it was
// built for, so a program takes its place that says where else.
func (s Shim) moved(dir string) (map[string]any, *File) {
	if dir == config.DefaultDir {
		return nil, nil
	}
	tree, _ := move(s.tree, dir).(map[string]any)
	values := table(table(tree, "hypervisor"), s.hypervisor)
	qemu, _ := values["path"].(string)
	if s.hypervisor != "qemu" || !strings.HasPrefix(qemu, dir+"/") {
		return tree, nil
	}
	_, suffix, _ := strings.Cut(strings.TrimPrefix(path.Base(qemu), "qemu-system-"), "-")
	share := "kata-qemu"
	if suffix != "" {
		share += "-" + suffix
	}
	wrapper := qemu + "-installation-prefix"
	values["path"] = wrapper
	if valid, ok := values["valid_hypervisor_paths"].([]any); ok && !slices.Contains(valid, any(wrapper)) {
		values["valid_hypervisor_paths"] = append(valid, wrapper)
	}
	script := fmt.Sprintf("#!/bin/sh\n# QEMU with its firmware in the folder of this installation.\nexec %s \"$@\" -L %s/share/%s/qemu/\n", qemu, dir, share)
	return tree, &File{Path: strings.TrimPrefix(wrapper, dir+"/"), Content: []byte(script), Executable: true}
}

// move returns the part of a value that names the folder, with another in its place: nil
// for none.
func move(value any, dir string) any {
	switch value := value.(type) {
	case string:
		if rest, found := strings.CutPrefix(value, config.DefaultDir+"/"); found {
			return dir + "/" + rest
		}
	case []any:
		changed := slices.Clone(value)
		found := false
		for i := range changed {
			if other := move(changed[i], dir); other != nil {
				changed[i], found = other, true
			}
		}
		if found {
			return changed
		}
	case map[string]any:
		changed := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if other := move(value[name], dir); other != nil {
				changed[name] = other
			}
		}
		if len(changed) > 0 {
			return changed
		}
	}
	return nil
}

// host returns what the operating system of the node needs.
func (s Shim) host(o Options) map[string]any {
	if !o.Mariner || s.hypervisor != "clh" {
		return nil
	}
	glibc := path.Join(o.Dir, "bin/cloud-hypervisor-glibc")
	valid, _ := table(table(s.tree, "hypervisor"), s.hypervisor)["valid_hypervisor_paths"].([]any)
	if moved, ok := move(valid, o.Dir).([]any); ok {
		valid = moved
	}
	tree := s.ofHypervisor(map[string]any{"path": glibc, "valid_hypervisor_paths": append(slices.Clone(valid), glibc)})
	tree["runtime"] = map[string]any{"static_sandbox_resource_mgmt": true}
	return tree
}

func (s Shim) debug(o Options) map[string]any {
	if !o.Debug {
		return nil
	}
	tree := s.ofHypervisor(map[string]any{"enable_debug": true})
	tree["runtime"] = map[string]any{"enable_debug": true}
	tree["agent"] = map[string]any{s.agent: map[string]any{"enable_debug": true, "debug_console_enabled": true}}
	return tree
}

// kubeletRoot tells the Go shim where ConfigMaps and Secrets are, whose changes it
// propagates. The Rust one does not know the option.
func (s Shim) kubeletRoot(o Options) map[string]any {
	if o.KubeletRoot == "" || s.rust() {
		return nil
	}
	return map[string]any{"runtime": map[string]any{"kubelet_root_dir": o.KubeletRoot}}
}

// kernelParams adds to the guest's command line. A drop-in replaces the value, so it
// begins with the shipped one.
func (s Shim) kernelParams(o Options) map[string]any {
	var params []string
	if o.HTTPSProxy != "" {
		params = append(params, "agent.https_proxy="+o.HTTPSProxy)
	}
	if o.NoProxy != "" {
		params = append(params, "agent.no_proxy="+o.NoProxy)
	}
	if o.Debug {
		params = append(params, "agent.log=debug", "initcall_debug")
	}
	if len(params) == 0 {
		return nil
	}
	shipped, _ := table(table(s.tree, "hypervisor"), s.hypervisor)["kernel_params"].(string)
	if shipped = strings.TrimSpace(shipped); shipped != "" {
		params = append([]string{shipped}, params...)
	}
	return s.ofHypervisor(map[string]any{"kernel_params": strings.Join(params, " ")})
}

// annotations adds to those that pods may have.
func (s Shim) annotations(o Options) map[string]any {
	if len(o.Annotations) == 0 {
		return nil
	}
	all := slices.Clone(o.Annotations)
	shipped, _ := table(table(s.tree, "hypervisor"), s.hypervisor)["enable_annotations"].([]any)
	for _, name := range shipped {
		if name, ok := name.(string); ok {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return s.ofHypervisor(map[string]any{"enable_annotations": slices.Compact(all)})
}

func (s Shim) guestPull(o Options) map[string]any {
	if !o.ForceGuestPull {
		return nil
	}
	return map[string]any{"runtime": map[string]any{"experimental_force_guest_pull": true}}
}
