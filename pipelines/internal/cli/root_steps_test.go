package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// extensionRoot runs the step that makes the root filesystem of an extension on a list of files
// of its packages, and returns the files that it leaves, without folders.
func extensionRoot(t *testing.T, name string, packages []string) (left, out string, err error) {
	t.Helper()
	for _, tool := range []string{"bash", "patchelf", "tar", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("device files need root")
	}
	work := t.TempDir()
	family, err := filepath.Abs("../../../assets/rootfs")
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(family, name+"-extension.keep"))
	if err != nil {
		t.Fatal(err)
	}
	tree := map[string]string{
		"files/assets/rootfs/" + name + "-extension.keep": string(list), "dependencies/.keep": "", "build/.keep": "",
		"rootfs/.packages": "a 1 sha256:00 1\n", "rootfs/etc/shadow": "root:*:19000:\n", "rootfs/usr/bin/.keep": "", "rootfs/etc/alternatives/.keep": "",
	}
	for _, file := range packages {
		tree["rootfs/"+file] = "TOPOLOGY_FILE_PATH=/usr\n"
	}
	lay(t, work, tree)
	if err := os.Symlink("usr/bin", filepath.Join(work, "rootfs/bin")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(family, "root.sh"))
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "DEPENDENCIES=" + filepath.Join(work, "dependencies"), "FILES=" + filepath.Join(work, "files"),
		"BUILD=" + filepath.Join(work, "build"), "ROOTFS=" + filepath.Join(work, "rootfs"), "SOURCE_DATE_EPOCH=1772323200", "EXTENSION=" + name, "ARCH=x86_64", "MACHINE=x86_64",
	}
	printed, err := cmd.CombinedOutput()
	if err != nil {
		return "", string(printed), err
	}
	find := exec.CommandContext(t.Context(), "find", ".", "!", "-type", "d", "-printf", "%P ")
	find.Dir = filepath.Join(work, "build/root")
	files, err := find.Output()
	if err != nil {
		t.Fatal(err)
	}
	config, _ := os.ReadFile(filepath.Join(find.Dir, "usr/share/nvidia/nvswitch/fabricmanager.cfg")) // Compared by the test.
	return string(files), string(config), nil
}

// TestExtensionOfAPart: the extension gpu has what its list names, and all of that.
func TestExtensionOfAPart(t *testing.T) {
	const library = "usr/lib/x86_64-linux-gnu/"
	var packages []string
	for name := range strings.FieldsSeq("libcuda.so.580 libnvcuvid.so.580 libnvidia-cfg.so.580 libnvidia-encode.so.580 libnvidia-gpucomp.so.580 libnvidia-ml.so.580 libnvidia-nvvm.so.580 " +
		"libnvidia-opencl.so.580 libnvidia-ptxjitcompiler.so.580 libdcgm.so.4 libnvidia-nscq.so.580") {
		packages = append(packages, library+name)
	}
	for name := range strings.FieldsSeq("nvidia-cdi-hook nvidia-ctk nvidia-persistenced nvidia-smi nv-hostengine nv-fabricmanager") {
		packages = append(packages, "usr/bin/"+name)
	}
	packages = append(packages, "etc/OpenCL/vendors/nvidia.icd", "opt/nvidia/nvlsm/sbin/nvlsm", "usr/share/nvidia/nvlsm/nvlsm.conf",
		"usr/share/nvidia/nvswitch/fabricmanager.cfg", "usr/lib/firmware/nvidia/580/gsp.bin", "usr/lib/modules/6.18/modules.dep")
	others := []string{library + "libnvidia-glcore.so.580", library + "libc.so.6", "usr/bin/bash"}
	left, config, err := extensionRoot(t, "gpu", append(others, packages...))
	if err != nil {
		t.Fatalf("%v: %s", err, config)
	}
	for _, file := range append([]string{"bin", "usr/share/kata-containers/packages"}, packages...) {
		if !strings.Contains(" "+left, " "+file+" ") {
			t.Errorf("%s is not in the extension", file)
		}
	}
	if got, want := len(strings.Fields(left)), len(packages)+2; got != want {
		t.Errorf("%d files: want %d: %s", got, want, left)
	}
	if want := "TOPOLOGY_FILE_PATH=/run/kata-extensions/gpu/usr/share/nvidia/nvswitch\n"; config != want {
		t.Errorf("fabricmanager.cfg is %q: want %q", config, want)
	}
	if _, out, err := extensionRoot(t, "gpu", packages[1:]); err == nil || !strings.Contains(out, "nothing in the packages matches usr/lib/*-linux-gnu/libcuda.so*, which the extension gpu keeps") {
		t.Errorf("without libcuda: %v, it prints %s", err, out)
	}
}
