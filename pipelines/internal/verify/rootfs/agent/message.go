package agent

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// message is a protobuf message under construction. The numbers of its fields are those of
// Kata's agent.proto, health.proto and oci.proto.
type message []byte

func (m message) text(field protowire.Number, values ...string) message {
	for _, value := range values {
		m = protowire.AppendString(protowire.AppendTag(m, field, protowire.BytesType), value)
	}
	return m
}

func (m message) number(field protowire.Number, value uint64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, field, protowire.VarintType), value)
}

func (m message) nested(field protowire.Number, values ...message) message {
	for _, value := range values {
		m = protowire.AppendBytes(protowire.AppendTag(m, field, protowire.BytesType), value)
	}
	return m
}

// fields are the values of a message by field: numbers of varints, and the bytes of texts and
// nested messages.
type fields struct {
	numbers map[protowire.Number]uint64
	bytes   map[protowire.Number][][]byte
}

// parse takes a message apart. Fields of other kinds, which no answer here has, are skipped.
func parse(data []byte) (fields, error) {
	f := fields{map[protowire.Number]uint64{}, map[protowire.Number][][]byte{}}
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return f, fmt.Errorf("reading the answer: %w", protowire.ParseError(n))
		}
		data = data[n:]
		switch kind {
		case protowire.VarintType:
			f.numbers[number], n = protowire.ConsumeVarint(data)
		case protowire.BytesType:
			var value []byte
			value, n = protowire.ConsumeBytes(data)
			f.bytes[number] = append(f.bytes[number], value)
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
		}
		if n < 0 {
			return f, fmt.Errorf("reading field %d of the answer: %w", number, protowire.ParseError(n))
		}
		data = data[n:]
	}
	return f, nil
}

func (f fields) texts(field protowire.Number) []string {
	var texts []string
	for _, value := range f.bytes[field] {
		texts = append(texts, string(value))
	}
	return texts
}

// text returns the last value of a field, as protobuf has it, "" for none.
func (f fields) text(field protowire.Number) string {
	if all := f.texts(field); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}
