//go:build linux

package main

import (
	"errors"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// TestAttempt guards against bugs of the init that count as observations of the kernel.
func TestAttempt(t *testing.T) {
	var o serial.Observation
	attempt(func(*serial.Observation) { report.Must(errors.New("broken")) }, &o)
	if o.Error != "broken" {
		t.Errorf("got %q", o.Error)
	}
	defer func() {
		if recover() == nil {
			t.Error("a bug is an observation")
		}
	}()
	attempt(func(*serial.Observation) { panic("bug") }, &o)
}
