package qemu

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

const greeting = `{"QMP": {"version": {"qemu": {"major": 10}}, "capabilities": []}}` + "\n"

// A QEMU that writes the queries to a file, and answers.
func TestExchange(t *testing.T) {
	script := `while read -r line; do
		echo "$line" >&3
		case $line in *quit*) exit 0 ;; esac
		echo '{"event": "RESUME", "timestamp": {}}'; echo '{"return": true}'
	done 3>"$0"`
	asked := t.TempDir() + "/asked"
	cmd := command.New(t.Context(), "sh", "-c", "echo '"+strings.TrimSpace(greeting)+"'; "+script, asked)
	queries := []query{{"qom-get", map[string]string{"path": "/machine/peripheral/disk", "property": "realized"}}}
	answers, err := exchange(t.Context(), cmd, queries)
	realized := false
	if err != nil || len(answers) != 1 || answers[0].into(&realized) != nil || !realized {
		t.Errorf("got %v, %v", answers, err)
	}
	want := `{"execute":"qmp_capabilities"}
{"execute":"qom-get","arguments":{"path":"/machine/peripheral/disk","property":"realized"}}
{"execute":"quit"}
`
	if got, err := os.ReadFile(asked); err != nil || cmp.Diff(want, string(got)) != "" {
		t.Errorf("it was asked %s, %v", got, err)
	}
}

func TestAnswers(t *testing.T) {
	const lines = greeting + `{"event": "RESUME", "timestamp": {}}
{"return": true}
{"return": false}
{"error": {"class": "DeviceNotFound", "desc": "no such device"}}
{"event": "STOP"}
{"return": "addr=0 name=\"bios\"\r\n"}
`
	answers, err := parseAnswers(strings.NewReader(lines), make([]query, 4))
	require.NoError(t, err)
	for i, want := range []bool{true, false} {
		got := !want
		if err := answers[i].into(&got); err != nil || got != want {
			t.Errorf("got %v, %v", got, err)
		}
	}
	text := ""
	if err := answers[2].into(&text); err == nil || !strings.Contains(err.Error(), "no such device") {
		t.Errorf("got %v", err)
	}
	if err := answers[3].into(&text); err != nil || !strings.Contains(text, `name="bios"`) {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestEnd(t *testing.T) {
	if _, err := parseAnswers(strings.NewReader(greeting), []query{{Execute: "info"}}); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "to info") {
		t.Errorf("got %v", err)
	}
	for _, first := range []string{"", "{}", "qemu-system-x86_64: no"} {
		if _, err := parseAnswers(strings.NewReader(first), nil); err == nil {
			t.Errorf("%q is a greeting", first)
		}
	}
}
