package source

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

func TestHasAndCheck(t *testing.T) {
	f, p := fetcher(t), place("upstream", nobody, content)
	states := func() (has, checked State) {
		t.Helper()
		has, err := f.Has(t.Context(), p)
		checked, err2 := f.Check(t.Context(), p)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return has, checked
	}
	if has, checked := states(); has.Cached || checked.Cached {
		t.Errorf("an empty cache has it: %+v, %+v", has, checked)
	}
	path := f.final(p.SHA256)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	want := State{Cached: true, Size: int64(len(content))}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if has, checked := states(); has != want || checked != want {
		t.Errorf("has %+v, checked %+v, want %+v", has, checked, want)
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	has, checked := states()
	if !has.Cached || !checked.Cached || checked.Damage != path+" has sha256 "+hashText("damaged")+" and 7 bytes" {
		t.Errorf("has %+v, checked %+v", has, checked)
	}
	wantFiles(t, f, p.SHA256)
	if state, err := f.Check(t.Context(), versions.Place{Name: "no hash"}); err != nil || state != (State{}) {
		t.Errorf("a place without a hash: %+v, %v", state, err)
	}
}

func TestCheckGoModule(t *testing.T) {
	path := moduleZip(t)
	fakeGo(t, `{"Zip": "`+path+`"}`)
	f := fetcher(t)
	p := versions.Place{Name: "module", Go: &versions.GoModule{Module: "example.com/m", Version: "v1.0.0", Sum: "h1:+0zQIyHQ09LW6vJJiLz1W3/t44LWc5qiAx+i5RKHzdc="}}
	if state, err := f.Has(t.Context(), p); err != nil || state.Cached {
		t.Errorf("Go's module cache has nothing: %+v, %v", state, err)
	}
	goPath, err := filepath.Abs(filepath.Join(firstOfPath(t), "cached"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goPath, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if state, err := f.Has(t.Context(), p); err != nil || !state.Cached || state.Damage != "" || state.Size == 0 {
		t.Errorf("Go's module cache has it: %+v, %v", state, err)
	}
	p.Go.Sum = "h1:other"
	if state, err := f.Check(t.Context(), p); err != nil || state.Damage == "" {
		t.Errorf("another sum: %+v, %v", state, err)
	}
}

// firstOfPath is the folder of the fake go command.
func firstOfPath(t *testing.T) string {
	t.Helper()
	return filepath.SplitList(os.Getenv("PATH"))[0]
}
