package versions

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func TestUnknownPaths(t *testing.T) {
	f := must(t, linux, lockOfLinux)
	_, pin := f.Pin("assets.kernal.version")
	_, farPin := f.Pin("x")
	_, source := f.Source("assets.kernel.lnux")
	_, farSource := f.Source("x")
	for _, test := range []struct {
		err  error
		want string
	}{
		{pin, `pins.yaml has no pin "assets.kernal.version"; did you mean "assets.kernel.version"?`},
		{farPin, `pins.yaml has no pin "x"; add it, or use another path`},
		{source, `assets/sources.yaml has no source "assets.kernel.lnux"; did you mean "assets.kernel.linux"?`},
		{farSource, `assets/sources.yaml has no source "x"; add it there`},
	} {
		if test.err == nil || test.err.Error() != test.want {
			t.Errorf("got %v, want %s", test.err, test.want)
		}
	}
}

// The lock is read strictly. Each of these is one place, or what replaces the places.
func TestBadLocks(t *testing.T) {
	const url, hash = `url: "https://example.org/a"`, `sha256: "` + zero + `"`
	commit := strings.Repeat("0123456789", 4)
	for text, want := range map[string]string{
		`~`:                             ":3: assets.kernel.linux: no places; add one, or write [] if this version has no such source",
		`[{` + url + `, ` + hash + `}]`: ":3: assets.kernel.linux: a place without a name; add it",
		`[{name: "a", ` + hash + `}]`:   ":3: assets.kernel.linux: a place with 0 of url, debian, git, oci, go, goproxy, cargo; give it one",
		`[{name: "a", ` + url + `, git: {url: "https://example.org/a", ref: "v1"}, ` + hash + `}]`: ":3: assets.kernel.linux: a place with 2 of url, debian, git, oci, go, goproxy, cargo; give it one",
		`[{name: "a", ` + url + `}]`:                                                                                            ":3: assets.kernel.linux: a place without a sha256; add that of the file",
		`[{name: "a", ` + url + `, sha256: "ABC"}]`:                                                                             `:3: assets.kernel.linux: the sha256 "ABC" is not 64 lower-case hex digits; take it from sha256sum`,
		`[{name: "a", ` + url + `, ` + hash + `, size: -1}]`:                                                                    ":3: assets.kernel.linux: the size -1 is not a number of bytes",
		`[{name: "a", ` + url + `, ` + hash + `, size: "1.5 MB"}]`:                                                              ":3: want a whole number, and found `1.5 MB`",
		`[{name: "a", url: "ftp://example.org/a", ` + hash + `}]`:                                                               `:3: assets.kernel.linux: "ftp://example.org/a" is not an address; write https://host/path`,
		`[{name: "a", ` + url + `, ` + hash + `}, {name: "a", ` + url + `, ` + hash + `}]`:                                      `:3: assets.kernel.linux: duplicate place "a", first on line 3; rename one`,
		`[{name: "a", urll: "x", ` + hash + `}]`:                                                                                `:3: unknown field "urll"; did you mean "url"?`,
		`[{name: "a", debian: {pakage: "x"}, ` + hash + `}]`:                                                                    `:3: unknown field "pakage"; did you mean "package"?`,
		`[{name: "a", debian: {package: "a", version: "1", file: "x"}, ` + hash + `}]`:                                          ":3: assets.kernel.linux: a Debian place needs a package, a version, a suite and a file",
		`[{name: "a", debian: {package: "a", version: "1", suite: "s", file: "x/y"}, ` + hash + `}]`:                            `:3: assets.kernel.linux: the file "x/y" has a folder; write only its name`,
		`[{name: "a", git: {url: "https://example.org/a", commit: "main"}}]`:                                                    `:3: assets.kernel.linux: the commit "main" is not 40 lower-case hex digits; a tag or branch may move, so take what git rev-parse TAG^{commit} prints`,
		`[{name: "a", git: {url: "git@example.org:a", commit: "` + commit + `"}}]`:                                              `:3: assets.kernel.linux: "git@example.org:a" is not an address; write https://host/path`,
		`[{name: "a", git: {url: "https://example.org/a", commit: "` + commit + `", path: "../b"}}]`:                            `:3: assets.kernel.linux: the path "../b" is not one below the root of the repository; write folder/folder`,
		`[{name: "a", git: {url: "https://example.org/a"}}]`:                                                                    ":3: assets.kernel.linux: a git place needs either a commit, or a ref whose commit is not known yet; write one of them",
		`[{name: "a", git: {url: "https://example.org/a", commit: "` + commit + `", ref: "v1"}}]`:                               ":3: assets.kernel.linux: a git place needs either a commit, or a ref whose commit is not known yet; write one of them",
		`[{name: "a", go: {module: "example.org/a", version: "v1", sum: "h1:short"}}]`:                                          `:3: assets.kernel.linux: the sum "h1:short" is not h1: and 44 characters; take it from go mod download -json`,
		`[{name: "a", go: {sum: "h1:z9yCiTPMxVBIZlHxOPinZXhly2MdcIqxk9VXPlHIOJY="}}]`:                                           ":3: assets.kernel.linux: a Go place needs a module and a version",
		`[{name: "a", goproxy: {module: "example.org/a"}, ` + hash + `}]`:                                                       ":3: assets.kernel.linux: a goproxy place needs either a module and its version, without a sum, or the lock of the tree; write one of them",
		`[{name: "a", go: {module: "a", version: "v1", sum: "h1:z9yCiTPMxVBIZlHxOPinZXhly2MdcIqxk9VXPlHIOJY="}, ` + hash + `}]`: ":3: assets.kernel.linux: a Go module with a sha256; remove it, the sum is the hash",
		`[{name: "a", cargo: {crate: "a"}, ` + hash + `}]`:                                                                      ":3: assets.kernel.linux: a cargo place needs either a crate and its version, or the lock of the tree; write one of them",
		`[{name: "a", cargo: {crate: "a", version: "1.0.0", lock: "b"}, ` + hash + `}]`:                                         ":3: assets.kernel.linux: a cargo place needs either a crate and its version, or the lock of the tree; write one of them",
		`[{name: "a", cargo: {crate: "../a", version: "1.0.0"}, ` + hash + `}]`:                                                 `:3: assets.kernel.linux: "../a" is not the name of a crate`,
		`[{name: "a", cargo: {crate: "a", version: "1"}, ` + hash + `}]`:                                                        `:3: assets.kernel.linux: "1" is not the version of a crate; write 1.2.3`,
		`[{name: "a", cargo: {lock: "../Cargo.lock"}, ` + hash + `}]`:                                                           `:3: assets.kernel.linux: the lock "../Cargo.lock" is not a path below the root of the repository; write assets/FAMILY/FILE`,
		`[{name: "a", cargo: {crate: "a", version: "1.0.0"}}]`:                                                                  ":3: assets.kernel.linux: a place without a sha256; add that of the file",
		`[{name: "a", oci: {ref: "example.org/a:1.0", title: "a.tar"}}]`: ":3: assets.kernel.linux: the ref \"example.org/a:1.0\" is not HOST/PATH@sha256:<64 hex digits>; " +
			"a tag may move, so add the digest of the manifest that it has, as `oras resolve` prints it",
		`[{name: "a", oci: {ref: "../../example.org/a@sha256:` + zero + `", title: "a.tar"}}]`: ":3: assets.kernel.linux: the ref \"../../example.org/a@sha256:" + zero + "\" is not HOST/PATH@sha256:<64 hex digits>; a tag may move, so add the digest of the manifest that it has, as `oras resolve` prints it",
		`[{name: "a", oci: {ref: "example.org/a@sha256:` + zero + `"}}]`: ":3: assets.kernel.linux: which layer of example.org/a@sha256:" + zero +
			" is meant; add its title, or its digest as sha256 of the place",
		`[{name: "a", sha256: unknown, oci: {ref: "example.org/a@sha256:` + zero + `"}}]`: `:3: assets.kernel.linux: the sha256 "unknown" is not 64 lower-case hex digits; take it from sha256sum`,
		`"https://example.org/a"`: ":3: want a list, and found `https:/...`",
	} {
		_, err := load(t, linux, "assets.kernel:\n  \"v6.18.15\":\n    linux: "+text+"\n")
		if err == nil || err.Error() != LockFile+want {
			t.Errorf("%s:\n%v, want\n%s", text, err, LockFile+want)
		}
	}
	for text, want := range map[string]string{
		"":                       ": the file is empty",
		"assets.kernel: {}\n":    ":1: assets.kernel: no versions; add one, or remove the entry",
		"assets.kernel: \"1\"\n": ":1: want a mapping, and found `1`",
		"a.b: {\"1\": {}}\na: {for: [b], \"1\": {}}\n":                                                   ":1: a.b: duplicate entry a.b; remove one",
		"a:\n  \"1\":\n    b.c: [{name: a, url: \"https://example.org/a\", sha256: \"" + zero + "\"}]\n": ":3: a.b.c: the name has characters other than letters, digits, - and _; rename it",
	} {
		_, err := load(t, linux, text)
		if err == nil || err.Error() != LockFile+want {
			t.Errorf("%q: %v, want %s", text, err, LockFile+want)
		}
	}
}

// FuzzParse looks for input that is neither a file nor an error with its name, and for
// a pin without a value.
func FuzzParse(f *testing.F) {
	kata, err := os.ReadFile("testdata/kata.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(kata)
	for _, text := range []string{linux, lockOfLinux, "a: &a {b: *a}\n", "a: &a {b: \"1\"}\nc:\n  <<: *a\n", "? [a]\n: b\n", "a: !!binary x\n", bomb()} {
		f.Add([]byte(text))
	}
	position := regexp.MustCompile(`^f(:[1-9]\d*)?: .+`)
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("f", data)
		if (file == nil) == (err == nil) || err != nil && !position.MatchString(err.Error()) {
			t.Fatalf("parse = %v, %v", file, err)
		}
		if err != nil {
			return
		}
		for _, path := range file.Pins() {
			if value, err := file.Pin(path); value == "" && err == nil {
				t.Errorf("%s is empty", path)
			}
		}
	})
}

// FuzzLock looks for a lock with a place that nothing can be checked against.
func FuzzLock(f *testing.F) {
	f.Add([]byte(lockOfLinux))
	f.Add([]byte("a:\n  pin: tag\n  for: [b, c]\n  \"1\": {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lock, err := readLock(fstest.MapFS{LockFile: {Data: data}})
		if err != nil {
			if !strings.HasPrefix(err.Error(), LockFile+":") {
				t.Errorf("no position: %v", err)
			}
			return
		}
		for at, e := range lock {
			for version := range e.Versions {
				for name, places := range e.Versions[version].Sources {
					for _, place := range places {
						if place.Line == 0 || place.Git == nil && strings.HasSuffix(place.Hash(), ":") {
							t.Errorf("%s, %s, %s: %+v", at, version, name, place)
						}
					}
				}
			}
		}
	})
}
