package build

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/guestimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// Two blocks with the superblock of erofs, and their hash tree as veritysetup makes it with
// the salt 00.
const (
	rootHash = "6cb113e93cd3bb357e994c5f81a6fae69a486cd5ed5851993f2336fb5deb8966"
	leaves   = "83485122aeaf359ed141880b37578e4a66e4a4fe56e58c6ce0abcf89c8584425" +
		"b587fa297299ce9c602e58292b51379402bf7b1074f6b18679c2fb871c917ca8"
)

func filesystem() []byte {
	data := make([]byte, 2*guestimage.BlockSize)
	copy(data[1024:], []byte{0xe2, 0xe1, 0xf5, 0xe0})
	return data
}

// left has the files that a step leaves for a measured image at opt/kata/a.image.
func left(t *testing.T) map[string][]byte {
	t.Helper()
	tree, err := hex.DecodeString(leaves)
	if err != nil {
		t.Fatal(err)
	}
	tree = append(tree, make([]byte, guestimage.BlockSize-len(tree))...)
	return map[string][]byte{
		"a.image": filesystem(), "a.image.verity": tree, "a.image.folders": []byte("8.0K /usr\n4.0K /etc\n"),
		"a.image.verity.txt": []byte("root_hash=" + rootHash + ",salt=00,data_blocks=2,data_block_size=4096,hash_block_size=4096\n"),
	}
}

// packImage packs the image of what a step left, and returns its tarball.
func packImage(t *testing.T, image recipe.Image, files map[string][]byte, budget int64) (string, error) {
	t.Helper()
	p := plan()
	p.Recipe.Output = recipe.Output{Level: 1, Images: []recipe.Image{image}}
	p.Budgets = map[string]int64{image.Path: budget}
	b := &run{Container: &Container{}, plan: p, work: t.TempDir(), log: newLog(t)}
	out := filepath.Join(b.work, "out")
	if err := os.MkdirAll(filepath.Join(out, "opt/kata"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(out, "opt/kata", name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	built, err := b.pack(t.Context(), out, filepath.Join(b.work, "outputs"), nil)
	return built.Tarballs[""], err
}

func TestImage(t *testing.T) {
	image := recipe.Image{Path: "opt/kata/a.image", Filesystem: "erofs", Variant: "tiny", DAX: true, Measured: true}
	tarball, err := packImage(t, image, left(t), 8192)
	if err != nil {
		t.Fatal(err)
	}
	listing, err := archive.Inspect(tarball)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range listing.Members {
		if !m.Mode.IsDir() {
			names = append(names, strings.TrimSuffix(m.Name+" "+m.Link, " "))
		}
	}
	want := "./opt/kata/a.image ./opt/kata/kata-containers-tiny.img a.image ./opt/kata/root_hash_tiny.txt"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("the tarball has %s: want %s", got, want)
	}
	var made, hash bytes.Buffer
	for name, to := range map[string]*bytes.Buffer{"opt/kata/a.image": &made, "opt/kata/root_hash_tiny.txt": &hash} {
		if err := archive.Cat(to, tarball, name); err != nil {
			t.Fatal(err)
		}
	}
	if got := hash.Bytes(); !bytes.Equal(got, left(t)["a.image.verity.txt"]) {
		t.Errorf("root_hash_tiny.txt is %q", got)
	}
	layout, err := guestimage.Read(bytes.NewReader(made.Bytes()), int64(made.Len()))
	if err != nil || !layout.DAX || layout.Hash.Size != guestimage.BlockSize {
		t.Fatalf("the layout is %+v, %v", layout, err)
	}
	if root := made.Bytes()[layout.Root.Start:][:layout.Root.Size]; !bytes.Equal(root, filesystem()) {
		t.Error("the root partition has other content")
	}
}

func TestImageErrors(t *testing.T) {
	for name, test := range map[string]struct {
		change func(files map[string][]byte, image *recipe.Image)
		budget int64
		want   string
	}{
		"no filesystem": {func(files map[string][]byte, _ *recipe.Image) { delete(files, "a.image") }, 0,
			"reading the filesystem that a step left at $DESTDIR/opt/kata/a.image: "},
		"no tree": {func(files map[string][]byte, _ *recipe.Image) { delete(files, "a.image.verity") }, 0, "reading its hash tree: "},
		"parameters": {func(files map[string][]byte, _ *recipe.Image) { files["a.image.verity.txt"] = []byte("salt") }, 0,
			`a.image.verity.txt: reading the parameters of dm-verity: "salt": want the value of root_hash`},
		"changed after hashing": {func(files map[string][]byte, _ *recipe.Image) { files["a.image"][5000]++ }, 0,
			"checking its hash tree: the root filesystem was changed after it was hashed: block 1, at byte 4096"},
		"more than is hashed": {func(files map[string][]byte, _ *recipe.Image) {
			files["a.image"] = append(files["a.image"], make([]byte, guestimage.BlockSize)...)
		}, 0, "a.image.verity.txt: 2 blocks of 4096 bytes are hashed, but the root filesystem has 12288 bytes"},
		"another filesystem": {func(_ map[string][]byte, image *recipe.Image) { image.Filesystem = "ext4" }, 0,
			`the step left a filesystem of the kind "erofs": want ext4`},
		"over its budget": {func(map[string][]byte, *recipe.Image) {}, 8191,
			"its filesystem has 8.0 KiB, more than its budget of 8.0 KiB: remove files, or raise the budget in assets.yaml; its largest folders are:\n  8.0K /usr\n  4.0K /etc"},
		"odd size": {func(files map[string][]byte, image *recipe.Image) {
			files["a.image"], image.Measured = files["a.image"][:5000], false
		}, 0, "the root partition has 5000 bytes: want a multiple of 4096"},
	} {
		image, files := recipe.Image{Path: "opt/kata/a.image", Filesystem: "erofs", Variant: "tiny", Measured: true}, left(t)
		test.change(files, &image)
		_, err := packImage(t, image, files, test.budget)
		if want := "making the image opt/kata/a.image: " + test.want; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v: want %s", name, err, want)
		}
	}
}
