package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxWindow is what `zstd -d` accepts by default, in bytes.
const maxWindow = 128 << 20

// NewDecoder returns a reader of a zstd stream that needs little memory: one thread, and
// no larger window than that of `zstd -d`.
func NewDecoder(r io.Reader) (*zstd.Decoder, error) {
	decoder, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("reading the zstd stream: %w", err)
	}
	return decoder, nil
}

// oneFrame makes sure that a stretch of a file is one zstd frame that unpacks to a
// number of bytes, without decompressing it: a decoder skips frames that hold no data,
// and joins others.
func oneFrame(r *io.SectionReader, unpacked int64) error {
	var buffer [zstd.HeaderMaxSize]byte
	n, err := r.ReadAt(buffer[:], 0)
	if err != nil && (n == 0 || !errors.Is(err, io.EOF)) {
		return err
	}
	var header zstd.Header
	if err := header.Decode(buffer[:n]); err != nil {
		return fmt.Errorf("no zstd frame begins there: %w", err)
	}
	if header.Skippable || !header.HasFCS || header.FrameContentSize != uint64(unpacked) {
		return fmt.Errorf("it unpacks to %d bytes, but the index says %d", header.FrameContentSize, unpacked)
	}
	size, err := blocks(r, int64(header.HeaderSize))
	if err != nil {
		return fmt.Errorf("reading its blocks: %w", err)
	}
	if header.HasCheckSum {
		size += 4
	}
	if size != r.Size() {
		return fmt.Errorf("it has %d bytes, but the index says %d", size, r.Size())
	}
	return nil
}

// blocks returns the length of a frame up to its checksum, from the headers of its
// blocks. The first one is at the given offset.
func blocks(r io.ReaderAt, at int64) (int64, error) {
	const rle, reserved = 1, 3
	var head [4]byte
	for {
		if _, err := r.ReadAt(head[:3], at); err != nil {
			return 0, unexpected(err)
		}
		block := binary.LittleEndian.Uint32(head[:])
		size := int64(block >> 3)
		switch block >> 1 & 3 {
		case rle:
			size = 1
		case reserved:
			return 0, errors.New("a block has a type that does not exist")
		}
		at += 3 + size
		if block&1 == 1 {
			return at, nil
		}
	}
}
