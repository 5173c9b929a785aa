package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	kataHash = "root_hash=" + zeros + ",salt=00,data_blocks=2,data_block_size=4096,hash_block_size=4096"
	ownHash  = "root_hash=" + ones + ",salt=11,data_blocks=3,data_block_size=4096,hash_block_size=4096"
	zeros    = "0000000000000000000000000000000000000000000000000000000000000000"
	ones     = "1111111111111111111111111111111111111111111111111111111111111111"
)

// configureShims runs the step of shim-v2 on configurations of the release and the
// files of an image, and returns the folder of the configurations that it installs.
func configureShims(t *testing.T, configurations, image map[string]string) (folder, out string, err error) {
	t.Helper()
	for _, tool := range []string{"bash", "tar", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	work := t.TempDir()
	for asset, tree := range map[string]struct {
		below string
		files map[string]string
	}{"kata-shim-v2": {"share/defaults/kata-containers", configurations}, "rootfs-image-confidential": {"share/kata-containers", image}} {
		below := filepath.Join(work, asset, "opt/kata", tree.below)
		lay(t, below, tree.files)
		if asset != "kata-shim-v2" {
			for _, link := range []string{"kata-containers-confidential.img", "kata-containers.img"} {
				if err := os.Symlink("a.image", filepath.Join(below, link)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := os.MkdirAll(filepath.Join(work, "dependencies"), 0o755); err != nil {
			t.Fatal(err)
		}
		tarball := filepath.Join(work, "dependencies", asset+".tar.zst")
		if out, err := exec.CommandContext(t.Context(), "tar", "--zstd", "-cf", tarball, "-C", filepath.Join(work, asset), "./opt").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	lay(t, work, map[string]string{"out/.keep": "", "build/.keep": ""})
	script, err := filepath.Abs("../../../assets/kata/configure.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), script)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "DEPENDENCIES=" + filepath.Join(work, "dependencies"),
		"BUILD=" + filepath.Join(work, "build"), "DESTDIR=" + filepath.Join(work, "out"),
	}
	printed, err := cmd.CombinedOutput()
	return filepath.Join(work, "out/opt/kata/share/defaults/kata-containers"), string(printed), err
}

// configuration returns one of a hypervisor with an image.
func configuration(image, params string) string {
	return "[hypervisor.qemu]\nimage = \"/opt/kata/share/kata-containers/" + image + "\"\nkernel_verity_params = \"" + params + "\"\n"
}

// The configuration of measured images gets their root hashes, and no other is changed.
func TestShimConfiguration(t *testing.T) {
	release := map[string]string{
		"configuration-qemu.toml":                                    "[hypervisor.qemu]\nimage = \"/opt/kata/share/kata-containers/kata-containers.img\"\n",
		"configuration-qemu-measured.toml":                           configuration("kata-containers.img", kataHash),
		"configuration-qemu-tdx.toml":                                configuration("kata-containers-confidential.img", kataHash),
		"configuration-qemu-nvidia-gpu.toml":                         configuration("kata-containers-nvidia-gpu.img", kataHash),
		"runtime-rs/configuration-qemu-coco-dev-runtime-rs.toml":     configuration("kata-containers-confidential.img", ""),
		"runtime-rs/configuration-qemu-coco-dev-runtime-rs.toml.bak": configuration("kata-containers-confidential.img", kataHash),
	}
	for name, test := range map[string]struct {
		image  map[string]string
		params string
	}{
		"measured":     {map[string]string{"a.image": "", "root_hash_confidential.txt": ownHash + "\n"}, ownHash},
		"not measured": {map[string]string{"a.image": ""}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			folder, out, err := configureShims(t, release, test.image)
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for file, content := range release {
				want := content
				if file == "configuration-qemu-measured.toml" { // Its image is there, without a root hash.
					want = configuration("kata-containers.img", "")
				}
				if strings.Contains(content, "confidential") && strings.HasSuffix(file, ".toml") {
					want = configuration("kata-containers-confidential.img", test.params)
				}
				got, err := os.ReadFile(filepath.Join(folder, file))
				if err != nil || string(got) != want {
					t.Errorf("%s is %q, %v: want %q", file, got, err, want)
				}
			}
			if !strings.Contains(out, "configuration-qemu-nvidia-gpu.toml: of the image nvidia-gpu, which is not a dependency: unchanged") {
				t.Errorf("it prints %s", out)
			}
		})
	}
}

func TestShimConfigurationErrors(t *testing.T) {
	tdx := configuration("kata-containers-confidential.img", kataHash)
	for name, test := range map[string]struct{ configuration, hash, want string }{
		"not a root hash": {tdx, "root_hash=00", "root_hash_confidential.txt is not a line of parameters of dm-verity: root_hash=00"},
		"two lines":       {tdx, ownHash + "\n" + ownHash, "root_hash_confidential.txt is not a line of parameters of dm-verity"},
		"no use": {configuration("kata-containers-tdx.img", kataHash), ownHash,
			"no configuration has the image kata-containers-confidential.img with kernel_verity_params, which has a root hash"},
	} {
		files := map[string]string{"a.image": "", "root_hash_confidential.txt": test.hash}
		_, out, err := configureShims(t, map[string]string{"configuration-qemu-tdx.toml": test.configuration}, files)
		if err == nil || !strings.Contains(out, test.want) {
			t.Errorf("%s: %v, it prints %s: want %s", name, err, out, test.want)
		}
	}
}
