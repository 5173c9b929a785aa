package qmp_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/qmp"
)

const greeting = `{"QMP": {"version": {"qemu": {"major": 10}}, "capabilities": []}}` + "\n"

// connect speaks with a QEMU that says these lines, whatever it is asked.
func connect(t *testing.T, lines ...string) (*qmp.Client, *strings.Builder) {
	t.Helper()
	var asked strings.Builder
	client, err := qmp.Connect(&asked, strings.NewReader(greeting+`{"return": {}}`+"\n"+strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return client, &asked
}

func TestRealized(t *testing.T) {
	client, asked := connect(t, `{"event": "RESUME", "timestamp": {}}`, `{"return": true}`, `{"return": false}`)
	for _, want := range []bool{true, false} {
		if got, err := client.Realized("disk"); got != want || err != nil {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if want := `{"execute":"qom-get","arguments":{"path":"/machine/peripheral/disk","property":"realized"}}`; !strings.Contains(asked.String(), want) {
		t.Errorf("it was asked %s", asked)
	}
}

func TestRefused(t *testing.T) {
	client, _ := connect(t, `{"error": {"class": "DeviceNotFound", "desc": "no such device"}}`)
	_, err := client.Realized("disk")
	var refused *qmp.Error
	if !errors.As(err, &refused) || refused.Class != "DeviceNotFound" || !strings.Contains(err.Error(), "no such device") {
		t.Errorf("got %v", err)
	}
}

func TestMonitor(t *testing.T) {
	client, _ := connect(t, `{"return": "addr=0 name=\"bios\"\r\n"}`)
	if got, err := client.Monitor("info roms"); err != nil || !strings.Contains(got, `name="bios"`) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestEnd(t *testing.T) {
	client, _ := connect(t)
	if err := client.Do("quit", nil, nil); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	for _, first := range []string{"", "{}", "qemu-system-x86_64: no"} {
		if _, err := qmp.Connect(io.Discard, strings.NewReader(first)); err == nil {
			t.Errorf("%q is a greeting", first)
		}
	}
}
