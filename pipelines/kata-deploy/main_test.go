package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		args, action, want string
		dryRun             bool
	}{
		{"install", "install", "", false},
		{"--dry-run cleanup", "cleanup", "", true},
		{"ready", "ready", "", false},
		{"", "", `the action is "": want install, cleanup, reset or ready`, false},
		{"instal", "", `the action is "instal"`, false},
		{"install now", "", `unexpected argument "now"`, false},
		{"install --force", "", "-force", false},
	} {
		action, dryRun, err := parse(strings.Fields(test.args))
		if action != test.action || dryRun != test.dryRun || (err == nil) != (test.want == "") || err != nil && (!errors.Is(err, errUsage) || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%q: %q, %v, %v; want %q", test.args, action, dryRun, err, test.want)
		}
	}
}

// TestReady: a container is ready once install has left its file, not before.
func TestReady(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ready")
	if err := ready(file); err == nil || !strings.Contains(err.Error(), "not installed yet") {
		t.Errorf("before: %v", err)
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := ready(file); err != nil {
		t.Errorf("after: %v", err)
	}
}
