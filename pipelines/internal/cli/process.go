package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// Process is the environment of the program: its streams and variables.
type Process struct {
	Stdout, Stderr io.Writer
	Getenv         func(string) string
}

// report writes an error to stderr. A failed build shows the end of its log.
func (p Process) report(ctx context.Context, err error) {
	var failure *build.Failure
	if errors.As(err, &failure) && ctx.Err() == nil {
		fmt.Fprintf(p.Stderr, "the end of %s:\n", failure.Log)
		for _, line := range failure.Tail {
			fmt.Fprintln(p.Stderr, "    "+progress.Printable(line))
		}
	}
	message := "error: " + err.Error()
	switch {
	case ctx.Err() != nil:
		message = "interrupted"
	case failure != nil:
		message += "\n(the whole log is " + failure.Log + ")"
	}
	message = progress.PrintableLines(message) // A registry's words may be in it.
	if p.mode() == progress.GitHub {
		escaped := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(message)
		fmt.Fprintln(p.Stderr, "::error::"+escaped)
		return
	}
	fmt.Fprintln(p.Stderr, message)
}

// mode returns the mode of progress: by who reads stderr.
func (p Process) mode() progress.Mode {
	if p.Getenv("GITHUB_ACTIONS") == "true" {
		return progress.GitHub
	}
	if _, ok := p.terminal(); ok && p.Getenv("TERM") != "dumb" {
		return progress.Terminal
	}
	return progress.Plain
}

func (p Process) terminal() (fd int, ok bool) {
	file, ok := p.Stderr.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return 0, false
	}
	return int(file.Fd()), true
}

func (p Process) reporter() *progress.Reporter {
	fd, _ := p.terminal()
	return progress.New(p.Stderr, p.mode(), func() int {
		width, _, err := term.GetSize(fd)
		if err != nil {
			return 80
		}
		return width
	})
}

// warning prints a warning, in GitHub Actions as an annotation.
func (p Process) warning(text string) {
	prefix := "warning: "
	if p.mode() == progress.GitHub {
		prefix = "::warning::"
	}
	fmt.Fprintln(p.Stderr, prefix+progress.Printable(text))
}

// summarize adds Markdown to the summary of a step of GitHub Actions, if this is one.
func (p Process) summarize(text string) error {
	return p.appendTo("GITHUB_STEP_SUMMARY", text)
}

// output sets an output, of one line, of a step of GitHub Actions, if this is one.
func (p Process) output(name, value string) error {
	return p.appendTo("GITHUB_OUTPUT", name+"="+value+"\n")
}

// appendTo appends to the file that a variable names, if it is set.
func (p Process) appendTo(variable, text string) error {
	path := p.Getenv(variable)
	if path == "" || text == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("writing $%s: %w", variable, err)
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("writing $%s: %w", variable, err)
	}
	return nil
}

// print prints a result: as JSON with --json, in which a list is never null, or else as text.
func (a *app) print(result any, text string) error {
	if !a.json {
		_, err := io.WriteString(a.Stdout, text)
		return err
	}
	encoder := json.NewEncoder(a.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if list := reflect.ValueOf(result); list.Kind() == reflect.Slice && list.IsNil() {
		result = []any{}
	}
	return encoder.Encode(result)
}

// printList prints items as JSON, or as a table.
func printList[T any](a *app, items []T, heading string, row func(T) string) error {
	return a.print(items, table(items, heading, row))
}

// table returns a table. The heading, if any, and the row of an item have their columns
// between tabs.
func table[T any](items []T, heading string, row func(T) string) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	if heading != "" {
		fmt.Fprintln(table, heading)
	}
	for _, item := range items {
		fmt.Fprintln(table, row(item))
	}
	_ = table.Flush() // It writes to memory.
	return text.String()
}

func dash(words ...string) string { return cmp.Or(strings.Join(words, " "), "-") }

func sizeOrDash(n int64) string {
	if n == 0 {
		return "-"
	}
	return progress.Size(n)
}

func shortKey(key string) string { return fmt.Sprintf("%.12s", key) }
