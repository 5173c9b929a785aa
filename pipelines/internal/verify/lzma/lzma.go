// Package lzma unpacks LZMA data in the form that firmware has: a header of 13
// bytes with the properties and the size, and one stream.
package lzma

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

const (
	headerSize = 13
	sizeAt     = 5
	// Numbers of the format: states of what came before, bits of a position and
	// of a distance.
	states       = 12
	literalState = 7
	maxPosBits   = 4
	slots        = 64
	alignBits    = 4
	firstModel   = 4
	endModel     = 14
	fullDistance = 1 << (endModel / 2)
	minMatch     = 2
	lengthSlots  = 4
)

// errDamaged is for data that no packer writes.
var errDamaged = errors.New("the LZMA data is damaged")

// Decode unpacks data, of which at most limit bytes may come. Bytes behind the
// stream are left alone.
func Decode(data []byte, limit int) ([]byte, error) {
	if len(data) < headerSize {
		return nil, fmt.Errorf("%d bytes are too few for LZMA", len(data))
	}
	size := binary.LittleEndian.Uint64(data[sizeAt:])
	properties := int(data[0])
	if properties >= 9*5*5 {
		return nil, fmt.Errorf("the LZMA properties %#02x do not exist", properties)
	}
	if size > uint64(limit) {
		return nil, fmt.Errorf("the LZMA data has %d bytes unpacked: at most %d are wanted", size, limit)
	}
	d := newDecoder(data[headerSize:], properties)
	if err := d.begin(); err != nil {
		return nil, err
	}
	for len(d.out) < int(size) {
		d.symbol()
		if d.err != nil {
			return nil, fmt.Errorf("after %d of %d bytes: %w", len(d.out), size, d.err)
		}
	}
	if len(d.out) > int(size) {
		return nil, fmt.Errorf("it goes on after %d bytes: %w", size, errDamaged)
	}
	return d.out, nil
}

// decoder is the state of one stream.
type decoder struct {
	in    []byte
	rng   uint32
	code  uint32
	out   []byte
	err   error
	state int
	// reps are the last four distances, counted from 0.
	reps [4]uint32

	literalContext, literalPosition, position int

	literals                         []uint16
	isMatch, isRep0Long              [states << maxPosBits]uint16
	isRep, isRepG0, isRepG1, isRepG2 [states]uint16
	slot                             [lengthSlots][slots]uint16
	special                          [fullDistance]uint16
	align                            [1 << alignBits]uint16
	matchLength, repeatedLength      lengths
}

// lengths decodes the length of a match.
type lengths struct {
	choice, choice2 uint16
	low, middle     [1 << maxPosBits][8]uint16
	high            [256]uint16
}

// even is the probability of a bit of which nothing is known.
const even = 1 << 10

func newDecoder(in []byte, properties int) *decoder {
	d := &decoder{in: in, rng: 0xffffffff, literalContext: properties % 9, literalPosition: properties / 9 % 5, position: properties / 45}
	d.literals = make([]uint16, 0x300<<(d.literalContext+d.literalPosition))
	for _, probabilities := range [][]uint16{
		d.literals, d.isMatch[:], d.isRep0Long[:], d.isRep[:], d.isRepG0[:], d.isRepG1[:], d.isRepG2[:], d.special[:], d.align[:],
	} {
		fill(probabilities)
	}
	for i := range d.slot {
		fill(d.slot[i][:])
	}
	for _, l := range []*lengths{&d.matchLength, &d.repeatedLength} {
		l.choice, l.choice2 = even, even
		fill(l.high[:])
		for i := range l.low {
			fill(l.low[i][:])
			fill(l.middle[i][:])
		}
	}
	return d
}

func fill(probabilities []uint16) {
	for i := range probabilities {
		probabilities[i] = even
	}
}

// begin reads the first bytes of the stream.
func (d *decoder) begin() error {
	if len(d.in) < 5 || d.in[0] != 0 {
		return fmt.Errorf("the stream begins wrongly: %w", errDamaged)
	}
	d.code = binary.BigEndian.Uint32(d.in[1:])
	d.in = d.in[5:]
	return nil
}

// symbol decodes a byte, or a piece of what came before.
func (d *decoder) symbol() {
	posState := len(d.out) & (1<<d.position - 1)
	at := d.state<<maxPosBits + posState
	if d.bit(&d.isMatch[at]) == 0 {
		d.literal()
		return
	}
	var length int
	if d.bit(&d.isRep[d.state]) == 0 {
		length = d.length(&d.matchLength, posState)
		d.reps = [4]uint32{d.distance(length), d.reps[0], d.reps[1], d.reps[2]}
		d.state = after(d.state, 7, 10)
	} else {
		if d.bit(&d.isRepG0[d.state]) == 0 {
			if d.bit(&d.isRep0Long[at]) == 0 {
				d.state = after(d.state, 9, 11)
				d.copy(1)
				return
			}
		} else {
			d.repeat()
		}
		length = d.length(&d.repeatedLength, posState)
		d.state = after(d.state, 8, 11)
	}
	d.copy(length + minMatch)
}

// repeat moves one of the older distances to the front.
func (d *decoder) repeat() {
	n := 1
	if d.bit(&d.isRepG1[d.state]) == 1 {
		n = 2 + int(d.bit(&d.isRepG2[d.state]))
	}
	distance := d.reps[n]
	copy(d.reps[1:n+1], d.reps[:n])
	d.reps[0] = distance
}

func after(state, literal, match int) int {
	if state < literalState {
		return literal
	}
	return match
}

// literal decodes a byte.
func (d *decoder) literal() {
	var previous int
	if len(d.out) > 0 {
		previous = int(d.out[len(d.out)-1])
	}
	context := (len(d.out)&(1<<d.literalPosition-1))<<d.literalContext + previous>>(8-d.literalContext)
	probabilities := d.literals[0x300*context:][:0x300]
	symbol := 1
	if d.state >= literalState {
		if uint64(d.reps[0]) >= uint64(len(d.out)) {
			d.err = errDamaged
			return
		}
		match := int(d.out[len(d.out)-1-int(d.reps[0])])
		for symbol < 0x100 {
			bit := match >> 7 & 1
			match <<= 1
			got := int(d.bit(&probabilities[(1+bit)<<8+symbol]))
			symbol = symbol<<1 | got
			if got != bit {
				break
			}
		}
	}
	for symbol < 0x100 {
		symbol = symbol<<1 | int(d.bit(&probabilities[symbol]))
	}
	d.out = append(d.out, byte(symbol))
	switch {
	case d.state < 4:
		d.state = 0
	case d.state < 10:
		d.state -= 3
	default:
		d.state -= 6
	}
}

// copy repeats what is at the last distance.
func (d *decoder) copy(length int) {
	if uint64(d.reps[0]) >= uint64(len(d.out)) {
		d.err = errDamaged
		return
	}
	d.out = slices.Grow(d.out, length)
	from := len(d.out) - 1 - int(d.reps[0])
	for i := range length {
		d.out = append(d.out, d.out[from+i])
	}
}

func (d *decoder) length(l *lengths, posState int) int {
	switch {
	case d.bit(&l.choice) == 0:
		return d.tree(l.low[posState][:], 3)
	case d.bit(&l.choice2) == 0:
		return 8 + d.tree(l.middle[posState][:], 3)
	}
	return 16 + d.tree(l.high[:], 8)
}

// distance decodes the distance of a match of a length.
func (d *decoder) distance(length int) uint32 {
	slot := d.tree(d.slot[min(length, lengthSlots-1)][:], 6)
	if slot < firstModel {
		return uint32(slot)
	}
	direct := slot>>1 - 1
	distance := uint32(2|slot&1) << direct
	if slot < endModel {
		return distance + d.reverse(d.special[int(distance)-slot:], direct)
	}
	for i := direct - 1; i >= alignBits; i-- {
		distance += d.half() << i
	}
	return distance + d.reverse(d.align[:], alignBits)
}

// tree decodes a number of some bits, the highest first.
func (d *decoder) tree(probabilities []uint16, bits int) int {
	n := 1
	for range bits {
		n = n<<1 | int(d.bit(&probabilities[n]))
	}
	return n - 1<<bits
}

// reverse decodes a number of some bits, the lowest first.
func (d *decoder) reverse(probabilities []uint16, bits int) uint32 {
	n, value := 1, uint32(0)
	for i := range bits {
		bit := d.bit(&probabilities[n])
		n = n<<1 | int(bit)
		value |= bit << i
	}
	return value
}

// bit decodes a bit, and learns how probable it is.
func (d *decoder) bit(probability *uint16) uint32 {
	const scale, learn = 11, 5
	bound := d.rng >> scale * uint32(*probability)
	var bit uint32
	if d.code < bound {
		d.rng = bound
		*probability += (1<<scale - *probability) >> learn
	} else {
		d.rng -= bound
		d.code -= bound
		*probability -= *probability >> learn
		bit = 1
	}
	d.normalize()
	return bit
}

// half decodes a bit that is as probable as its opposite.
func (d *decoder) half() uint32 {
	d.rng >>= 1
	var bit uint32
	if d.code >= d.rng {
		d.code -= d.rng
		bit = 1
	}
	d.normalize()
	return bit
}

func (d *decoder) normalize() {
	const top = 1 << 24
	if d.rng >= top {
		return
	}
	d.rng <<= 8
	if len(d.in) == 0 {
		d.err = fmt.Errorf("the stream ends too early: %w", errDamaged)
		return
	}
	d.code = d.code<<8 | uint32(d.in[0])
	d.in = d.in[1:]
}
