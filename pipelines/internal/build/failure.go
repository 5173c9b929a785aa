package build

import (
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// Failure is a failed build: why, and where its log is.
type Failure struct {
	// Log is the path of the log, Tail its last lines.
	Log  string
	Tail []string
	// Err is the cause, text its text without secrets.
	Err  error
	text string
}

// Error is only the cause; whoever shows the error shows the log.
func (f *Failure) Error() string { return f.text }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// failure ends and closes the log of a build that failed. The tail is what came
// before the error.
func failure(log *progress.Log, err error) *Failure {
	f := &Failure{Log: log.Path(), Tail: log.Tail(), Err: err, text: log.Mask(err.Error())}
	// A log that cannot be written is the lesser problem.
	_ = log.Close("failed: " + err.Error())
	return f
}
