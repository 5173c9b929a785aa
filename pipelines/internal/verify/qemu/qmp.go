package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// query is a command of QEMU's machine protocol, QMP: lines of JSON.
type query struct {
	Execute   string            `json:"execute"`
	Arguments map[string]string `json:"arguments,omitempty"`
}

// message is a line of QEMU: its greeting, an answer, an error or an event.
type message struct {
	Greeting *struct{}              `json:"QMP"`
	Return   json.RawMessage        `json:"return"`
	Error    *struct{ Desc string } `json:"error"`
	Event    string                 `json:"event"`
}

// exchange runs a QEMU with QMP on its standard input and output, and returns its
// answers. QEMU reads once its machine is made, and answers in order, so all queries
// are sent at once, and "quit" after them.
func exchange(ctx context.Context, cmd *exec.Cmd, queries []query) ([]message, error) {
	var script, stdout, stderr bytes.Buffer
	to := json.NewEncoder(&script)
	queries = slices.Concat([]query{{Execute: "qmp_capabilities"}}, queries, []query{{Execute: "quit"}})
	for _, q := range queries {
		if err := to.Encode(q); err != nil {
			return nil, err
		}
	}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Stdin stays open: QEMU drops commands at the end of its input.
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	wait, err := host.Start(cmd)
	if err != nil {
		return nil, fmt.Errorf("starting QEMU: %w", err)
	}
	// If QEMU ends before it reads this, its own error says why.
	_, _ = script.WriteTo(in)
	err = wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("QEMU: %w%s", err, host.Indented(stderr.String()))
	}
	answers, err := parseAnswers(&stdout, queries[:len(queries)-1])
	if err != nil {
		return nil, err
	}
	return answers[1:], nil
}

// parseAnswers reads QEMU's greeting, and its answers to the queries with events in
// between.
func parseAnswers(from io.Reader, queries []query) (answers []message, err error) {
	lines := json.NewDecoder(from)
	var greeting message
	if err := lines.Decode(&greeting); err != nil {
		return nil, fmt.Errorf("waiting for QEMU's greeting: %w", err)
	}
	if greeting.Greeting == nil {
		return nil, errors.New("no QMP: the first line is not a greeting")
	}
	for len(answers) < len(queries) {
		var m message
		if err := lines.Decode(&m); err != nil {
			return nil, fmt.Errorf("waiting for QEMU's answer to %s: %w", queries[len(answers)].Execute, err)
		}
		if m.Event == "" {
			answers = append(answers, m)
		}
	}
	return answers, nil
}

// into decodes what a query returned. A query that QEMU refused is an error.
func (m message) into(result any) error {
	if m.Error != nil {
		return errors.New(m.Error.Desc)
	}
	return json.Unmarshal(m.Return, result)
}
