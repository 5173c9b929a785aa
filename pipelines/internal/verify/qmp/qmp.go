// Package qmp speaks with a QEMU over its machine protocol: lines of JSON, of
// which each command gets one answer, with events in between.
package qmp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Client is one connection.
type Client struct {
	to   io.Writer
	from *json.Decoder
}

// message is a line of QEMU: its greeting, an answer, an error or an event.
type message struct {
	Greeting *struct {
		Version json.RawMessage `json:"version"`
	} `json:"QMP"`
	Return json.RawMessage `json:"return"`
	Error  *Error          `json:"error"`
	Event  string          `json:"event"`
}

// Error is QEMU's answer to a command that failed.
type Error struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

// Error returns QEMU's description.
func (e *Error) Error() string { return e.Desc }

type command struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
}

// Connect takes QEMU's greeting and leaves the mode of negotiation. An end of the
// stream is an io.EOF or io.ErrUnexpectedEOF: what QEMU printed says why.
func Connect(to io.Writer, from io.Reader) (*Client, error) {
	c := &Client{to: to, from: json.NewDecoder(from)}
	var hello message
	if err := c.from.Decode(&hello); err != nil {
		return nil, fmt.Errorf("waiting for QEMU's greeting: %w", err)
	}
	if hello.Greeting == nil {
		return nil, errors.New("no QMP: the first line is no greeting")
	}
	return c, c.Do("qmp_capabilities", nil, nil)
}

// Do runs a command and puts what it returns into result, which may be nil. A
// command that QEMU refuses is an *Error.
func (c *Client) Do(name string, arguments, result any) error {
	line, err := json.Marshal(command{name, arguments})
	if err != nil {
		return fmt.Errorf("asking QEMU for %s: %w", name, err)
	}
	if _, err := c.to.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("asking QEMU for %s: %w", name, err)
	}
	for {
		var answer message
		if err := c.from.Decode(&answer); err != nil {
			return fmt.Errorf("waiting for QEMU's answer to %s: %w", name, err)
		}
		switch {
		case answer.Event != "":
		case answer.Error != nil:
			return fmt.Errorf("asking QEMU for %s: %w", name, answer.Error)
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

// Realized says whether a device that was given an id is realized.
func (c *Client) Realized(id string) (realized bool, err error) {
	err = c.Do("qom-get", struct {
		Path     string `json:"path"`
		Property string `json:"property"`
	}{"/machine/peripheral/" + id, "realized"}, &realized)
	return realized, err
}

// Monitor runs a command of the human monitor, and returns what it prints.
func (c *Client) Monitor(line string) (text string, err error) {
	err = c.Do("human-monitor-command", struct {
		Line string `json:"command-line"`
	}{line}, &text)
	return text, err
}
