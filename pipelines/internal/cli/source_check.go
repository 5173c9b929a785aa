package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// checkedSource is one place of a source, checked.
type checkedSource struct {
	Source string `json:"source"`
	Place  string `json:"place"`
	Hash   string `json:"hash"`
	// Local is about the file in the local caches, Upstream about what the place
	// gave: "ok", or what is wrong; "" where it was not asked.
	Local    string `json:"local"`
	Upstream string `json:"upstream,omitempty"`
	// Wrong is true where there are other bytes than declared.
	Wrong bool `json:"wrong"`
}

// What a check finds, beside sentences.
const (
	checkedOK = "ok"
	notCached = "not cached"
)

func sourceCheckCmd(a *app) *cobra.Command {
	var o sourceOptions
	var upstream bool
	cmd := o.command(a, "check", "Hash sources again, in the cache or as their places give them",
		"Hash every file of the sources that is in the local cache. With --upstream, also\ndownload each from each of its declared places, and compare. Fails where bytes are\nothers than declared; a place that does not answer is said.",
		func(ctx context.Context, s sources) error {
			list, err := s.check(ctx, upstream)
			if err != nil {
				return err
			}
			if o.json {
				err = printJSON(a.Stdout, list)
			} else {
				err = printChecked(a.Stdout, list, upstream)
			}
			wrong := 0
			for _, l := range list {
				if l.Wrong {
					wrong++
				}
			}
			if wrong > 0 {
				err = errors.Join(err, fmt.Errorf("%d of %d places have other bytes than versions.yaml declares: see the table; remove a damaged file from the cache, or correct the declared hash if the change is meant", wrong, len(list)))
			}
			return err
		})
	cmd.Flags().BoolVar(&upstream, "upstream", false, "ask every declared place too")
	return cmd
}

func printChecked(w io.Writer, list []checkedSource, upstream bool) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "SOURCE\tPLACE\tHASH\tLOCAL")
	if upstream {
		fmt.Fprint(table, "\tUPSTREAM")
	}
	fmt.Fprintln(table)
	for _, l := range list {
		fmt.Fprintf(table, "%s\t%s\t%.19s\t%s", l.Source, l.Place, l.Hash, l.Local)
		if upstream {
			fmt.Fprintf(table, "\t%s", l.Upstream)
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

func (s sources) check(ctx context.Context, upstream bool) ([]checkedSource, error) {
	list := []checkedSource{}
	for _, p := range s.pinned {
		for _, place := range p.source.Places {
			l := checkedSource{Source: p.path, Place: place.Name, Hash: place.Hash(), Local: notCached}
			state, err := s.fetcher.Check(ctx, place)
			if err != nil {
				return nil, fmt.Errorf("checking source %q: %w", p.path, err)
			}
			if state.Cached {
				l.Local = checkedOK
			}
			if state.Damage != "" {
				l.Local, l.Wrong = state.Damage, true
			}
			if upstream {
				if err := s.ask(ctx, p, place, &l); err != nil {
					return nil, err
				}
			}
			list = append(list, l)
		}
	}
	return list, nil
}

// ask compares what a place gives.
func (s sources) ask(ctx context.Context, p pinned, place versions.Place, l *checkedSource) error {
	stage := s.ws.Report.Stage(p.path, "source")
	_, err := s.fetcher.Ask(ctx, p.source, place.Name, filepath.Join(s.ws.Cache, "work"), stage.Bytes, func(text string) { s.ws.Report.Note(p.path, text) })
	stage.End(err, place.Name)
	var other *source.Mismatch
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		l.Upstream = checkedOK
	case errors.As(err, &other):
		l.Upstream, l.Wrong = "gave "+other.Got, true
	default:
		l.Upstream = "no answer"
		s.ws.Report.Note(p.path, err.Error())
	}
	return nil
}
