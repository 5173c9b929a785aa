package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// client speaks with a QEMU over its machine protocol: lines of JSON. Each command
// gets one answer, with events in between. The three commands that checks need do
// not justify a library.
type client struct {
	to   io.Writer
	from *json.Decoder
}

// message is a line of QEMU: its greeting, an answer, an error or an event.
type message struct {
	Greeting *struct{}       `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *refusal        `json:"error"`
	Event    string          `json:"event"`
}

// refusal is QEMU's answer to a command that failed.
type refusal struct {
	Desc string `json:"desc"`
}

// Error returns QEMU's description.
func (r *refusal) Error() string { return r.Desc }

// connect reads QEMU's greeting and ends the negotiation. The end of the stream is
// an io.EOF or io.ErrUnexpectedEOF: what QEMU printed says why.
func connect(to io.Writer, from io.Reader) (*client, error) {
	c := &client{to: to, from: json.NewDecoder(from)}
	var hello message
	if err := c.from.Decode(&hello); err != nil {
		return nil, fmt.Errorf("waiting for QEMU's greeting: %w", err)
	}
	if hello.Greeting == nil {
		return nil, errors.New("no QMP: the first line is not a greeting")
	}
	return c, c.do("qmp_capabilities", nil, nil)
}

// do runs a command and writes what it returns to result, which may be nil. A
// command that QEMU refuses is a *refusal.
func (c *client) do(name string, arguments map[string]string, result any) error {
	line, err := json.Marshal(struct {
		Execute   string            `json:"execute"`
		Arguments map[string]string `json:"arguments,omitempty"`
	}{name, arguments})
	if err == nil {
		_, err = c.to.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("sending %s to QEMU: %w", name, err)
	}
	for {
		var answer message
		if err := c.from.Decode(&answer); err != nil {
			return fmt.Errorf("waiting for QEMU's answer to %s: %w", name, err)
		}
		switch {
		case answer.Event != "":
		case answer.Error != nil:
			return fmt.Errorf("QEMU refuses %s: %w", name, answer.Error)
		case result == nil:
			return nil
		default:
			if err := json.Unmarshal(answer.Return, result); err != nil {
				return fmt.Errorf("reading QEMU's answer to %s: %w", name, err)
			}
			return nil
		}
	}
}

// realized says whether the device with an id is realized.
func (c *client) realized(id string) (realized bool, err error) {
	err = c.do("qom-get", map[string]string{"path": "/machine/peripheral/" + id, "property": "realized"}, &realized)
	return realized, err
}

// monitor runs a command of the human monitor, and returns what it prints.
func (c *client) monitor(line string) (text string, err error) {
	err = c.do("human-monitor-command", map[string]string{"command-line": line}, &text)
	return text, err
}
