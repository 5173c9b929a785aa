package rootfs_test

import (
	"bytes"
	"cmp"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/guestimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/rootfs"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

const (
	folder = "opt/kata/share/kata-containers/"
	disk   = folder + "kata-debian-trixie-tiny.image"
)

var locked = []recipe.Locked{{Name: "libc6", Version: "2.41-12", Hash: "sha256:aa"}, {Name: "systemd", Version: "257.9-1", Hash: "sha256:bb"}}

// tool runs a program, and skips the test without it.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("no %s", name)
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// root is the tree of a small guest.
func root(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"usr/bin/program": "#!/bin/sh\n", "etc/a file": "content\n", "usr/lib/deep/deeper/deepest": "x",
		"usr/share/kata-containers/packages": "libc6 2.41-12 sha256:aa 100\nsystemd 257.9-1 sha256:bb 200\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for path, mode := range map[string]os.FileMode{"usr/bin/program": 0o755, "tmp": 0o777 | os.ModeDir | os.ModeSticky} {
		path = filepath.Join(dir, path)
		if mode.IsDir() {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("usr/bin", filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// filesystem makes the filesystem of a tree.
func filesystem(t *testing.T, kind, tree string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fs")
	if kind == guestimage.Erofs {
		tool(t, "mkfs.erofs", "-zlz4hc", "-Enoinline_data", file, tree)
		return file
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 8<<20); err != nil {
		t.Fatal(err)
	}
	tool(t, "mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", tree, file)
	return file
}

// made returns the files of a tarball with the image of a tree.
func made(t *testing.T, image recipe.Image, tree string) map[string][]byte {
	t.Helper()
	file := filesystem(t, image.Filesystem, tree)
	data := read(t, file)
	files, hashes := map[string][]byte{}, []byte(nil)
	if image.Measured {
		out := tool(t, "veritysetup", "format", "--no-superblock", "--salt=00ff", file, file+".tree")
		hashes = read(t, file+".tree")
		_, hash, _ := strings.Cut(out, "Root hash:")
		verity, err := guestimage.ParseVerity("root_hash=" + strings.TrimSpace(hash[:strings.Index(hash+"\n", "\n")]) + ",salt=00ff,data_blocks=" +
			strings.TrimSpace(between(out, "Data blocks:")) + ",data_block_size=4096,hash_block_size=4096")
		if err != nil {
			t.Fatal(err)
		}
		files[folder+guestimage.RootHashName(image.Variant)] = []byte(verity.String() + "\n")
	}
	layout, err := guestimage.Plan(image.Filesystem, image.DAX, int64(len(data)), int64(len(hashes)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := layout.Write(&out, bytes.NewReader(data), bytes.NewReader(hashes)); err != nil {
		t.Fatal(err)
	}
	files[image.Path] = out.Bytes()
	files[folder+guestimage.LinkName(image.Variant)] = []byte("-> " + filepath.Base(image.Path))
	return files
}

// between returns the rest of the line after a text.
func between(out, after string) string {
	_, rest, _ := strings.Cut(out, after)
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// verified runs the checks, and returns their results by name.
func verified(t *testing.T, g rootfs.Guest, files map[string][]byte) map[string]report.Check {
	t.Helper()
	tree := verifytest.Tree{}
	for name, content := range files {
		tree[name] = string(content)
	}
	checks := map[string]report.Check{}
	for _, check := range verifytest.Run(t, g, verify.Artifact{Asset: "rootfs-tiny", Arch: "x86_64", Tarball: tree.Pack(t)}, host.Host{}).Checks {
		checks[check.Name] = check
	}
	return checks
}

func TestImages(t *testing.T) {
	for name, image := range map[string]recipe.Image{
		"ext4":           {Path: disk, Filesystem: guestimage.Ext4, Variant: "tiny", DAX: true},
		"measured ext4":  {Path: disk, Filesystem: guestimage.Ext4, Variant: "tiny", DAX: true, Measured: true},
		"erofs":          {Path: disk, Filesystem: guestimage.Erofs, Variant: "tiny", DAX: true},
		"measured erofs": {Path: disk, Filesystem: guestimage.Erofs, Variant: "tiny", Measured: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := rootfs.Guest{Arch: "x86_64", Images: []recipe.Image{image}, Locked: locked}
			checks := verified(t, g, made(t, image, root(t)))
			if saw := checks["boot"].Saw; saw != path.Base(disk)+" has no init" {
				t.Errorf("boot: %s", saw)
			}
			static := g.Checks()[:slices.Index(g.Checks(), "boot")]
			for _, check := range static {
				want := report.Passed
				if check == "verity" && !image.Measured {
					want = report.Skipped
				}
				if got := checks[check]; got.Verdict != want {
					t.Errorf("%s: %s, %s: want %s", check, got.Verdict, got.Saw, want)
				}
			}
		})
	}
}

// Each fault of an image is found, by the check that is there for it.
func TestFaults(t *testing.T) {
	chmod := func(name string, mode os.FileMode) func(tree string) error {
		return func(tree string) error { return os.Chmod(filepath.Join(tree, name), mode) }
	}
	list := func(content string) func(tree string) error {
		return func(tree string) error {
			return os.WriteFile(filepath.Join(tree, "usr/share/kata-containers/packages"), []byte(content), 0o644)
		}
	}
	same := func(string) error { return nil }
	for name, test := range map[string]struct {
		kind        string
		tree        func(tree string) error
		files       func(files map[string][]byte, g *rootfs.Guest)
		check, want string
	}{
		"setuid":                {tree: chmod("usr/bin/program", 0o755|os.ModeSetuid), check: "modes", want: "/usr/bin/program has mode 4755: it is setuid or setgid"},
		"setgid":                {tree: chmod("usr/bin/program", 0o755|os.ModeSetgid), check: "modes", want: "/usr/bin/program has mode 2755"},
		"world-writable file":   {tree: chmod("etc/a file", 0o666), check: "modes", want: "/etc/a file has mode 0666: it is world-writable"},
		"world-writable folder": {kind: guestimage.Ext4, tree: chmod("usr/lib/deep/deeper", 0o777), check: "modes", want: "/usr/lib/deep/deeper has mode 0777: it is world-writable"},
		"another package":       {tree: list("libc6 2.41-13 sha256:aa 100\nsystemd 257.9-1 sha256:bb 200\n"), check: "packages", want: "libc6 2.41-13 sha256:aa is not in the lock\nlibc6 2.41-12 sha256:aa is in the lock, but not in the guest"},
		"no list":               {tree: func(tree string) error { return os.Remove(filepath.Join(tree, "usr/share/kata-containers/packages")) }, check: "packages", want: "no /usr/share/kata-containers/packages"},
		"short line":            {tree: list("libc6\n"), check: "packages", want: `has the line "libc6\n": want name, version and hash`},
		"no lock":               {tree: same, files: func(_ map[string][]byte, g *rootfs.Guest) { g.Locked = nil }, check: "packages", want: "the asset has no lock"},
		"flipped byte":          {files: func(files map[string][]byte, _ *rootfs.Guest) { files[disk][3<<20+4096] ^= 1 }, check: "verity", want: "the root filesystem was changed after it was hashed: block 1, at byte 4096"},
		"other root hash": {files: func(files map[string][]byte, _ *rootfs.Guest) {
			name := folder + "root_hash_tiny.txt"
			files[name] = bytes.Replace(files[name], []byte("root_hash=0"), []byte("root_hash=1"), 1)
			files[name] = bytes.Replace(files[name], []byte("salt=00ff"), []byte("salt=00fe"), 1)
		}, check: "verity", want: "the root hash of the hash tree is"},
		"no DAX":            {files: func(_ map[string][]byte, g *rootfs.Guest) { g.Images[0].DAX = false }, check: "partitions", want: "it has a DAX header: true, and should: false"},
		"header":            {files: func(files map[string][]byte, _ *rootfs.Guest) { files[disk][5000]++ }, check: "partitions", want: "the DAX header at byte 4096: the checksum is"},
		"second table":      {files: func(files map[string][]byte, _ *rootfs.Guest) { files[disk][2<<20+510] = 0 }, check: "partitions", want: "the MBR at byte 2097152"},
		"broken filesystem": {files: func(files map[string][]byte, _ *rootfs.Guest) { files[disk][3<<20+1024+20]++ }, check: "filesystem", want: "running fsck.erofs"},
		"over its budget":   {files: func(_ map[string][]byte, g *rootfs.Guest) { g.Budgets = map[string]int64{disk: 4096} }, check: "partitions", want: "bytes: more than the budget of 4096"},
		"another link": {files: func(files map[string][]byte, _ *rootfs.Guest) {
			files[folder+"kata-containers-tiny.img"] = []byte("-> root_hash_tiny.txt")
		}, check: "links", want: "want kata-debian-trixie-tiny.image"},
		"a file too much": {files: func(files map[string][]byte, _ *rootfs.Guest) { files[folder+"more"] = []byte("x") }, check: "members", want: "does not belong to the asset"},
	} {
		t.Run(name, func(t *testing.T) {
			image := recipe.Image{Path: disk, Filesystem: cmp.Or(test.kind, guestimage.Erofs), Variant: "tiny", DAX: true, Measured: true}
			tree, g := root(t), rootfs.Guest{Arch: "x86_64", Images: []recipe.Image{image}, Locked: locked}
			if test.tree != nil {
				if err := test.tree(tree); err != nil {
					t.Fatal(err)
				}
			}
			files := made(t, image, tree)
			if test.files != nil {
				test.files(files, &g)
			}
			if got := verified(t, g, files)[test.check]; got.Verdict == report.Passed || !strings.Contains(got.Saw, test.want) {
				t.Errorf("%s: %s, %s: want %s", test.check, got.Verdict, got.Saw, test.want)
			}
		})
	}
}

// cpio packs a tree as an initrd.
func cpio(t *testing.T, tree string) []byte {
	t.Helper()
	tool(t, "cpio", "--version")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "find . -mindepth 1 | cpio --quiet --create --format=newc | gzip")
	cmd.Dir = tree
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestInitrd(t *testing.T) {
	g := rootfs.Guest{Arch: "x86_64", Locked: locked}
	g.SetInitrd("alpine", "3.22", "confidential")
	if g.Initrd != folder+"kata-alpine-3.22-confidential.initrd" || g.Link != folder+"kata-containers-initrd-confidential.img" {
		t.Errorf("got %s and %s", g.Initrd, g.Link)
	}
	for name, test := range map[string]struct {
		change      func(tree string) error
		check, want string
		verdict     report.Verdict
	}{
		"good":     {func(string) error { return nil }, "modes", "none is setuid", report.Passed},
		"contents": {func(string) error { return nil }, "packages", "2 packages, as in the lock", report.Passed},
		"setuid": {func(tree string) error { return os.Chmod(filepath.Join(tree, "usr/bin/program"), 0o755|os.ModeSetuid) }, "modes",
			"/usr/bin/program has mode 4755", report.Failed},
	} {
		tree := root(t)
		if err := test.change(tree); err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{g.Initrd: cpio(t, tree), g.Link: []byte("-> " + filepath.Base(g.Initrd))}
		if got := verified(t, g, files)[test.check]; got.Verdict != test.verdict || !strings.Contains(got.Saw, test.want) {
			t.Errorf("%s: %s, %s: want %s", name, got.Verdict, got.Saw, test.want)
		}
	}
	for name, test := range map[string]struct {
		initrd []byte
		want   string
	}{
		"empty":      {[]byte("x"), "reading the header of a member: unexpected EOF"},
		"not newc":   {bytes.Repeat([]byte("0"), 200), `a member begins with "000000": want 070701`},
		"no trailer": {bytes.TrimRight(plain(t, root(t)), "\x00")[:1000], "EOF"},
		"more":       {append(plain(t, root(t)), 'x'), "there is more after the end of the archive"},
	} {
		files := map[string][]byte{g.Initrd: test.initrd, g.Link: []byte("-> " + filepath.Base(g.Initrd))}
		if got := verified(t, g, files)["filesystem"]; got.Verdict != report.Failed || !strings.Contains(got.Saw, test.want) {
			t.Errorf("%s: %s, %s: want %s", name, got.Verdict, got.Saw, test.want)
		}
	}
}

func plain(t *testing.T, tree string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "gunzip")
	cmd.Stdin = io.Reader(bytes.NewReader(cpio(t, tree)))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}
