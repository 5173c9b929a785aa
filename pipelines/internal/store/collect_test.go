package store

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// aged makes everything in a store as old as that, as if no process used it.
func aged(t testing.TB, s *Local, age time.Duration) {
	t.Helper()
	s.Release()
	then := time.Now().Add(-age)
	if err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.Contains(path, "/blobs/sha256/") {
			err = os.Chtimes(path, then, then)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

const month = 30 * 24 * time.Hour

func items(t testing.TB, s *Local) []Item {
	t.Helper()
	all, err := s.Items(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// removeAll removes entries and returns those that stayed.
func removeAll(t testing.TB, s *Local, which []Item) (freed int64, inUse []Item) {
	t.Helper()
	freed, inUse, err := s.Remove(t.Context(), which)
	if err != nil {
		t.Fatal(err)
	}
	return freed, inUse
}

func blobCount(t testing.TB, s *Local, name string) int {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(s.dir, name, "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestRemove(t *testing.T) {
	s, n := open(t)
	first, second := sample(t, "qemu", "x86_64", 1), sample(t, "qemu", "x86_64", 2)
	second.Tarball = first.Tarball // Both name the same blob.
	artifact := put(t, s, first)
	put(t, s, second)
	if err := s.Attach(t.Context(), artifact, Proof, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	aged(t, s, month)
	all := items(t, s)
	if len(all) != 2 || len(all[0].Blobs)+len(all[1].Blobs) != 4+4+3 {
		t.Fatalf("items %+v, want two, one of them with a proof", all)
	}
	gone := slices.DeleteFunc(all, func(item Item) bool { return item.Key != first.Key })
	freed, inUse := removeAll(t, s, gone)
	if freed <= 0 || freed > 10_000 || len(inUse) != 0 {
		t.Errorf("freed %d, in use %v: want the recipe, two manifests and a proof, not the shared tarball", freed, inUse)
	}
	wantMiss(t, s, first.Ref)
	whole(t, s, second)
	if got := blobCount(t, s, "qemu"); got != 4 {
		t.Errorf("%d blobs are left, want 4", got)
	}
	sound(t, s)
	n.want(t)
}

// whole makes sure that the store has all of an artifact.
func whole(t *testing.T, s *Local, p Put) {
	t.Helper()
	artifact, err := s.Get(t.Context(), p.Ref)
	if err != nil {
		t.Fatal(err)
	}
	same(t, s, artifact, p)
}

// TestRemoveKeepsWhatIsUsed has entries that are used between the listing and the removal.
func TestRemoveKeepsWhatIsUsed(t *testing.T) {
	s, _ := open(t)
	p, other := sample(t, "qemu", "x86_64", 1), sample(t, "qemu", "x86_64", 2)
	put(t, s, p)
	put(t, s, other)
	if all := items(t, s); !all[0].InUse || !all[1].InUse {
		t.Errorf("what was just built is not in use: %+v", all)
	}
	aged(t, s, month)
	all := items(t, s)
	if all[0].InUse || time.Since(all[0].Used) < month {
		t.Errorf("in use %t, used %s", all[0].InUse, all[0].Used)
	}
	build := Open(s.dir, nil) // Another process.
	if _, _, err := (&Tiered{Local: build}).Find(t.Context(), p.Ref); err != nil {
		t.Fatal(err)
	}
	_, inUse := removeAll(t, s, all)
	if len(inUse) != 1 || inUse[0].Key != p.Key {
		t.Errorf("in use: %+v, want the entry that was found", inUse)
	}
	wantMiss(t, s, other.Ref)
	whole(t, s, p)
	// The use of a process that has ended counts, too.
	build.Release()
	if _, inUse := removeAll(t, s, all); len(inUse) != 1 {
		t.Error("removed what was used after it was listed")
	}
	if used := items(t, s)[0].Used; time.Since(used) > time.Minute {
		t.Errorf("last use %s, want now", used)
	}
}

// TestRemoveBesidePull has a pull that has found a blob of an entry that is removed.
func TestRemoveBesidePull(t *testing.T) {
	host := registrytest.New(t)
	p, other := sample(t, "qemu", "x86_64", 1), sample(t, "qemu", "x86_64", 2)
	other.Tarball = p.Tarball
	pushed(t, host, other)
	s, _ := open(t)
	put(t, s, p)
	aged(t, s, month)
	all := items(t, s)
	reached, resume := make(chan struct{}), make(chan struct{})
	r, _, _ := connect(t, host, registrytest.Rule{Path: "/blobs/", Nth: 1, Do: func(request *http.Request, base http.RoundTripper) (*http.Response, error) {
		close(reached)
		<-resume
		return base.RoundTrip(request)
	}})
	pulled := make(chan error)
	go func() {
		_, err := r.Pull(t.Context(), other.Ref, s)
		pulled <- err
	}()
	<-reached // It has not yet looked for the tarball.
	removeAll(t, s, all)
	close(resume)
	if err := <-pulled; err != nil {
		t.Fatal(err)
	}
	whole(t, s, other)
	wantMiss(t, s, p.Ref)
	// Blobs that a killed pull left stay for a day.
	young := s.layout("qemu").Path(digest.FromString("young"))
	if err := os.WriteFile(young, []byte("young"), 0o444); err != nil {
		t.Fatal(err)
	}
	removeAll(t, s, nil)
	if _, err := os.Stat(young); err != nil {
		t.Errorf("a young blob is gone: %v", err)
	}
	aged(t, s, 25*time.Hour)
	removeAll(t, s, nil)
	if _, err := os.Stat(young); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an old blob that nothing names stays: %v", err)
	}
	sound(t, s)
}

// TestClockSkew has files from the future: they count as used now.
func TestClockSkew(t *testing.T) {
	s, _ := open(t)
	p := sample(t, "qemu", "x86_64", 1)
	put(t, s, p)
	aged(t, s, -365*24*time.Hour)
	all := items(t, s)
	aged(t, s, -400*24*time.Hour)
	if _, inUse := removeAll(t, s, all); len(inUse) != 1 {
		t.Error("removed an entry whose time of use grew")
	}
	whole(t, s, p)
}

// TestRemoveFromBrokenIndex has an index that is rebuilt first, without losing an entry.
func TestRemoveFromBrokenIndex(t *testing.T) {
	s, n := open(t)
	p, other := sample(t, "qemu", "x86_64", 1), sample(t, "qemu", "x86_64", 2)
	put(t, s, p)
	put(t, s, other)
	aged(t, s, month)
	if err := os.WriteFile(indexPath(s.layout("qemu")), []byte(`{"schemaVersion":`), 0o644); err != nil {
		t.Fatal(err)
	}
	all := items(t, s)
	if len(all) != 2 {
		t.Fatalf("%d items, want 2", len(all))
	}
	removeAll(t, s, all[:1])
	n.want(t, "rebuilt")
	left := items(t, s)
	if len(left) != 1 || left[0].Key == all[0].Key {
		t.Errorf("left %+v", left)
	}
	sound(t, s)
}

// TestRemoveWithoutPermission has a store that this user may only read.
func TestRemoveWithoutPermission(t *testing.T) {
	s, _ := open(t)
	p := sample(t, "qemu", "x86_64", 1)
	put(t, s, p)
	aged(t, s, month)
	// Root may write everywhere, so another user lists and removes.
	if dir := os.Getenv("KATA_TEST_FOREIGN_STORE"); dir != "" {
		s = Open(dir, nil)
		all, err := s.Items(t.Context())
		fmt.Println("listed", len(all), err)
		_, _, err = s.Remove(t.Context(), all)
		fmt.Println("removed", err)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	for dir := s.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(filepath.Dir(s.dir), "test")
	if data, err := os.ReadFile("/proc/self/exe"); err != nil || os.WriteFile(program, data, 0o755) != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(filepath.Dir(s.dir), "tmp")
	if err := errors.Join(os.Mkdir(tmp, 0o755), os.Chown(tmp, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "-test.run=^TestRemoveWithoutPermission$")
	cmd.Dir, cmd.Env = tmp, append(os.Environ(), "KATA_TEST_FOREIGN_STORE="+s.dir, "TMPDIR="+tmp)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "listed 1 <nil>") || !strings.Contains(string(out), "permission denied") {
		t.Errorf("%v:\n%s", err, out)
	}
	whole(t, s, p)
}

// TestKilledRemoval kills a process that removes entries, at random moments.
func TestKilledRemoval(t *testing.T) {
	if dir := os.Getenv("KATA_TEST_REMOVE"); dir != "" {
		s := Open(dir, nil)
		all := items(t, s)
		fmt.Println("begins")
		for i := range all {
			removeAll(t, s, all[i:i+1])
		}
		return
	}
	s, _ := open(t)
	keep := sample(t, "ovmf", "x86_64", 1)
	put(t, s, keep)
	kept := func(item Item) bool { return item.Name == "ovmf" }
	for round := range 12 {
		for i := range 12 {
			artifact := put(t, s, sample(t, "qemu", "x86_64", 100+i))
			if err := s.Attach(t.Context(), artifact, Proof, []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		aged(t, s, month)
		hold := Open(s.dir, nil)
		if _, _, err := (&Tiered{Local: hold}).Find(t.Context(), keep.Ref); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestKilledRemoval$")
		cmd.Env = append(os.Environ(), "KATA_TEST_REMOVE="+s.dir)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			_, err = out.Read(make([]byte, 1))
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(round*6) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // It was killed.
		hold.Release()
		sound(t, s)
		whole(t, s, keep)
		before := items(t, s)
		t.Logf("round %d: %d of 12 entries were left", round, len(before)-1)
		removeAll(t, s, slices.DeleteFunc(before, kept))
		if left := items(t, s); len(left) != 1 {
			t.Fatalf("the next run left %+v", left)
		}
		if got := blobCount(t, s, "qemu"); got != 0 {
			t.Fatalf("the next run left %d blobs", got)
		}
	}
}
