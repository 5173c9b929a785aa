// Package progress reports what the program is doing to a person and to log
// files: one line for each finished stage with its elapsed time, and until then
// what suits the reader. A terminal gets lines that are repainted in place; a
// pipe gets a line a minute while a stage is still at work; GitHub Actions gets
// the log of each stage in a group that folds, and errors as annotations.
//
// A Reporter is passed down to whatever does the work, in place of callbacks for
// notes, transferred bytes and logs.
package progress

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mode is the kind of reader.
type Mode int

// The readers that progress is written for.
const (
	Plain Mode = iota
	Terminal
	GitHub
)

// Reporter reports the progress of one run. It is safe for concurrent use, and
// a nil Reporter reports nothing.
type Reporter struct {
	screen *screen
	// log is nil where no file is written.
	log *Log
}

type screen struct {
	out   io.Writer
	mode  Mode
	width func() int

	mu      sync.Mutex
	active  []*Stage
	painted int
	stop    chan struct{}
	stopped sync.WaitGroup
}

// New returns a reporter that writes to out. Width returns the columns of the
// terminal, and is called only in mode Terminal. Close ends it.
func New(out io.Writer, mode Mode, width func() int) *Reporter {
	c := &screen{out: out, mode: mode, width: width, stop: make(chan struct{})}
	every := time.Minute
	if mode == Terminal {
		every = 100 * time.Millisecond
	}
	c.stopped.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				c.tick()
			case <-c.stop:
				return
			}
		}
	})
	return &Reporter{screen: c}
}

// Logged returns a reporter that also writes notes and the output of stages to
// a log, and hides the log's secrets from everyone.
func (r *Reporter) Logged(log *Log) *Reporter {
	if r == nil {
		return &Reporter{&screen{out: io.Discard, stop: make(chan struct{})}, log}
	}
	return &Reporter{r.screen, log}
}

// Close ends the repainting. Stages that are still open leave no line.
func (r *Reporter) Close() {
	if r == nil {
		return
	}
	close(r.screen.stop)
	r.screen.stopped.Wait()
	r.screen.mu.Lock()
	defer r.screen.mu.Unlock()
	r.screen.erase()
}

// Note writes a text about a subject, such as the name of an asset.
func (r *Reporter) Note(subject, text string) {
	if r == nil {
		return
	}
	r.log.Line(text)
	c := r.screen
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	fmt.Fprintln(c.out, PrintableLines(subject+"  "+r.log.Mask(text)))
	c.paint()
}

// Stage begins a stage of work on a subject. A nil Reporter returns a nil Stage.
func (r *Reporter) Stage(subject, name string) *Stage {
	if r == nil {
		return nil
	}
	r.log.Line("== " + name)
	c := r.screen
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &Stage{reporter: r, subject: Printable(subject), name: Printable(r.log.Mask(name)), begin: time.Now()}
	c.active = append(c.active, s)
	if c.mode == GitHub {
		fmt.Fprintf(c.out, "::group::%s  %s\n", s.subject, s.name)
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
	ended         bool

	writing sync.Mutex
	partial string
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
	s.reporter.screen.mu.Lock()
	defer s.reporter.screen.mu.Unlock()
	s.done, s.total = done, total
}

// Write takes the stage's output: a log gets everything, a terminal shows the
// latest line, and GitHub Actions all lines. It never fails.
func (s *Stage) Write(p []byte) (int, error) {
	if s == nil {
		return len(p), nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	lines := strings.Split(s.partial+string(p), "\n")
	s.partial = lines[len(lines)-1]
	for _, line := range lines[:len(lines)-1] {
		s.show(line)
	}
	return len(p), nil
}

// show logs and shows a line of output.
func (s *Stage) show(line string) {
	s.reporter.log.Line(line)
	line = Printable(s.reporter.log.Mask(line))
	if line == "" {
		return
	}
	c := s.reporter.screen
	c.mu.Lock()
	defer c.mu.Unlock()
	s.status = line
	if c.mode == GitHub {
		fmt.Fprintln(c.out, line)
	}
}

// End writes the stage's line: its time, and the detail or the fact that it
// failed; the caller reports the error itself. Only the first call counts.
func (s *Stage) End(err error, detail string) {
	if s == nil {
		return
	}
	if s.partial != "" {
		fmt.Fprintln(s)
	}
	c := s.reporter.screen
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	c.active = slices.DeleteFunc(c.active, func(other *Stage) bool { return other == s })
	c.erase()
	if c.mode == GitHub {
		fmt.Fprintln(c.out, "::endgroup::")
	}
	detail = PrintableLines(s.reporter.log.Mask(detail))
	if err != nil {
		detail = "failed"
		if c.mode == Terminal {
			detail = "\x1b[31mfailed\x1b[0m"
		}
	}
	fmt.Fprintln(c.out, c.line(s, detail))
	c.paint()
}

func (c *screen) line(s *Stage, detail string) string {
	line := fmt.Sprintf("%s  %-10s %7s", s.subject, s.name, Elapsed(time.Since(s.begin)))
	if detail != "" {
		line += "  " + detail
	}
	return line
}

// plainWidth is where lines about the work are cut if there is no terminal: a
// compiler's command line can have thousands of characters.
const plainWidth = 120

func (c *screen) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.mode {
	case Terminal:
		c.erase()
		c.paint()
	case Plain:
		for _, s := range c.active {
			if time.Since(s.begin) >= time.Minute {
				fmt.Fprintln(c.out, cut(c.line(s, "... "+s.activity()), plainWidth))
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

func (c *screen) erase() {
	if c.painted > 0 {
		fmt.Fprintf(c.out, "\x1b[%dA\x1b[J", c.painted)
		c.painted = 0
	}
}

func (c *screen) paint() {
	if c.mode != Terminal {
		return
	}
	for _, s := range c.active {
		fmt.Fprintln(c.out, cut(c.line(s, s.activity()), c.width()-1))
	}
	c.painted = len(c.active)
}
