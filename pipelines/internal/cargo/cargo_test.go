package cargo

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

const (
	hash   = `0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef`
	public = `source = "registry+https://github.com/rust-lang/crates.io-index"` + "\nchecksum = \"" + hash + "\"\n"
	own    = "version = 4\n[[package]]\nname = \"main\"\nversion = \"1.2.0\"\ndependencies = [\"a\", \"b 2.0.0\", \"real\"]\n"

	manifest = `[package]
name = "main"
version = "1.2.0"
[dependencies]
a = "1"
renamed = { package = "real", version = "1" }
[target.'cfg(unix)'.build-dependencies.b]
version = "2"
`
)

func pkg(name, version, rest string) string {
	return fmt.Sprintf("[[package]]\nname = %q\nversion = %q\n%s", name, version, rest)
}

func TestParseLock(t *testing.T) {
	lock, err := ParseLock([]byte(own + pkg("b", "2.0.0", public) + pkg("a", "1.0.0+x", public) + pkg("b", "1.0.0", public)))
	if err != nil || fmt.Sprint(lock.Crates) != "[a-1.0.0+x b-1.0.0 b-2.0.0]" || lock.Crates[0].SHA256 != hash || lock.Crates[0].Source != CratesIO {
		t.Errorf("%+v, %v", lock, err)
	}
	for text, want := range map[string]string{
		"":      "it has no packages",
		"\n[[p": "line 2: toml: ",
		pkg("a", "1.0.0", `source = "git+https://example.org/a?rev=1#c0ffee"`):              "a-1.0.0 is from git+https://example.org/a?rev=1#c0ffee: only crates of registries have a checksum",
		pkg("a", "1.0.0", `source = "registry+https://example.org/index"`):                  "a-1.0.0 has no checksum: write the lock again with cargo 1.53 or newer",
		pkg("../a", "1.0.0", public):                                                        `"../a" "1.0.0" is not a name and a version of a crate`,
		pkg("a", "1/0", public):                                                             `"a" "1/0" is not a name and a version of a crate`,
		pkg("a", "1.0.0", public) + pkg("a", "1.0.0", strings.Replace(public, "g", "q", 1)): "a-1.0.0 is from two registries",
	} {
		if _, err := ParseLock([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestMatches(t *testing.T) {
	lock, err := ParseLock([]byte(own))
	require.NoError(t, err)
	for name, test := range map[string]struct{ from, to, want string }{
		"equal":         {"x", "x", ""},
		"other version": {`version = "1.2.0"`, `version = "1.3.0"`, "the manifest is that of main 1.3.0, but the lock was written for 1.2.0"},
		"other package": {`name = "main"`, `name = "mine"`, "the manifest is that of mine, which the lock does not have"},
		"added":         {"[dependencies]", "[dependencies]\nc = \"1\"", "the manifest of main depends on c, which the lock lacks"},
		"removed":       {"a = \"1\"\n", "", "the lock has the dependency a of main, which the manifest lacks"},
		"syntax":        {"[package]", "[package", "reading Cargo.toml"},
	} {
		err := lock.Matches([]byte(strings.Replace(manifest, test.from, test.to, 1)))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestEndpoint(t *testing.T) {
	const mirror = "[source.crates-io]\nreplace-with = \"mirror\"\n"
	for name, test := range map[string]struct {
		config, credentials string
		environ             []string
		source              string
		index, token        string
		want                string
	}{
		"none":          {index: "https://index.crates.io/"},
		"mirror":        {config: mirror + "[source.mirror]\nregistry = \"sparse+https://m.example/x\"\n", index: "https://m.example/x/"},
		"registry":      {config: mirror + "[registries.mirror]\nindex = \"sparse+https://m.example/\"\ntoken = \"t\"\n", index: "https://m.example/", token: "t"},
		"variable":      {config: mirror, environ: []string{"CARGO_REGISTRIES_MIRROR_INDEX=sparse+https://v.example/", "CARGO_REGISTRIES_MIRROR_TOKEN=v"}, index: "https://v.example/", token: "v"},
		"two steps":     {config: mirror + "[source.mirror]\nreplace-with = \"m-2\"\n[registries.m-2]\nindex = \"sparse+https://2.example/\"\n", index: "https://2.example/"},
		"back":          {config: mirror + "[source.mirror]\nreplace-with = \"crates-io\"\n", want: `replaces source "crates-io" with itself`},
		"unknown":       {config: mirror + "[source.miror]\nregistry = \"sparse+https://m.example\"\n", want: `replaces a source with "mirror", which has no address; did you mean "miror"?`},
		"folder":        {config: mirror + "[source.mirror]\ndirectory = \"/vendor\"\n", want: `takes crates from source "mirror", which is a folder`},
		"git index":     {config: mirror + "[source.mirror]\nregistry = \"https://m.example/index\"\n", want: "the index https://m.example/index is a git repository"},
		"syntax":        {config: "[source", want: "config.toml"},
		"credentials":   {credentials: "[registry]\ntoken = \"c\"\n", index: "https://index.crates.io/", token: "c"},
		"other":         {source: "sparse+https://o.example/index/", index: "https://o.example/index/"},
		"other's token": {config: "[registries.o]\nindex = \"sparse+https://o.example/\"\n", credentials: "[registries.o]\ntoken = \"o\"\n", source: "sparse+https://o.example/", index: "https://o.example/", token: "o"},
		"other git":     {source: "registry+https://o.example/index", want: "the index https://o.example/index is a git repository"},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			for file, text := range map[string]string{"config.toml": test.config, "credentials.toml": test.credentials} {
				require.WriteFile(t, filepath.Join(home, file), text)
			}
			if test.source == "" {
				test.source = CratesIO
			}
			got, err := NewConfig(append(test.environ, "CARGO_HOME="+home)).endpoint(test.source)
			if test.want != "" {
				require.Error(t, err, test.want)
			} else if want := (endpoint{test.index, test.token}); err != nil || got != want {
				t.Errorf("%+v, %v, want %+v", got, err, want)
			}
		})
	}
}

func TestHome(t *testing.T) {
	for want, environ := range map[string][]string{"/h/.cargo": {"HOME=/h"}, "/c": {"HOME=/h", "CARGO_HOME=/c"}, "": nil} {
		if got := NewConfig(environ).Home; got != want {
			t.Errorf("%q: %q, want %q", environ, got, want)
		}
	}
}

func TestURL(t *testing.T) {
	crate := Crate{"Abc_d", "1.0.0+x y", CratesIO, hash}
	for template, want := range map[string]string{
		"https://e.org/{crate}/{version}":            "https://e.org/Abc_d/1.0.0+x%20y",
		"https://e.org/{prefix}/{lowerprefix}/x":     "https://e.org/Ab/c_/ab/c_/x",
		"https://e.org/{sha256-checksum}/{crate}.gz": "https://e.org/" + hash + "/Abc_d.gz",
	} {
		if got := (&Registry{download: template}).URL(crate); got != want {
			t.Errorf("%s: %s, want %s", template, got, want)
		}
	}
	for name, want := range map[string]string{"a": "1", "ab": "2", "abc": "3/a", "abcd": "ab/cd", "abcdef": "ab/cd"} {
		if got := prefix(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// The token goes only to a registry that refuses requests without it.
func TestToken(t *testing.T) {
	for name, test := range map[string]struct {
		private bool
		token   string
		want    string
	}{
		"public":      {false, "secret", ""},
		"private":     {true, "secret", ""},
		"no token":    {true, "", "config.json: the server answered 401 Unauthorized: log in"},
		"wrong token": {true, "other", "config.json: the server answered 401 Unauthorized: log in"},
	} {
		t.Run(name, func(t *testing.T) {
			sent := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				token := r.Header.Get("Authorization")
				if token != "" {
					sent++
				}
				if test.private && token != "secret" {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				fmt.Fprint(w, `{"dl": "https://e.org/dl"}`)
			}))
			defer server.Close()
			c := Config{Environ: []string{"CARGO_REGISTRIES_O_TOKEN=" + test.token, "CARGO_REGISTRIES_O_INDEX=sparse+" + server.URL}, Home: t.TempDir()}
			require.WriteFile(t, filepath.Join(c.Home, "config"), "[source.crates-io]\nreplace-with = \"o\"\n")
			r, err := c.Open(t.Context(), CratesIO, server.Client())
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			if !test.private && sent > 0 {
				t.Error("the token was sent to a registry that needs none")
			}
			if err == nil && r.URL(Crate{Name: "a", Version: "1.0.0"}) != "https://e.org/dl/a/1.0.0/download" {
				t.Errorf("address %s", r.URL(Crate{Name: "a", Version: "1.0.0"}))
			}
		})
	}
}
