// Package progress tells a person or a log what the program is doing: one line
// for each finished stage with its elapsed time, and in between whatever suits
// the reader. A terminal gets lines that are repainted in place; a pipe gets a
// line a minute while a stage is still at work; GitHub Actions gets the log of
// each stage in a group that folds, and errors as annotations.
package progress

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Mode says who reads the progress.
type Mode int

// The readers that progress is written for.
const (
	Plain Mode = iota
	Terminal
	GitHub
)

// Reporter writes the progress of one run. It is safe for concurrent use, and
// a nil Reporter reports nothing.
type Reporter struct {
	out   io.Writer
	mode  Mode
	width func() int
	now   func() time.Time

	mu      sync.Mutex
	active  []*Stage
	painted int
	stop    chan struct{}
	stopped sync.WaitGroup
}

// New returns a reporter that writes to out. Width returns the columns of the
// terminal, and is called only in mode Terminal. Close ends it.
func New(out io.Writer, mode Mode, width func() int) *Reporter {
	r := &Reporter{out: out, mode: mode, width: width, now: time.Now, stop: make(chan struct{})}
	every := time.Minute
	if mode == Terminal {
		every = 100 * time.Millisecond
	}
	r.stopped.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				r.tick()
			case <-r.stop:
				return
			}
		}
	})
	return r
}

// Close ends the repainting. Stages that are still open leave no line.
func (r *Reporter) Close() {
	if r == nil {
		return
	}
	close(r.stop)
	r.stopped.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.erase()
}

// Note writes a text about a subject, such as the name of an asset.
func (r *Reporter) Note(subject, text string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.erase()
	fmt.Fprintln(r.out, PrintableLines(subject+"  "+text))
	r.paint()
}

// Stage begins a stage of work on a subject. A nil Reporter returns a nil Stage.
func (r *Reporter) Stage(subject, name string) *Stage {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &Stage{reporter: r, subject: Printable(subject), name: Printable(name), begin: r.now()}
	r.active = append(r.active, s)
	if r.mode == GitHub {
		fmt.Fprintf(r.out, "::group::%s  %s\n", s.subject, s.name)
	}
	return s
}

// Stage is one piece of work. Its methods are safe for concurrent use, and a
// nil Stage reports nothing.
type Stage struct {
	reporter      *Reporter
	subject, name string
	begin         time.Time
	status        string
	done, total   int64
	partial       []byte
	ended         bool
}

// Note writes a text about the stage's subject.
func (s *Stage) Note(text string) {
	if s != nil {
		s.reporter.Note(s.subject, text)
	}
}

// Bytes reports how far a transfer is; total is 0 where it is not known.
func (s *Stage) Bytes(done, total int64) {
	if s == nil {
		return
	}
	s.reporter.mu.Lock()
	defer s.reporter.mu.Unlock()
	s.done, s.total = done, total
}

// Write takes the stage's log, of which a terminal shows the latest line and
// GitHub Actions everything. It never fails.
func (s *Stage) Write(p []byte) (int, error) {
	if s == nil {
		return len(p), nil
	}
	s.reporter.mu.Lock()
	defer s.reporter.mu.Unlock()
	s.partial = append(s.partial, p...)
	for {
		i := slices.Index(s.partial, '\n')
		if i < 0 {
			return len(p), nil
		}
		line := Printable(string(s.partial[:i]))
		s.partial = s.partial[i+1:]
		if line == "" {
			continue
		}
		s.status = line
		if s.reporter.mode == GitHub {
			fmt.Fprintln(s.reporter.out, line)
		}
	}
}

// End writes the stage's line: its time, and the detail or the fact that it
// failed; the caller reports the error itself. Only the first call counts.
func (s *Stage) End(err error, detail string) {
	if s == nil {
		return
	}
	r := s.reporter
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	r.active = slices.DeleteFunc(r.active, func(other *Stage) bool { return other == s })
	r.erase()
	if r.mode == GitHub {
		fmt.Fprintln(r.out, "::endgroup::")
	}
	detail = PrintableLines(detail)
	if err != nil {
		detail = "failed"
		if r.mode == Terminal {
			detail = "\x1b[31mfailed\x1b[0m"
		}
	}
	fmt.Fprintln(r.out, s.line(detail))
	r.paint()
}

func (s *Stage) line(detail string) string {
	line := fmt.Sprintf("%s  %-10s %7s", s.subject, s.name, Elapsed(s.reporter.now().Sub(s.begin)))
	if detail != "" {
		line += "  " + detail
	}
	return line
}

// plainWidth is where lines about the work are cut if there is no terminal: a
// compiler's call can have thousands of characters.
const plainWidth = 120

// tick shows the stages at work.
func (r *Reporter) tick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.mode {
	case Terminal:
		r.erase()
		r.paint()
	case Plain:
		for _, s := range r.active {
			if r.now().Sub(s.begin) >= time.Minute {
				fmt.Fprintln(r.out, cut(s.line("... "+s.activity()), plainWidth))
			}
		}
	}
}

// activity is the state of a transfer, or the latest line of the log.
func (s *Stage) activity() string {
	switch {
	case s.total > 0:
		return fmt.Sprintf("%s %3d%% of %s", bar(s.done, s.total), 100*s.done/s.total, Size(s.total))
	case s.done > 0:
		return Size(s.done)
	}
	return s.status
}

func (r *Reporter) erase() {
	if r.painted > 0 {
		fmt.Fprintf(r.out, "\x1b[%dA\x1b[J", r.painted)
		r.painted = 0
	}
}

func (r *Reporter) paint() {
	if r.mode != Terminal {
		return
	}
	for _, s := range r.active {
		fmt.Fprintln(r.out, cut(s.line(s.activity()), r.width()-1))
	}
	r.painted = len(r.active)
}
