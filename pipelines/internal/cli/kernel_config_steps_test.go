package cli

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// step runs a step of the kernels as a builder does, with a Makefile in place of
// Linux. It returns its output.
func step(t *testing.T, work, name string, environment ...string) (string, error) {
	t.Helper()
	for _, tool := range []string{"bash", "make", "patch", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	script, err := filepath.Abs("../../../assets/kernel/" + name)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), script)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "FILES=" + filepath.Join(work, "files"), "SOURCES=" + filepath.Join(work, "sources"),
		"BUILD=" + filepath.Join(work, "build"), "DESTDIR=" + filepath.Join(work, "out"), "OUTPUTS=" + filepath.Join(work, "outputs"),
		"KERNEL_VERSION=v6.18.15", "KATA_CONFIG_VERSION=189", "SOURCE_DATE_EPOCH=0",
	}, environment...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// lay writes files below a folder, which may exist.
func lay(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// pack makes a source from a folder.
func pack(t *testing.T, work, name, folder, member string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(work, "sources"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "tar", "-cf", filepath.Join(work, "sources", name), "-C", folder, member).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

const (
	good    = "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"
	another = "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n B\n-c\n+C\n"
	failing = "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n q\n-r\n+s\n t\n"
)

func TestUnpack(t *testing.T) {
	for name, test := range map[string]struct {
		version string
		patches map[string]string // of the repository
		source  map[string]string // of the source "patches", if any
		want    string            // the patched file, or a part of the output
		fails   bool
	}{
		"plain":                    {"v6.18.15", nil, nil, "a\nb\nc\n", false},
		"a git commit":             {"v6.18.15-916aeec68dd4500a1cdf4ebf214c5620955daf3f", nil, nil, "a\nb\nc\n", false},
		"another version":          {"v6.18.16", nil, nil, "the source is Linux 6.18.15, but versions.yaml pins v6.18.16", true},
		"a candidate":              {"v6.18-rc1", nil, nil, "pins v6.18-rc1", true},
		"patches in order":         {"v6.18.15", map[string]string{"6.18.x/2.patch": another, "6.18.x/1.patch": good}, nil, "a\nB\nC\n", false},
		"patches of other series":  {"v6.18.15", map[string]string{"6.19.x/1.patch": failing}, nil, "a\nb\nc\n", false},
		"patches of a source last": {"v6.18.15", map[string]string{"6.18.x/9.patch": good}, map[string]string{"1.patch": another}, "a\nB\nC\n", false},
		"one that does not apply": {"v6.18.15", map[string]string{"6.18.x/1.patch": failing}, nil,
			"assets/kernel/patches/6.18.x/1.patch does not apply to Linux v6.18.15:\n  hunk #1 of x\n", true},
		"one for a file that is not there": {"v6.18.15", map[string]string{"6.18.x/1.patch": strings.ReplaceAll(good, "/x\n", "/y\n")}, nil,
			"can't find file to patch", true},
		"one that is applied":      {"v6.18.15", map[string]string{"6.18.x/1.patch": good, "6.18.x/2.patch": good}, nil, "reviously applied", true},
		"a source without patches": {"v6.18.15", nil, map[string]string{"README": ""}, `the source "patches" has no *.patch file`, true},
		"a bad source":             {"v6.18.15", nil, map[string]string{"1.patch": failing}, "patches/1.patch does not apply to Linux v6.18.15:\n  hunk #1 of x\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			work := t.TempDir()
			lay(t, filepath.Join(work, "linux-6.18.15"), map[string]string{"Makefile": "kernelversion:\n\t@echo 6.18.15\n", "x": "a\nb\nc\n"})
			pack(t, work, "linux", work, "linux-6.18.15")
			lay(t, filepath.Join(work, "files/assets/kernel/patches"), test.patches)
			if test.source != nil {
				lay(t, filepath.Join(work, "patches"), test.source)
				pack(t, work, "patches", filepath.Join(work, "patches"), ".")
			}
			out, err := step(t, work, "unpack.sh", "KERNEL_VERSION="+test.version)
			if (err != nil) != test.fails {
				t.Fatalf("%v: %s", err, out)
			}
			if !test.fails {
				data, err := os.ReadFile(filepath.Join(work, "build/linux/x"))
				if err != nil {
					t.Fatal(err)
				}
				out = string(data)
			}
			if !strings.Contains(out, test.want) {
				t.Errorf("got %q, want %q", out, test.want)
			}
		})
	}
}

// TestKernelsGetPatches: each kernel's build sees the patches of this repository, and each
// patch says which fault it mends.
func TestKernelsGetPatches(t *testing.T) {
	tree, kernels := repository(t)
	patches, err := fs.Glob(tree.Files(), "assets/kernel/patches/*/*.patch")
	if err != nil || len(patches) == 0 {
		t.Fatalf("patches are %v, %v", patches, err)
	}
	for name, k := range kernels {
		plan, err := tree.Resolve(k.asset, k.arch)
		if err != nil {
			t.Fatal(err)
		}
		for _, patch := range patches {
			if !slices.ContainsFunc(plan.Files, func(c recipe.Content) bool { return c.Path == patch }) {
				t.Errorf("%s is built without %s", name, patch)
			}
		}
	}
	for _, patch := range patches {
		data, err := fs.ReadFile(tree.Files(), patch)
		header, _, _ := strings.Cut(string(data), "\n--- a/")
		for _, part := range []string{"The fault: ", "The cause: ", "The cure: ", "Seen by: "} {
			if err != nil || !strings.Contains(header, "\n\n"+part) {
				t.Errorf("%s: no paragraph begins with %q (%v)", patch, part, err)
			}
		}
	}
}

func TestInstall(t *testing.T) {
	built := map[string]string{
		"vmlinux": "elf", "System.map": "map", ".config": "CONFIG_SMP=y\n",
		"arch/x86/boot/bzImage": "bz x86", "arch/arm64/boot/Image": "image", "arch/arm64/boot/Image.gz": "gz",
		"arch/s390/boot/bzImage": "bz s390", "arch/s390/boot/vmlinux": "elf s390",
		"Makefile": "modules_install:\n\tmkdir -p $(INSTALL_MOD_PATH)/lib/modules/1; touch $(INSTALL_MOD_PATH)/lib/modules/1/a.ko; ln -s / $(INSTALL_MOD_PATH)/lib/modules/1/build\n",
	}
	for _, test := range []struct{ arch, suffix, config, want string }{
		{"x86_64", "", "", "System.map-V=map config-V vmlinux-V=elf vmlinux.container->vmlinux-V vmlinuz-V=bz x86 vmlinuz.container->vmlinuz-V"},
		{"x86_64", "debug", "CONFIG_DEBUG_INFO=y\n", "System.map-V-debug=map config-V-debug vmlinux-V-debug=elf vmlinux-debug.container->vmlinux-V-debug vmlinuz-V-debug=bz x86 vmlinuz-debug.container->vmlinuz-V-debug"},
		{"arm64", "", "", "System.map-V=map config-V vmlinux-V=image vmlinux.container->vmlinux-V vmlinuz-V=gz vmlinuz.container->vmlinuz-V"},
		{"arm64", "debug", "CONFIG_DEBUG_INFO=y\n", "System.map-V-debug=map config-V-debug vmlinux-V-debug=image vmlinux-debug.container->vmlinux-V-debug vmlinux.elf-V-debug=elf vmlinuz-V-debug=gz vmlinuz-debug.container->vmlinuz-V-debug"},
		{"s390", "", "", "System.map-V=map config-V vmlinux-V=elf s390 vmlinux.container->vmlinux-V vmlinuz-V=bz s390 vmlinuz.container->vmlinuz-V"},
		// It only loads modules that others made.
		{"s390", "", "CONFIG_MODULES=y\n", "System.map-V=map config-V vmlinux-V=elf s390 vmlinux.container->vmlinux-V vmlinuz-V=bz s390 vmlinuz.container->vmlinuz-V"},
		{"powerpc", "", "", "System.map-V=map config-V vmlinux-V=elf vmlinux.container->vmlinux-V vmlinuz-V=elf vmlinuz.container->vmlinuz-V"},
		{"x86_64", "nvidia-gpu", "CONFIG_MODULES=y\nCONFIG_MODULE_SIG_ALL=y\n", "System.map-V-nvidia-gpu=map config-V-nvidia-gpu vmlinux-V-nvidia-gpu=elf vmlinux-nvidia-gpu.container->vmlinux-V-nvidia-gpu vmlinuz-V-nvidia-gpu=bz x86 vmlinuz-nvidia-gpu.container->vmlinuz-V-nvidia-gpu modules/lib/modules/1/a.ko="},
	} {
		t.Run(test.arch+"-"+test.suffix, func(t *testing.T) {
			t.Parallel()
			work := t.TempDir()
			lay(t, filepath.Join(work, "build/linux"), built)
			lay(t, filepath.Join(work, "build/linux"), map[string]string{".config": built[".config"] + test.config})
			environment, err := os.ReadFile("../../../assets/kernel/environment.sh")
			if err != nil {
				t.Fatal(err)
			}
			lay(t, work, map[string]string{"files/assets/kernel/environment.sh": string(environment)})
			if out, err := step(t, work, "install.sh", "KERNEL_ARCH="+test.arch, "SUFFIX="+test.suffix); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			got := append(installed(t, filepath.Join(work, "out/opt/kata/share/kata-containers")), installed(t, filepath.Join(work, "outputs"))...)
			if text := strings.ReplaceAll(strings.Join(got, " "), "6.18.15-189", "V"); text != test.want {
				t.Errorf("got  %s\nwant %s", text, test.want)
			}
		})
	}
}

// installed lists the files below a folder with their contents or targets.
func installed(t *testing.T, folder string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(folder, func(file string, entry os.DirEntry, err error) error {
		if os.IsNotExist(err) && file == folder {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		name := strings.TrimPrefix(file, folder+"/")
		if entry.Type()&os.ModeSymlink != 0 {
			target, err := os.Readlink(file)
			found = append(found, name+"->"+target)
			return err
		}
		data, err := os.ReadFile(file)
		if strings.HasPrefix(name, "config-") {
			found = append(found, name)
			return err
		}
		found = append(found, name+"="+string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// TestKernelsHaveWhatKataNeeds checks the options that users of the kernels rely on.
func TestKernelsHaveWhatKataNeeds(t *testing.T) {
	_, kernels := repository(t)
	everywhere := []string{
		"CONFIG_VIRTIO_BLK=y", "CONFIG_VIRTIO_NET=y", "CONFIG_VIRTIO_VSOCKETS=y", "CONFIG_VIRTIO_FS=y", "CONFIG_9P_FS=y",
		"CONFIG_OVERLAY_FS=y", "CONFIG_EXT4_FS=y", "CONFIG_EROFS_FS=y", "CONFIG_CGROUP_BPF=y",
		// Firecracker guests have no /dev/vda without these.
		"CONFIG_VIRTIO_MMIO=y", "CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y",
		// The memory agent reads lru_gen in debugfs.
		"CONFIG_LRU_GEN=y", "CONFIG_DEBUG_FS=y",
		// Adapters that are passed through, with RDMA.
		"CONFIG_MLX5_CORE_EN=y", "CONFIG_MLX5_INFINIBAND=y",
	}
	needs := map[string][]string{
		"kernel@x86_64":       {"CONFIG_INTEL_TDX_GUEST=y", "CONFIG_TDX_GUEST_DRIVER=y", "CONFIG_SEV_GUEST=y", "CONFIG_AMD_MEM_ENCRYPT=y", "CONFIG_DM_VERITY=y"},
		"kernel@s390x":        {"CONFIG_S390_UV_UAPI=y", "CONFIG_MODULES=y"},
		"kernel@aarch64":      {"CONFIG_HW_RANDOM_VIRTIO=y"},
		"kernel@ppc64le":      {"CONFIG_HW_RANDOM_VIRTIO=y"},
		"kernel-debug@x86_64": {"CONFIG_DEBUG_INFO_BTF=y", "CONFIG_IKCONFIG_PROC=y", "CONFIG_HW_RANDOM_VIRTIO=y"},
		// The same kernel boots plain guests and realms.
		"kernel-nvidia-gpu@aarch64": {"CONFIG_ARM_CCA_GUEST=y"},
	}
	for name, k := range kernels {
		merged := string(k.plan.Requested.Merged())
		for _, line := range append(needs[name], everywhere...) {
			if !strings.Contains(merged, line+"\n") {
				t.Errorf("%s does not request %s", name, line)
			}
		}
	}
	for name := range needs {
		if _, found := kernels[name]; !found {
			t.Errorf("%s does not exist", name)
		}
	}
}
