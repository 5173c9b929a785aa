package fvtest

import "encoding/binary"

// pack writes data as LZMA does, every byte for itself.
func pack(data []byte) []byte {
	const even = 1 << 10
	out := binary.LittleEndian.AppendUint32([]byte{0}, 1<<16)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(data)))
	e := &encoder{rng: 0xffffffff, pending: 1, out: out}
	match := uint16(even)
	var literals [0x300]uint16
	for i := range literals {
		literals[i] = even
	}
	for _, b := range data {
		e.bit(&match, 0)
		for symbol, i := 1, 7; i >= 0; i-- {
			bit := uint32(b>>i) & 1
			e.bit(&literals[symbol], bit)
			symbol = symbol<<1 | int(bit)
		}
	}
	for range 5 {
		e.shift()
	}
	return e.out
}

// encoder is the range coder of LZMA.
type encoder struct {
	low     uint64
	rng     uint32
	cache   byte
	pending int
	out     []byte
}

func (e *encoder) bit(probability *uint16, bit uint32) {
	bound := e.rng >> 11 * uint32(*probability)
	if bit == 0 {
		e.rng = bound
		*probability += (1<<11 - *probability) >> 5
	} else {
		e.low += uint64(bound)
		e.rng -= bound
		*probability -= *probability >> 5
	}
	for e.rng < 1<<24 {
		e.rng <<= 8
		e.shift()
	}
}

// shift writes the highest byte, unless a carry may still change it.
func (e *encoder) shift() {
	if e.low < 0xff000000 || e.low > 0xffffffff {
		carry := byte(e.low >> 32)
		for ; e.pending > 0; e.pending-- {
			e.out = append(e.out, e.cache+carry)
			e.cache = 0xff
		}
		e.cache = byte(e.low >> 24)
	}
	e.pending++
	e.low = e.low << 8 & 0xffffffff
}
