package serial_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
)

var full = serial.Observation{
	Name: serial.Kernel, Value: "6.18.15", Items: []string{"a", "b"}, Size: 7, SHA256: "00ff", Error: "none \"really\"\nat all",
}

func encode(t *testing.T, o serial.Observation) string {
	t.Helper()
	line, err := serial.Encode(o)
	require.NoError(t, err)
	if strings.ContainsAny(line, "\r\n") {
		t.Fatalf("%q is not one line", line)
	}
	return line
}

func TestRoundTrip(t *testing.T) {
	for _, line := range []string{
		encode(t, full), encode(t, full) + "\r", "[    1.0] the kernel's last line" + encode(t, full) + "\r\n",
	} {
		got, ours, err := serial.Decode(line)
		if err != nil || !ours {
			t.Fatalf("%q: %v, %v", line, ours, err)
		}
		if diff := cmp.Diff(full, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestDecodeOther(t *testing.T) {
	line := encode(t, full)
	for _, test := range []struct {
		line string
		ours bool
	}{
		{"", false},
		{"[    0.000000] Linux version 6.18.15", false},
		{"@kata-verify", false},
		{line[:len(line)-1], true},
		{line + " [    2.0] random: crng init done", true},
		{strings.Replace(line, "6.18", "6.19", 1), true},
		{"@kata-verify ", true},
		{"@kata-verify 00000000 ", true},
		{"@kata-verify 4e5bb1dd nonsense", true},
	} {
		_, ours, err := serial.Decode(test.line)
		if ours != test.ours || (err != nil) != test.ours {
			t.Errorf("%q: ours %v, error %v", test.line, ours, err)
		}
	}
}

func TestPanic(t *testing.T) {
	for line, want := range map[string]string{
		"[    1.5] Kernel panic - not syncing: No working init found.": "Kernel panic - not syncing: No working init found.",
		"[    1.5] VFS: Unable to mount root fs on unknown-block(0,0)": "Unable to mount root fs on unknown-block(0,0)",
		"[    0.0] Command line: console=ttyS0 panic=-1":               "",
		"[    0.1] Kernel command line: panic=-1":                      "",
	} {
		why, is := serial.Panic(line)
		if why != want || is != (want != "") {
			t.Errorf("%q: %q, %v", line, why, is)
		}
	}
}

func FuzzDecode(f *testing.F) {
	line, err := serial.Encode(full)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add("@kata-verify 12345678 {}")
	f.Fuzz(func(t *testing.T, line string) {
		o, ours, err := serial.Decode(line)
		if err != nil || !ours {
			return
		}
		// A decoded line encodes to the same observation.
		again, err := serial.Encode(o)
		require.NoError(t, err)
		if got, _, err := serial.Decode(again); err != nil || !cmp.Equal(got, o) {
			t.Errorf("%+v became %+v, %v", o, got, err)
		}
	})
}
