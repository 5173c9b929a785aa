package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/cargo"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// crates is a registry of crates with a sparse index.
type crates struct {
	t *testing.T
	// files has what the registry serves, by path.
	files map[string]string
	// hashes has the checksums of the published crates, by name.
	hashes map[string]string
}

// publish adds a crate with these files, and returns the lines of a Cargo.lock for it.
func (c crates) publish(name, version string, files map[string]string) (locked string) {
	c.t.Helper()
	var packed bytes.Buffer
	compressed := gzip.NewWriter(&packed)
	archive := tar.NewWriter(compressed)
	for path, text := range files {
		if err := pack(archive, name+"-"+version+"/"+path, int64(len(text)), strings.NewReader(text)); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		c.t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		c.t.Fatal(err)
	}
	c.files["/dl/"+name+"/"+version] = packed.String()
	c.hashes[name] = hashText(packed.String())
	c.files["/index/"+name[:2]+"/"+name[2:4]+"/"+name] += fmt.Sprintf(`{"name":%q,"vers":%q,"cksum":%q,"yanked":false,"deps":[]}`+"\n", name, version, c.hashes[name])
	return fmt.Sprintf("[[package]]\nname = %q\nversion = %q\nsource = %q\nchecksum = %q\n", name, version, cargo.CratesIO, c.hashes[name])
}

func (c crates) yank(name string) {
	path := "/index/" + name[:2] + "/" + name[2:4] + "/" + name
	c.files[path] = strings.Replace(c.files[path], `"yanked":false`, `"yanked":true`, 1)
}

const mainLock = "version = 4\n[[package]]\nname = \"server\"\nversion = \"1.2.0\"\ndependencies = [\"used\"]\n"

// program publishes a program, server 1.2.0, with the lock of two other crates.
func program(t *testing.T) (registry crates, configured func() (*Fetcher, *notes)) {
	registry = crates{t, map[string]string{}, map[string]string{}}
	lock := mainLock + registry.publish("used", "1.0.0", map[string]string{"Cargo.toml": "u"}) +
		registry.publish("windows", "0.5.0", map[string]string{"Cargo.toml": "w"})
	registry.publish("server", "1.2.0", map[string]string{
		"Cargo.lock": lock, "Cargo.toml": "[package]\nname = \"server\"\nversion = \"1.2.0\"\n[dependencies]\nused = \"1\"\n",
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := registry.files[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(content))
	}))
	t.Cleanup(server.Close)
	registry.files["/index/config.json"] = fmt.Sprintf(`{"dl": "%s/dl/{crate}/{version}"}`, server.URL)
	home := t.TempDir()
	config := fmt.Sprintf("[source.crates-io]\nreplace-with = \"ours\"\n[source.ours]\nregistry = \"sparse+%s/index\"\n", server.URL)
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return registry, func() (*Fetcher, *notes) {
		f, n := fetcher(t), &notes{}
		f.Cargo, f.Report = cargo.Config{Home: home}, n.report()
		f.Tree = fstest.MapFS{"assets/server/Cargo.lock": {Data: []byte(lock)}, "assets/bad/Cargo.lock": {Data: []byte("[[package]]\n")}}
		return f, n
	}
}

// fetchCrates fetches a place from the registry of program into a new cache.
func fetchCrates(t *testing.T, configured func() (*Fetcher, *notes), place versions.Cargo, hash string) (Fetched, string, error) {
	f, n := configured()
	got, err := f.Fetch(t.Context(), linux(versions.Place{Name: "crates", Line: 7, SHA256: hash, Cargo: &place}), n.stage())
	return got, n.text(), err
}

var serverCrate = versions.Cargo{Crate: "server", Version: "1.2.0"}

func TestCargoPlace(t *testing.T) {
	registry, configured := program(t)
	// The tar holds the files of the crates as they are.
	var want bytes.Buffer
	archive := tar.NewWriter(&want)
	for _, name := range []string{"server/1.2.0", "used/1.0.0", "windows/0.5.0"} {
		file := registry.files["/dl/"+name]
		if err := pack(archive, "crates/"+strings.Replace(name, "/", "-", 1)+".crate", int64(len(file)), strings.NewReader(file)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, notes, err := fetchCrates(t, configured, serverCrate, hashText(want.String()))
		if err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(got.Path); err != nil || !bytes.Equal(data, want.Bytes()) {
			t.Errorf("the file differs, %v", err)
		}
		if notes != "" {
			t.Errorf("notes %s", notes)
		}
	}
	_, _, err := fetchCrates(t, configured, versions.Cargo{Lock: "assets/server/Cargo.lock"}, "")
	wantError(t, err, "its sha256 is unknown")
	_, _, err = fetchCrates(t, configured, versions.Cargo{Lock: "assets/server/Cargo.lock"}, hashText("x"))
	wantError(t, err, "the archive of cargo:assets/server/Cargo.lock and its crates has sha256", hashText("x"))
	_, _, err = fetchCrates(t, configured, versions.Cargo{Lock: "assets/bad/Cargo.lock"}, hashText("x"))
	wantError(t, err, `place "crates" (line 7): reading assets/bad/Cargo.lock: "" "" is not a name and a version of a crate`)
}

func TestYankedCrates(t *testing.T) {
	registry, configured := program(t)
	registry.yank("used")
	_, notes, err := fetchCrates(t, configured, serverCrate, hashText("x"))
	wantError(t, err, "has sha256")
	if want := "1 of the 3 crates were yanked, that is withdrawn by their authors: used 1.0.0; the lock keeps them"; !strings.Contains(notes, want) {
		t.Errorf("notes %q, want %q", notes, want)
	}
	registry.yank("server")
	_, _, err = fetchCrates(t, configured, serverCrate, hashText("x"))
	wantError(t, err, "crates: server 1.2.0 was yanked: its authors withdrew it; pin another version")
}

func TestCargoErrors(t *testing.T) {
	for name, test := range map[string]struct {
		place versions.Cargo
		spoil func(crates)
		want  []string
	}{
		"other bytes": {serverCrate, func(c crates) { c.files["/dl/used/1.0.0"] = "other" },
			[]string{"the crate used 1.0.0 of Cargo.lock has sha256 " + hashText("other") + " (5 bytes)"}},
		"gone from the index": {serverCrate, func(c crates) { delete(c.files, "/index/us/ed/used") },
			[]string{"/index/us/ed/used: the server answered 404 Not Found"}},
		"gone version": {serverCrate, func(c crates) { c.files["/index/us/ed/used"] = `{"vers":"1.0.1"}` },
			[]string{"the registry has no used 1.0.0, which Cargo.lock names"}},
		"gone file":   {serverCrate, func(c crates) { delete(c.files, "/dl/windows/0.5.0") }, []string{"the crate windows 0.5.0", "404 Not Found"}},
		"no version":  {versions.Cargo{Crate: "server", Version: "1.3.0"}, func(crates) {}, []string{"the registry has no server 1.3.0; the last version published there is 1.2.0"}},
		"no versions": {serverCrate, func(c crates) { c.files["/index/se/rv/server"] = "" }, []string{"the registry has no version of server"}},
		"no registry": {serverCrate, func(c crates) { delete(c.files, "/index/config.json") }, []string{"opening the registry of crates", "config.json: the server answered 404"}},
		"no config":   {serverCrate, func(c crates) { c.files["/index/config.json"] = "{}" }, []string{"config.json is not the configuration of a registry"}},
		"other lock": {serverCrate, func(c crates) {
			c.files["/index/se/rv/server"] = ""
			c.publish("server", "1.2.0", map[string]string{"Cargo.lock": mainLock, "Cargo.toml": "[package]\nname = \"server\"\nversion = \"1.2.0\"\n[dependencies]\nadded = \"1\"\n"})
		}, []string{"reading Cargo.lock of the crate server-1.2.0", "the manifest of server depends on added, which the lock lacks"}},
		"no lock": {serverCrate, func(c crates) {
			c.files["/index/se/rv/server"] = ""
			c.publish("server", "1.2.0", map[string]string{"Cargo.toml": ""})
		}, []string{"reading the crate server-1.2.0: it has no server-1.2.0/Cargo.lock"}},
	} {
		t.Run(name, func(t *testing.T) {
			registry, configured := program(t)
			test.spoil(registry)
			_, _, err := fetchCrates(t, configured, test.place, hashText("x"))
			wantError(t, err, append(test.want, "crates")...)
			if name == "other bytes" {
				wantError(t, err, registry.hashes["used"])
			}
		})
	}
}

func TestAnswersOfCrates(t *testing.T) {
	lock := versions.Cargo{Lock: "assets/server/Cargo.lock"}
	for name, test := range map[string]struct {
		place versions.Cargo
		gone  string
		want  string
	}{
		"crate":      {serverCrate, "", ""},
		"lock":       {lock, "", ""},
		"crate gone": {serverCrate, "/index/se/rv/server", "404 Not Found"},
		"lock gone":  {lock, "/index/wi/nd/windows", "404 Not Found"},
	} {
		registry, configured := program(t)
		delete(registry.files, test.gone)
		for path := range registry.files {
			if strings.HasPrefix(path, "/dl/") {
				delete(registry.files, path) // No file is downloaded.
			}
		}
		f, _ := configured()
		wantAnswer(t, name, f.Answers(t.Context(), linux(), versions.Place{Cargo: &test.place}), test.want)
	}
}
