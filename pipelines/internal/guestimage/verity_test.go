package guestimage

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// measured returns a filesystem of some blocks, its hash tree and its parameters.
func measured(t *testing.T, blocks int64) (root, tree []byte, v Verity) {
	t.Helper()
	root, v = content(3, blocks*BlockSize), Verity{Salt: []byte("salt"), DataBlocks: blocks}
	leaves, err := v.level(bytes.NewReader(root), blocks)
	if err != nil {
		t.Fatal(err)
	}
	tree = v.tree(leaves)
	v.RootHash = v.digest(tree[:BlockSize])
	return root, tree, v
}

// veritysetup makes the same trees, of one, two and three levels.
func TestVerity(t *testing.T) {
	for _, blocks := range []int64{2, 128, 129, 128*128 + 1} {
		root, tree, v := measured(t, blocks)
		dir := t.TempDir()
		data, hashes := filepath.Join(dir, "data"), filepath.Join(dir, "hashes")
		if err := os.WriteFile(data, root, 0o644); err != nil {
			t.Fatal(err)
		}
		out := tool(t, "veritysetup", "format", "--no-superblock", fmt.Sprintf("--salt=%x", v.Salt), data, hashes)
		if want := fmt.Sprintf("%x", v.RootHash); !strings.Contains(out, want) {
			t.Errorf("%d blocks: no root hash %s in\n%s", blocks, want, out)
		}
		theirs, err := os.ReadFile(hashes)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(theirs, tree) {
			t.Errorf("%d blocks: veritysetup makes another tree", blocks)
		}
		if err := v.Check(bytes.NewReader(root), bytes.NewReader(theirs), int64(len(theirs))); err != nil {
			t.Errorf("%d blocks: %v", blocks, err)
		}
	}
}

// One changed bit is found, wherever it is.
func TestVerityChanged(t *testing.T) {
	const blocks = 130
	for name, test := range map[string]struct {
		change func(root, tree []byte, v *Verity)
		want   string
	}{
		"data":      {func(root, _ []byte, _ *Verity) { root[129*BlockSize+7] ^= 1 }, "the root filesystem was changed after it was hashed: block 129, at byte 528384"},
		"leaf":      {func(_, tree []byte, _ *Verity) { tree[BlockSize+1] ^= 1 }, "the hash tree was changed: its upper blocks are not the hashes of its lower ones"},
		"top":       {func(_, tree []byte, _ *Verity) { tree[0] ^= 1 }, "the root hash of the hash tree is"},
		"root hash": {func(_, _ []byte, v *Verity) { v.RootHash[0] ^= 1 }, "the root hash of the hash tree is"},
		"salt":      {func(_, _ []byte, v *Verity) { v.Salt = []byte("pepper") }, "the root hash of the hash tree is"},
		"padding":   {func(_, tree []byte, _ *Verity) { tree[len(tree)-1] ^= 1 }, "the hash tree was changed"},
		"blocks":    {func(_, _ []byte, v *Verity) { v.DataBlocks = 128 }, "the hash tree has 12288 bytes: want 4096 for 128 blocks"},
		"too many":  {func(_, _ []byte, v *Verity) { v.DataBlocks = 131 }, "reading the root filesystem: block 130: EOF"},
	} {
		root, tree, v := measured(t, blocks)
		test.change(root, tree, &v)
		err := v.Check(bytes.NewReader(root), bytes.NewReader(tree), int64(len(tree)))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v: want %s", name, err, test.want)
		}
	}
}

func TestParseVerity(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	good := "root_hash=" + hash + ",salt=0123,data_blocks=2,data_block_size=4096,hash_block_size=4096"
	v, err := ParseVerity(good + "\n")
	if err != nil || v.String() != good {
		t.Fatalf("got %q, %v", v, err)
	}
	want := "dm-verity,,,ro,0 16 verity 1 /dev/vda1 /dev/vda2 4096 4096 2 0 sha256 " + hash + " 0123"
	if got := v.Create("/dev/vda1", "/dev/vda2"); got != want {
		t.Errorf("got %s: want %s", got, want)
	}
	for from, test := range map[string]struct{ to, want string }{
		hash:                    {"ab", `root_hash is "ab": it has 1 bytes: want the 32 of SHA-256`},
		"salt=0123":             {"salt=", `salt is "": it is empty, which Kata's runtime refuses`},
		"data_blocks=2":         {"data_blocks=1", `data_blocks is "1": want two blocks at least`},
		"data_block_size=4096":  {"data_block_size=512", `data_block_size is "512": want 4096`},
		"salt=0123,":            {"", `"data_blocks=2": want the value of salt`},
		",hash_block_size=4096": {"", "hash_block_size is missing"},
		"hash_block_size=4096":  {"hash_block_size=4096,x=y", `"x=y" is too much`},
	} {
		_, err := ParseVerity(strings.Replace(good, from, test.to, 1))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("with %q: got %v: want %s", test.to, err, test.want)
		}
	}
}
