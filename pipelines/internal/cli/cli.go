// Package cli is the command line: one file per verb, each an options struct,
// its flags, and a run function that calls what does the work. Results go to
// stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed, 2 wrong
// usage.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Process is what the program gets from the one that starts it.
type Process struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
}

// Run runs one command line and returns the exit code.
func Run(ctx context.Context, args []string, process Process) int {
	root := rootCmd(&app{Process: process})
	root.SetArgs(args)
	root.SetOut(process.Stdout)
	root.SetErr(process.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	process.report(ctx, err)
	var usage *workspace.UsageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// usage marks an error as one of the command line.
func usage(err error) error { return workspace.Usage(err) }

func rootCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:           "pipelines",
		Short:         "Build the assets of a Kata Containers release",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownVerb,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w (see `%s --help`)", err, cmd.CommandPath()))
	})
	a.flags(cmd.PersistentFlags())
	cmd.AddCommand(
		buildAssetCmd(a),
		listCmd(a),
		planCmd(a),
		explainCmd(a),
		graphCmd(a),
		matrixCmd(a),
		checkCmd(a),
		kernelConfigCmd(a),
		cacheCmd(a),
		verifyCmd(a),
		sourceCmd(a),
		archiveCmd(a),
		mergeCmd(a),
		reportCmd(a),
		payloadCmd(a),
		releaseCmd(a),
		doctorCmd(a),
		engineCmd(a),
	)
	return cmd
}

// report writes an error for whoever reads stderr. A failed build shows the
// end of its log.
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

// mode says who reads stderr.
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
