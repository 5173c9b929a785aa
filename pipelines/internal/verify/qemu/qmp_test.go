package qemu

import (
	"errors"
	"io"
	"strings"
	"testing"
)

const greeting = `{"QMP": {"version": {"qemu": {"major": 10}}, "capabilities": []}}` + "\n"

// dialogue speaks with a QEMU that says these lines, whatever it is asked.
func dialogue(t *testing.T, lines ...string) (*client, *strings.Builder) {
	t.Helper()
	var asked strings.Builder
	client, err := connect(&asked, strings.NewReader(greeting+`{"return": {}}`+"\n"+strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return client, &asked
}

func TestRealized(t *testing.T) {
	client, asked := dialogue(t, `{"event": "RESUME", "timestamp": {}}`, `{"return": true}`, `{"return": false}`)
	for _, want := range []bool{true, false} {
		if got, err := client.realized("disk"); got != want || err != nil {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if want := `{"execute":"qom-get","arguments":{"path":"/machine/peripheral/disk","property":"realized"}}`; !strings.Contains(asked.String(), want) {
		t.Errorf("it was asked %s", asked)
	}
}

func TestRefused(t *testing.T) {
	client, _ := dialogue(t, `{"error": {"class": "DeviceNotFound", "desc": "no such device"}}`)
	_, err := client.realized("disk")
	var refused *refusal
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "no such device") {
		t.Errorf("got %v", err)
	}
}

func TestMonitor(t *testing.T) {
	client, _ := dialogue(t, `{"return": "addr=0 name=\"bios\"\r\n"}`)
	if got, err := client.monitor("info roms"); err != nil || !strings.Contains(got, `name="bios"`) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestEnd(t *testing.T) {
	client, _ := dialogue(t)
	if err := client.do("quit", nil, nil); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	for _, first := range []string{"", "{}", "qemu-system-x86_64: no"} {
		if _, err := connect(io.Discard, strings.NewReader(first)); err == nil {
			t.Errorf("%q is a greeting", first)
		}
	}
}
