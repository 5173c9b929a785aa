package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// listen listens on a unix socket.
func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// dial connects a client.
func dial(t *testing.T, to net.Listener) *Client {
	t.Helper()
	connection, err := new(net.Dialer).DialContext(t.Context(), "unix", to.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client := NewClient(connection)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestStandIn(t *testing.T) {
	listener := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	want := Version{API: "0.0.1", Agent: "0.0.0" + StandIn}
	go func() { done <- Serve(ctx, listener, want) }()
	client := dial(t, listener)
	if err := client.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := client.Version(t.Context()); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := client.Details(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "calling GetGuestDetails of the agent: ") {
		t.Errorf("a stand-in has details: %v", err)
	}
	cancel()
	_ = listener.Close()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("it serves on")
	}
}

// fake is an agent whose answers are bytes by method, and which keeps the requests.
type fake struct {
	answers  map[string]message
	requests []string
}

func (f *fake) serve(t *testing.T) *Client {
	t.Helper()
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	services := map[string]map[string]ttrpc.Method{health: {}, service: {}}
	for method, answer := range f.answers {
		of := service
		if method == "Check" || method == "Version" {
			of = health
		}
		services[of][method] = func(_ context.Context, unmarshal func(any) error) (any, error) {
			in, out := new(emptypb.Empty), new(emptypb.Empty)
			err := unmarshal(in)
			f.requests = append(f.requests, method+" "+show(in.ProtoReflect().GetUnknown()))
			out.ProtoReflect().SetUnknown([]byte(answer))
			return out, err
		}
	}
	for name, methods := range services {
		server.Register(name, methods)
	}
	listener := listen(t)
	go func() { _ = server.Serve(context.WithoutCancel(t.Context()), listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return dial(t, listener)
}

// show writes a message as its fields, those nested in it in braces.
func show(data []byte) string {
	f, err := parse(data)
	if err != nil {
		return fmt.Sprintf("%q", data)
	}
	var parts []string
	for number, value := range f.numbers {
		parts = append(parts, fmt.Sprintf("%d:%d", number, value))
	}
	for number, values := range f.bytes {
		for _, value := range values {
			shown := fmt.Sprintf("%q", value)
			if len(value) == 0 || value[0] < ' ' {
				shown = "{" + show(value) + "}"
			}
			parts = append(parts, fmt.Sprintf("%d:%s", number, shown))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

func TestDetails(t *testing.T) {
	details := message{}.text(1, "3.28.0").number(2, 1).text(4, "nvdimm", "blk").number(5, 1).text(6, "seccomp")
	f := &fake{answers: map[string]message{"GetGuestDetails": message{}.number(1, 128<<20).nested(2, details)}}
	got, err := f.serve(t).Details(t.Context())
	want := "{Init:true Seccomp:true Devices:[] Storages:[blk nvdimm] Features:[seccomp] MemoryBlock:134217728}"
	if fmt.Sprintf("%+v", got) != want || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestPause sends what a real agent took: see the integration tests for one.
func TestPause(t *testing.T) {
	pids := message{}.nested(1, message{}.nested(3, message{}.number(1, 1)))
	f := &fake{answers: map[string]message{
		"CreateSandbox": nil, "CreateContainer": nil, "StartContainer": nil, "StatsContainer": pids, "RemoveContainer": nil, "DestroySandbox": nil,
	}}
	client, ctx := f.serve(t), t.Context()
	n, err := client.Processes(ctx, "a")
	if err = errors.Join(err, client.CreateSandbox(ctx, "a"), client.StartPause(ctx, "a"), client.RemoveContainer(ctx, "a", 9), client.DestroySandbox(ctx)); err != nil || n != 1 {
		t.Fatalf("%d processes, %v", n, err)
	}
	got := strings.Join(f.requests, "\n")
	for _, want := range []string{
		"StatsContainer 1:\"a\"\nCreateSandbox 1:\"a\" 5:\"a\"\nCreateContainer ",
		"\nStartContainer 1:\"a\"\nRemoveContainer 1:\"a\" 2:9\nDestroySandbox ",
		`1:"image_guest_pull"`, `2:"image_guest_pull={\"metadata\":{\"io.kubernetes.cri.container-type\":\"sandbox\"}}"`,
		`1:"/run/kata-containers/a/rootfs"`, `\n\x03pid"}`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

// TestBadAnswers: each of these is an error.
func TestBadAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		answers map[string]message
		ask     func(*Client) error
		want    string
	}{
		"not serving": {map[string]message{"Check": message{}.number(1, 2)}, func(c *Client) error { return c.Check(t.Context()) },
			"the agent says that its status is 2, not 1 (serving)"},
		"no version": {map[string]message{"Version": nil}, func(c *Client) error { _, err := c.Version(t.Context()); return err },
			"the agent does not say its version"},
		"cut": {map[string]message{"Version": message{}.text(2, "3.28.0")}, func(c *Client) error {
			_, err := parse(message{}.text(2, "3.28.0")[:4])
			return err
		}, "reading field 2 of the answer: unexpected EOF"},
		"no method": {nil, func(c *Client) error { return c.DestroySandbox(t.Context()) }, "calling DestroySandbox of the agent: "},
	} {
		if err := test.ask((&fake{answers: test.answers}).serve(t)); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// TestDial asks a daemon for a port. What the guest says right after the answer is not lost.
func TestDial(t *testing.T) {
	for answer, want := range map[string]string{"OK 1073741824\nguest": "guest", "": "EOF", "no\n": `vhost-device-vsock answers "no"`} {
		listener := listen(t)
		go func() {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			request := make([]byte, len("CONNECT 1024\n"))
			if _, err := io.ReadFull(connection, request); err == nil && string(request) == "CONNECT 1024\n" {
				_, _ = io.WriteString(connection, answer)
			}
			_ = connection.Close()
		}()
		got := ""
		connection, err := Address{Socket: listener.Addr().String()}.Dial(t.Context(), Port)
		if err == nil {
			var data []byte
			data, err = io.ReadAll(connection)
			got = string(data)
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.HasSuffix(got, want) {
			t.Errorf("%q: %s, want %s", answer, got, want)
		}
	}
}
