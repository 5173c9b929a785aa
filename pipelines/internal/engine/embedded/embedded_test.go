//go:build linux

package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

func TestChooseUplink(t *testing.T) {
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	for _, test := range []struct {
		used []netip.Prefix
		want string
	}{
		{nil, "10.86.255.1/30"},
		{prefixes("192.168.1.0/24"), "10.86.255.1/30"},
		{prefixes("10.86.255.0/30"), "10.86.254.1/30"},
		{prefixes("10.86.254.0/23"), "10.86.253.1/30"},
		{prefixes("10.86.0.0/16"), ""},
	} {
		u, err := nameUplink("/cache").within(test.used)
		if test.want == "" {
			if err == nil {
				t.Errorf("%v: chose %v", test.used, u.Host)
			}
			continue
		}
		if err != nil || u.Host.String() != test.want || u.Inner.Addr() != u.Host.Addr().Next() {
			t.Errorf("%v: got %+v, %v, want %s", test.used, u, err, test.want)
		}
	}
	one := nameUplink("/one")
	two := nameUplink("/two")
	if one.Link == two.Link || one.Table == two.Table {
		t.Errorf("two cache directories share names: %+v, %+v", one, two)
	}
	// The kernel allows 15 bytes.
	if len(one.Link) > 15 {
		t.Errorf("the link's name is too long: %s", one.Link)
	}
}

func TestParseRoutes(t *testing.T) {
	got, err := parseRoutes(`[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]},
{"dst":"192.0.2.0/24","dev":"eth0","protocol":"kernel","scope":"link","prefsrc":"192.0.2.7","flags":[]},
{"dst":"10.87.0.0/16","dev":"dagger0","flags":["linkdown"]},
{"dst":"198.51.100.9","gateway":"192.0.2.1","dev":"eth0","flags":[]},
{"type":"local","dst":"127.0.0.0/8","dev":"lo","table":"local","flags":[]},
{"type":"broadcast","dst":"192.0.2.255","dev":"eth0","table":"local","flags":[]},
{"type":"unreachable","dst":"203.0.113.0/24","dev":"lo","flags":[]}]`)
	require.NoError(t, err)
	var text []string
	for _, prefix := range got {
		text = append(text, prefix.String())
	}
	want := "192.0.2.0/24 10.87.0.0/16 198.51.100.9/32 127.0.0.0/8 192.0.2.255/32 203.0.113.0/24"
	if strings.Join(text, " ") != want {
		t.Errorf("got %v, want %s", text, want)
	}
}

func TestReachable(t *testing.T) {
	for resolv, want := range map[string][]string{
		"nameserver 192.0.2.1\n": {"nameserver 192.0.2.1"},
		"# stub\nnameserver 127.0.0.53\noptions edns0\nsearch example.org\n": nil,
		"nameserver 127.0.0.1\nnameserver  2001:db8::1\nsearch a b\n":        {"nameserver 2001:db8::1", "search a b"},
		"nameserver nonsense\n; comment\n":                                   nil,
		"":                                                                   nil,
	} {
		if got := reachable(resolv); !slices.Equal(got, want) {
			t.Errorf("reachable(%q) = %q, want %q", resolv, got, want)
		}
	}
}

// The engine lives longer than the command that starts it, and than its temporary
// folder.
func TestEngineGetsNoSecrets(t *testing.T) {
	t.Setenv("TOKEN", "secret")
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("https_proxy", "http://proxy")
	cmd, err := config{}.reexec(t.Context())
	require.NoError(t, err)
	environ := strings.Join(cmd.Env, "\n")
	if strings.Contains(environ, "TOKEN") || strings.Contains(environ, "TMPDIR") || !strings.Contains(environ, "https_proxy=http://proxy") || !strings.Contains(environ, configVariable) {
		t.Errorf("the supervisor gets\n%s", environ)
	}
}

func TestState(t *testing.T) {
	m := &Manager{CacheDir: t.TempDir()}
	path := m.statePath()
	require.NoError(t, os.MkdirAll(m.dir(), 0o755))
	if s, err := readState(path); err != nil || s.Supervisor.alive() {
		t.Errorf("a missing state reads as %+v, %v", s, err)
	}
	self, err := identify(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, (state{Supervisor: self}).write(path))
	s, err := readState(path)
	if err != nil || !s.Supervisor.alive() {
		t.Errorf("this process reads as %+v, %v", s, err)
	}
	s.Supervisor.Began += "0"
	if s.Supervisor.alive() {
		t.Error("another process with the same number passed for this one")
	}
	own, err := json.Marshal(s)
	require.NoError(t, err)
	for name, text := range map[string]string{"damaged": `{"superv`, "huge": strings.Repeat(" ", maxState+1)} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		if s, err := readState(path); err == nil || s != (state{}) || !strings.Contains(err.Error(), "remove "+path) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	if os.Geteuid() == 0 {
		require.NoError(t, errors.Join(os.WriteFile(path, own, 0o600), os.Chown(path, 1, 1)))
		if _, err := readState(path); err == nil || !strings.Contains(err.Error(), "belongs to user 1") {
			t.Errorf("the state of another user: %v", err)
		}
	}
}

func TestLongCachePath(t *testing.T) {
	m := &Manager{CacheDir: "/" + strings.Repeat("long/", 30)}
	if _, err := m.config("/bin"); err == nil || !strings.Contains(err.Error(), "--cache-dir") {
		t.Errorf("got %v", err)
	}
}

// Only the processes and the folder of a state are used, and no other process that has
// the number of one is killed.
func TestHostileState(t *testing.T) {
	bystander := command.New(t.Context(), "sleep", "60")
	require.NoError(t, bystander.Start())
	path := filepath.Join(t.TempDir(), "engine.json")
	text := fmt.Sprintf(`{"supervisor": {"pid": %d, "began": "1"}, "init": {"pid": -1, "began": ""}, "build": "/",
		"uplink": {"table": "a\nadd table ip injected\n", "link": "eth0"}}`, bystander.Process.Pid)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	s, err := readState(path)
	require.NoError(t, err)
	for _, p := range []process{s.Supervisor, s.Init, {PID: 1}, {}} {
		if p.alive() {
			t.Errorf("%+v passed for a process of an engine", p)
		}
		if err := end(p); err != nil {
			t.Error(err)
		}
	}
	if err := bystander.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another process was ended: %v", err)
	}
	require.NoError(t, errors.Join(bystander.Process.Kill(), s.write(path)))
	_ = bystander.Wait() // It was killed.
	if data, err := os.ReadFile(path); err != nil || strings.Contains(string(data), "injected") {
		t.Errorf("the state keeps %s, %v", data, err)
	}
}
