package guestimage

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Verity are the parameters of dm-verity for a root filesystem, with SHA-256 and blocks of
// BlockSize.
type Verity struct {
	RootHash, Salt []byte
	DataBlocks     int64
}

// verityFields are the names of the parameters, in their order.
var verityFields = []string{"root_hash", "salt", "data_blocks", "data_block_size", "hash_block_size"}

// String returns the parameters as the option kernel_verity_params of Kata's runtime has
// them, and a file root_hash_VARIANT.txt.
func (v Verity) String() string {
	values := []any{hex.EncodeToString(v.RootHash), hex.EncodeToString(v.Salt), v.DataBlocks, BlockSize, BlockSize}
	fields := make([]string, len(values))
	for i, value := range values {
		fields[i] = fmt.Sprintf("%s=%v", verityFields[i], value)
	}
	return strings.Join(fields, ",")
}

// Create returns the parameter dm-mod.create of Linux that makes /dev/dm-0 of two devices.
func (v Verity) Create(root, hash string) string {
	return fmt.Sprintf("dm-verity,,,ro,0 %d verity 1 %s %s %d %d %d 0 sha256 %x %x",
		v.DataBlocks*BlockSize/sectorSize, root, hash, BlockSize, BlockSize, v.DataBlocks, v.RootHash, v.Salt)
}

// ParseVerity reads what String writes.
func ParseVerity(text string) (Verity, error) {
	var v Verity
	var problems []error
	fields := strings.Split(strings.TrimSuffix(text, "\n"), ",")
	for i, want := range verityFields {
		if i >= len(fields) {
			problems = append(problems, fmt.Errorf("%s is missing", want))
			continue
		}
		name, value, _ := strings.Cut(fields[i], "=")
		if name != want {
			problems = append(problems, fmt.Errorf("%q: want the value of %s", fields[i], want))
			continue
		}
		if err := v.set(name, value); err != nil {
			problems = append(problems, fmt.Errorf("%s is %q: %w", name, value, err))
		}
	}
	if len(fields) > len(verityFields) {
		problems = append(problems, fmt.Errorf("%q is too much", strings.Join(fields[len(verityFields):], ",")))
	}
	if err := errors.Join(problems...); err != nil {
		return Verity{}, fmt.Errorf("reading the parameters of dm-verity: %w", err)
	}
	return v, nil
}

func (v *Verity) set(name, value string) (err error) {
	switch name {
	case "root_hash":
		if v.RootHash, err = hex.DecodeString(value); err == nil && len(v.RootHash) != sha256.Size {
			err = fmt.Errorf("it has %d bytes: want the %d of SHA-256", len(v.RootHash), sha256.Size)
		}
	case "salt":
		if v.Salt, err = hex.DecodeString(value); err == nil && len(v.Salt) == 0 {
			err = errors.New("it is empty, which Kata's runtime refuses")
		}
	case "data_blocks":
		if v.DataBlocks, err = strconv.ParseInt(value, 10, 64); err == nil && v.DataBlocks < 2 {
			err = errors.New("want two blocks at least")
		}
	default:
		if value != strconv.Itoa(BlockSize) {
			err = fmt.Errorf("want %d", BlockSize)
		}
	}
	return err
}

// Covers fails unless all blocks of a root filesystem of a size are hashed.
func (v Verity) Covers(size int64) error {
	if size%BlockSize != 0 || v.DataBlocks != size/BlockSize {
		return fmt.Errorf("%d blocks of %d bytes are hashed, but the root filesystem has %d bytes", v.DataBlocks, BlockSize, size)
	}
	return nil
}

// Check hashes a root filesystem again, and compares the result with its hash tree and root
// hash. The error names the first block that was changed.
func (v Verity) Check(root, tree io.Reader, treeSize int64) error {
	hashes, err := v.level(root, v.DataBlocks)
	if err != nil {
		return fmt.Errorf("reading the root filesystem: %w", err)
	}
	want := v.tree(hashes)
	if treeSize != int64(len(want)) {
		return fmt.Errorf("the hash tree has %d bytes: want %d for %d blocks", treeSize, len(want), v.DataBlocks)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(tree, got); err != nil {
		return fmt.Errorf("reading the hash tree: %w", err)
	}
	leaves := got[len(got)-len(hashes):]
	if top := v.digest(got[:BlockSize]); !bytes.Equal(top, v.RootHash) {
		return fmt.Errorf("the root hash of the hash tree is %x: want %x", top, v.RootHash)
	}
	if !bytes.Equal(v.tree(leaves), got) {
		return errors.New("the hash tree was changed: its upper blocks are not the hashes of its lower ones")
	}
	for at := 0; at < len(hashes); at += sha256.Size {
		if !bytes.Equal(leaves[at:at+sha256.Size], hashes[at:at+sha256.Size]) {
			block := at / sha256.Size
			return fmt.Errorf("the root filesystem was changed after it was hashed: block %d, at byte %d", block, block*BlockSize)
		}
	}
	return nil
}

// tree returns the hash tree of the hashes of all data blocks. It begins with the block that
// the root hash is of.
func (v Verity) tree(hashes []byte) []byte {
	tree := hashes
	for blocks := int64(len(hashes)) / BlockSize; blocks > 1; blocks = int64(len(hashes)) / BlockSize {
		hashes, _ = v.level(bytes.NewReader(hashes), blocks) // Reading from memory does not fail.
		tree = append(hashes[:len(hashes):len(hashes)], tree...)
	}
	return tree
}

// level hashes blocks, and fills the last block of hashes with zeros.
func (v Verity) level(from io.Reader, blocks int64) ([]byte, error) {
	buffered, block := bufio.NewReaderSize(from, mib), make([]byte, BlockSize)
	hashes := make([]byte, 0, roundUp(blocks*sha256.Size, BlockSize))
	for i := range blocks {
		if _, err := io.ReadFull(buffered, block); err != nil {
			return nil, fmt.Errorf("block %d: %w", i, err)
		}
		hashes = append(hashes, v.digest(block)...)
	}
	return hashes[:cap(hashes)], nil
}

func (v Verity) digest(block []byte) []byte {
	hash := sha256.New()
	hash.Write(v.Salt)
	hash.Write(block)
	return hash.Sum(nil)
}
