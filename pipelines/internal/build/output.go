package build

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// masked stands where a secret stood.
const masked = "***"

// minLine is the shortest line of a secret of several lines that is hidden
// wherever it stands: commands print such a secret a line at a time.
const minLine = 4

// output is where the log of a build goes: to its file, and to the stage at
// work. Secrets are hidden on the way, also those that are cut by two writes.
type output struct {
	// secrets are sorted, the longest first.
	secrets []string

	mu    sync.Mutex
	log   *logFile
	stage *progress.Stage
	// held may be the beginning of a secret whose end is still to come.
	held []byte
}

func newOutput(log *logFile, values map[string]string) *output {
	o := &output{log: log}
	for _, value := range values {
		o.secrets = append(o.secrets, strings.TrimSpace(value))
		for line := range strings.Lines(value) {
			if line = strings.TrimSpace(line); len(line) >= minLine {
				o.secrets = append(o.secrets, line)
			}
		}
	}
	slices.SortFunc(o.secrets, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	o.secrets = slices.Compact(o.secrets)
	return o
}

// mask hides the secrets of a whole text.
func (o *output) mask(text string) string {
	for _, secret := range o.secrets {
		text = strings.ReplaceAll(text, secret, masked)
	}
	return text
}

// Write takes a part of the log.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.secrets) == 0 {
		return len(p), o.emit(p)
	}
	pending := slices.Concat(o.held, p)
	var out []byte
	for len(pending) > 0 {
		secret, whole := o.at(pending)
		switch {
		case whole:
			out, pending = append(out, masked...), pending[len(secret):]
			continue
		case secret != "":
			o.held = slices.Clone(pending)
			return len(p), o.emit(out)
		}
		out, pending = append(out, pending[0]), pending[1:]
	}
	o.held = nil
	return len(p), o.emit(out)
}

// at returns the secret that text begins with, or one whose beginning is all of
// text. A longer one that may still come is waited for.
func (o *output) at(text []byte) (secret string, whole bool) {
	for _, secret := range o.secrets {
		if bytes.HasPrefix(text, []byte(secret)) {
			return secret, true
		}
		if strings.HasPrefix(secret, string(text)) {
			return secret, false
		}
	}
	return "", false
}

// emit passes on what holds no secret.
func (o *output) emit(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	if o.stage != nil {
		if _, err := o.stage.Write(text); err != nil {
			return err
		}
	}
	_, err := o.log.Write(text)
	return err
}

// line writes a line of its own, after what was held back. That a log cannot be
// written is reported when it is closed.
func (o *output) line(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.emit(o.held)
	o.held = nil
	fmt.Fprintln(o.log, o.mask(text))
}

// begin has a stage shown the log from here on.
func (o *output) begin(name string, stage *progress.Stage) {
	o.line("== " + name)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stage = stage
}

// concealed is an error whose text had a secret in it.
type concealed struct {
	text string
	err  error
}

// Error has the text without the secret.
func (c *concealed) Error() string { return c.text }

// Unwrap returns the error itself, for [errors.Is].
func (c *concealed) Unwrap() error { return c.err }

// conceal hides the secrets in an error's text.
func (o *output) conceal(err error) error {
	if text := o.mask(err.Error()); text != err.Error() {
		return &concealed{text, err}
	}
	return err
}

// failure ends the log with an error, which it returns as a *Failure.
func (o *output) failure(asset string, err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.emit(o.held)
	o.held = nil
	return o.log.failure(asset, o.conceal(err))
}
