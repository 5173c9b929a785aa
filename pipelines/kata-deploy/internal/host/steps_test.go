package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/cri"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/plan"
)

const (
	tree   = "/host/opt/kata"
	dropIn = "/opt/kata/drop-in.toml"
	unit   = "/host/etc/systemd/system/one.service"
	crio   = "/etc/crio/crio.conf.d/99-kata-deploy"
	main   = "/etc/containerd/config.toml"
)

// installation is a plan whose files hold a word; the empty word is none.
func installation(word string) plan.Plan {
	p := plan.Empty(tree)
	if word == "" {
		return p
	}
	p.Sources = map[string]plan.Source{}
	entry := func(at, content string) plan.Entry {
		sum := sha256.Sum256([]byte(content))
		p.Sources[at] = plan.Source{Content: []byte(content)}
		return plan.Entry{Path: at, Mode: "0644", Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
	}
	p.Files = []plan.Entry{entry("bin/"+word, word), entry("drop-in.toml", "# "+word+"\n")}
	p.Outside = []plan.Entry{entry(unit, word), entry(crio, word)}
	p.Imports = []plan.Import{{File: main, Value: dropIn}}
	if word == "linked" {
		p.Outside = append(p.Outside, plan.Entry{Path: "/host/etc/systemd/system/x.wants/one.service", Link: "/etc/systemd/system/one.service"})
	}
	return p
}

// bring goes the first steps of a switch, all of them if steps is negative, and reports how
// many there are. A switch that is not finished is left as a kill leaves it.
func bring(t *testing.T, h Host, p plan.Plan, steps int) int {
	t.Helper()
	state, err := h.State(tree)
	var d Diff
	if err == nil {
		d, err = h.Diff(t.Context(), p, state)
	}
	var in *Installation
	if err == nil {
		in, err = h.prepare(t.Context(), p, nil, state, d)
	}
	if err != nil {
		t.Fatal(err)
	}
	all := in.steps(d)
	for i, s := range all {
		if i == steps {
			break
		}
		if err := in.do(s); err != nil {
			t.Fatal(err)
		}
	}
	if steps >= 0 {
		in.staged.abandon()
		return len(all)
	}
	if err := in.Finish(); err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// abandon frees the locks that the end of a process frees.
func (st *staged) abandon() {
	if st.tree != nil {
		_ = st.tree.Close()
	}
	for _, p := range st.pending {
		_ = p.Close()
	}
}

func node(t *testing.T) Host {
	t.Helper()
	h := Host{Root: t.TempDir()}
	for at, content := range map[string]string{main: "version = 3\n", "/host/opt/kata/admin": "mine"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(h.path(at)), 0o755), os.WriteFile(h.path(at), []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// A kill between any two steps leaves what the package promises, and the next run ends in
// what it wants, whether it goes on or goes back.
func TestEveryStep(t *testing.T) {
	for _, c := range [][2]string{{"", "linked"}, {"one", "linked"}, {"linked", "one"}, {"linked", ""}} {
		from, to := c[0], c[1]
		t.Run(from+" to "+to, func(t *testing.T) {
			t.Parallel()
			for n, total := 0, 1; n <= total; n++ {
				for _, next := range []string{from, to, "two"} {
					h := node(t)
					bring(t, h, installation(from), -1)
					total = bring(t, h, installation(to), n)
					promised(t, h, from, to)
					bring(t, h, installation(next), -1)
					if reached(t, h, next); t.Failed() {
						t.Fatalf("killed after step %d of %d, then to %q", n, total, next)
					}
				}
			}
		})
	}
}

// promised checks what a kill leaves.
func promised(t *testing.T, h Host, from, to string) {
	t.Helper()
	read := func(at string) string {
		data, _ := os.ReadFile(h.path(at))
		return string(data)
	}
	m, err := cri.ParseMain([]byte(read(main)))
	if err != nil {
		t.Error(err)
	}
	if slices.Contains(m.Imports, dropIn) && !files.Exists(h.path("/host"+dropIn)) {
		t.Error("containerd imports a file that does not exist")
	}
	if got := read(unit); got != from && got != to {
		t.Errorf("the unit is %q", got)
	}
	// CRI-O reads every file of the folder.
	for _, at := range slices.Concat(h.Glob("/etc/crio/crio.conf.d/*"), h.Glob("/etc/crio/crio.conf.d/.*")) {
		if got := read(at); at != crio || got != from && got != to {
			t.Errorf("CRI-O reads %q in %s", got, at)
		}
	}
	for _, word := range []string{from, to} {
		other := from + to
		other = other[:len(other)-len(word)]
		if word == from {
			other = to
		}
		if (word == "" || read(tree+"/bin/"+word) == word) && (other == "" || !files.Exists(h.path(tree+"/bin/"+other))) {
			return
		}
	}
	t.Error("the tree is neither installation")
}

// reached checks that the node has an installation, all of it and nothing else.
func reached(t *testing.T, h Host, word string) {
	t.Helper()
	want := []string{"etc/containerd/config.toml", "host/opt/kata/admin"}
	if word != "" {
		want = append(want, "etc/crio/crio.conf.d/99-kata-deploy", "host/etc/systemd/system/one.service", "host/opt/kata.manifest.json", "host/opt/kata/bin/"+word, "host/opt/kata/drop-in.toml")
	}
	if word == "linked" {
		want = append(want, "host/etc/systemd/system/x.wants/one.service")
	}
	var got []string
	err := filepath.WalkDir(h.Root, func(at string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			rest, _ := filepath.Rel(h.Root, at)
			got = append(got, rest)
		}
		return err
	})
	slices.Sort(want)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("for %q there is %q, want %q: %v", word, got, want, err)
	}
	data, _ := os.ReadFile(h.path(main))
	if m, _ := cri.ParseMain(data); slices.Contains(m.Imports, dropIn) != (word != "") {
		t.Errorf("for %q the imports are %q", word, m.Imports)
	}
}
