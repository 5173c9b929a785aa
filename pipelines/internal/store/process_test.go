package store

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	orasoci "oras.land/oras-go/v2/content/oci"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var fixed = time.Unix(1772323200, 0)

// roleVariable makes the test binary a second process that uses the store in
// the folder named by folderVariable.
const (
	roleVariable    = "STORE_TEST_ROLE"
	folderVariable  = "STORE_TEST_FOLDER"
	scratchVariable = "STORE_TEST_SCRATCH"
)

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := child(role); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// numbered returns the artifact that all processes put under a number, without its
// tarball.
func numbered(number int) Put {
	recipe := fmt.Appendf(nil, `{"number":%d}`, number)
	return Put{
		Ref:    Ref{Asset: "qemu", Arch: "x86_64", Key: digest.FromBytes(recipe).Encoded()},
		Recipe: recipe, Record: []byte("{}"),
	}
}

// withTarball adds a tarball of a megabyte, large enough to kill a process that writes it.
func withTarball(p Put, scratch string) (Put, error) {
	p.Tarball = filepath.Join(scratch, p.Key)
	key, err := strconv.ParseInt(p.Key[:6], 16, 32)
	if err != nil {
		return p, err
	}
	return p, os.WriteFile(p.Tarball, tarballOf(int(key), 1<<20), 0o644)
}

// child runs in another process. In the role "hold", it takes a lock, prints that it has
// it, and waits to be killed. In the role of a number, it puts artifacts from that number
// on, and prints each one that is stored.
func child(role string) error {
	s := Open(os.Getenv(folderVariable), nil)
	scratch := os.Getenv(scratchVariable)
	ctx := context.Background()
	if role == "hold" {
		if _, err := s.Lock(ctx, numbered(0).Ref); err != nil {
			return err
		}
		fmt.Println("held")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}
	if strings.Contains(role, " ") {
		return registryChild(s, role)
	}
	first, err := strconv.Atoi(role)
	if err != nil {
		return err
	}
	for i := first; i < first+40; i++ {
		p, err := withTarball(numbered(i), scratch)
		if err != nil {
			return err
		}
		if _, err := s.Put(ctx, p); err != nil {
			return err
		}
		fmt.Println(i)
	}
	return nil
}

func start(t *testing.T, role, folder string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, folderVariable+"="+folder, scratchVariable+"="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// It stays open: the child reads it until it is killed, or this process ends.
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func TestConcurrentPuts(t *testing.T) {
	s, n := open(t)
	one, lines1 := start(t, "0", s.dir)
	two, lines2 := start(t, "20", s.dir)
	for lines1.Scan() {
		if _, err := s.List(t.Context()); err != nil {
			t.Errorf("List meanwhile: %v", err)
		}
	}
	for lines2.Scan() {
	}
	if err := errors.Join(one.Wait(), two.Wait()); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 60 {
		t.Errorf("List: %d artifacts, %v; want 60", len(list), err)
	}
	n.want(t)
}

// TestKilledPuts kills writers at many moments.
func TestKilledPuts(t *testing.T) {
	s, n := open(t)
	in := map[int]bool{}
	for round := range 12 {
		cmd, lines := start(t, strconv.Itoa(100*round), s.dir)
		time.AfterFunc(time.Duration(15+11*round)*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
			number, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatal(err)
			}
			in[number] = true
		}
		_ = cmd.Wait()
		for number := range in {
			if _, err := s.Get(t.Context(), numbered(number).Ref); err != nil {
				t.Fatalf("round %d: artifact %d is lost: %v", round, number, err)
			}
		}
		root := s.layout("qemu").Root
		if _, err := os.Stat(indexPath(s.layout("qemu"))); err == nil {
			if _, err := orasoci.New(root); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
	}
	t.Logf("%d puts before the kills", len(in))
	last, err := withTarball(numbered(99999), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, last)
	if _, err := os.Stat(s.layout("qemu").Root + "/ingest"); err == nil {
		entries, err := os.ReadDir(s.layout("qemu").Root + "/ingest")
		if err != nil || len(entries) > 0 {
			t.Errorf("left behind: %v, %v", entries, err)
		}
	}
	n.want(t)
}

func TestLock(t *testing.T) {
	s, n := open(t)
	ref := numbered(0).Ref
	cmd, lines := start(t, "hold", s.dir)
	if !lines.Scan() {
		t.Fatal("the other process took no lock")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*(50*time.Millisecond))
	defer cancel()
	if _, err := s.Lock(ctx, ref); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Lock of a held key: %v, want %v", err, context.DeadlineExceeded)
	}
	n.want(t, "waiting for another build of qemu")
	other, err := s.Lock(t.Context(), numbered(1).Ref)
	if err != nil {
		t.Fatal(err)
	}
	other()
	time.AfterFunc(2*(50*time.Millisecond), func() { _ = cmd.Process.Kill() })
	unlock, err := s.Lock(t.Context(), ref)
	if err != nil {
		t.Fatalf("Lock after its holder crashed: %v", err)
	}
	_ = cmd.Wait()
	got := make(chan error)
	go func() {
		second, err := s.Lock(t.Context(), ref)
		if err == nil {
			second()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("two hold the lock in one process: %v", err)
	case <-time.After(3 * (50 * time.Millisecond)):
	}
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
	n.want(t, "waiting", "waiting", "waiting")
	if _, err := s.Lock(t.Context(), Ref{}); err == nil {
		t.Error("Lock of nothing: no error")
	}
}
