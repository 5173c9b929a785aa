package engine

import (
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

func TestAvailable(t *testing.T) {
	r := recipe.Builder{Distribution: "debian", Suite: "trixie", Packages: []string{"gdb", "straece"}}
	if err := available(r, "gdb 16\ngdb 15\n"); err == nil || err.Error() != "debian trixie does not have the packages straece: correct their names in its parts" {
		t.Error(err)
	}
	r.Locked = []recipe.Locked{{Name: "gdb", Version: "14"}, {Name: "gdb", Version: "15"}, {Name: "libc6", Version: "2"}}
	want := "debian trixie does not have the locked packages gdb=14, libc6=2 any more: run `pipelines rootfs lock`"
	if err := available(r, "gdb 16\ngdb 15\n"); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Error(err)
	}
	if err := available(r, "gdb 14\ngdb 15\nlibc6 2\n"); err != nil {
		t.Error(err)
	}
}

func TestLockHolds(t *testing.T) {
	installed, err := parseInstalled("b 2 sha256:bb 20\na 1 sha256:aa 10\nc 3 sha256:cc 5\n")
	if err != nil {
		t.Fatal(err)
	}
	locked := []recipe.Locked{{Name: "a", Version: "1", Hash: "sha256:aa"}, {Name: "b", Version: "2", Hash: "sha256:b0"}, {Name: "d", Version: "4", Hash: "sha256:dd"}}
	want := "the root differs from its lock: b is 2 sha256:bb, and locked is 2 sha256:b0; c 3 is not locked; d 4 is locked, and not installed; run `pipelines rootfs lock`"
	if err := lockHolds(locked, installed); err == nil || err.Error() != want {
		t.Error(err)
	}
	if err := lockHolds(nil, installed); err != nil {
		t.Error(err)
	}
	b := Builder{Installed: installed}
	if largest := b.record().Largest; strings.Join(largest, ";") != "b=2 20;a=1 10;c=3 5" {
		t.Errorf("largest %v", largest)
	}
	for _, text := range []string{"", "a 1 x\n", "a 1 x y\n"} {
		if _, err := parseInstalled(text); err == nil {
			t.Errorf("read %q", text)
		}
	}
}
