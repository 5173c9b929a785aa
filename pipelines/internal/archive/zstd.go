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

func newDecoder(r io.Reader) (*zstd.Decoder, error) {
	decoder, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("reading the zstd stream: %w", err)
	}
	return decoder, nil
}

// oneFrame makes sure that the bytes of a frame are one zstd frame, without
// decompressing it: a decoder skips frames that hold no data, and joins others.
func oneFrame(r io.ReaderAt, f Frame) error {
	var buffer [zstd.HeaderMaxSize]byte
	n, err := r.ReadAt(buffer[:min(f.Size, int64(len(buffer)))], f.Offset)
	if err != nil && (n == 0 || !errors.Is(err, io.EOF)) {
		return err
	}
	var header zstd.Header
	if err := header.Decode(buffer[:n]); err != nil {
		return fmt.Errorf("no zstd frame begins at %d: %w", f.Offset, err)
	}
	if header.Skippable || !header.HasFCS || header.FrameContentSize != uint64(f.Unpacked) {
		return fmt.Errorf("the frame at %d unpacks to %d bytes, the index says %d", f.Offset, header.FrameContentSize, f.Unpacked)
	}
	size, err := blocks(r, f, int64(header.HeaderSize))
	if err != nil {
		return fmt.Errorf("reading the blocks of the frame at %d: %w", f.Offset, err)
	}
	if header.HasCheckSum {
		size += 4
	}
	if size != f.Size {
		return fmt.Errorf("the frame at %d has %d bytes, the index says %d", f.Offset, size, f.Size)
	}
	return nil
}

// blocks returns the length of a frame up to its checksum, by the headers of
// its blocks.
func blocks(r io.ReaderAt, f Frame, at int64) (int64, error) {
	const rle, reserved = 1, 3
	var head [4]byte
	for at+3 <= f.Size {
		if _, err := r.ReadAt(head[:3], f.Offset+at); err != nil {
			return 0, err
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
	return 0, io.ErrUnexpectedEOF
}
