package versions

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

const (
	zero = "0000000000000000000000000000000000000000000000000000000000000000"

	linux = `assets:
  kernel:
    url: "https://example.org/linux/"
    version: "v6.18.15"
`

	lockOfLinux = `assets.kernel:
  "v6.18.15":
    pins: {commit: "c0ffee"}
    linux:
      - name: "upstream"
        url: "https://example.org/linux-6.18.15.tar.xz"
        sha256: "7c716216c3c4134ed0de69195701e677577bbcdd3979f331c182acd06bf2f170"
      - name: "debian"
        debian:
          package: "linux"
          version: "6.18.15-1~bpo13+1"
          suite: "trixie-backports"
          file: "linux_6.18.15.orig.tar.xz"
        sha256: "fdf4c4d487c95b17a41cb38003faef86669e532a44fe702eb31a3390b6a60cca"
        size: 157422084
      - name: "go"
        go: {module: "example.org/linux", version: "v6.18.15", sum: "h1:z9yCiTPMxVBIZlHxOPinZXhly2MdcIqxk9VXPlHIOJY="}
    patches:
      - name: "all"
        git: {url: "https://example.org/repo", commit: "0123456789012345678901234567890123456789"}
      - name: "some"
        git: {url: "https://example.org/repo", commit: "0123456789012345678901234567890123456789", path: "a/b"}
      - name: "hashed"
        git: {url: "https://example.org/repo", commit: "0123456789012345678901234567890123456789"}
        sha256: "7c716216c3c4134ed0de69195701e677577bbcdd3979f331c182acd06bf2f170"
      - name: "proxy"
        goproxy: {module: "example.org/linux", version: "v6.18.15"}
        sha256: "7c716216c3c4134ed0de69195701e677577bbcdd3979f331c182acd06bf2f170"
      - name: "crates"
        cargo: {crate: "linux", version: "6.18.15"}
        sha256: "7c716216c3c4134ed0de69195701e677577bbcdd3979f331c182acd06bf2f170"
      - name: "modules"
        goproxy: {lock: "assets/kernel/go.sum"}
        sha256: "7c716216c3c4134ed0de69195701e677577bbcdd3979f331c182acd06bf2f170"
      - name: "lock"
        cargo: {lock: "assets/kernel/Cargo.lock"}
        sha256: "7c716216c3c4134ed0de69195701e677577bbcdd3979f331c182acd06bf2f170"
      - name: "unpinned"
        git: {url: "https://example.org/repo", ref: "v1"}
`
)

func TestSources(t *testing.T) {
	got, err := must(t, linux, lockOfLinux).Source("assets.kernel.linux")
	require.NoError(t, err)
	want := Source{Name: "linux", Places: []Place{{
		Name:   "upstream",
		URL:    "https://example.org/linux-6.18.15.tar.xz",
		SHA256: "7c716216c3c4134ed0de69195701e677577bbcdd3979f331c182acd06bf2f170",
		Line:   5,
	}, {
		Name:   "debian",
		Debian: &Debian{"linux", "6.18.15-1~bpo13+1", "trixie-backports", "linux_6.18.15.orig.tar.xz"},
		SHA256: "fdf4c4d487c95b17a41cb38003faef86669e532a44fe702eb31a3390b6a60cca",
		Size:   157422084,
		Line:   8,
	}, {
		Name: "go",
		Go:   &GoModule{Module: "example.org/linux", Version: "v6.18.15", Sum: "h1:z9yCiTPMxVBIZlHxOPinZXhly2MdcIqxk9VXPlHIOJY="},
		Line: 16,
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var hashes []string
	for _, place := range got.Places {
		hashes = append(hashes, place.Hash())
	}
	wantHashes := []string{"sha256:" + want.Places[0].SHA256, "sha256:" + want.Places[1].SHA256, want.Places[2].Go.Sum}
	if !slices.Equal(hashes, wantHashes) {
		t.Errorf("hashes: %v, want %v", hashes, wantHashes)
	}
}

// An entry of our own has a version where versions.yaml, such as Kata's, lacks it.
func TestOwn(t *testing.T) {
	own := strings.Replace(lockOfLinux, "assets.kernel:\n", "assets.kernel:\n  own: true\n", 1)
	for pins, want := range map[string]string{"assets: {}\n": "v6.18.15", linux: "v6.18.15"} {
		f := must(t, pins, own)
		version, err := f.Pin("assets.kernel.version")
		if source, sourceErr := f.Source("assets.kernel.linux"); version != want || err != nil || sourceErr != nil || len(source.Places) == 0 {
			t.Errorf("%q: %q, %v, %+v, %v", pins, version, err, source, sourceErr)
		}
	}
	const newer = "  \"v6.18.9\": {}\n  \"v6.18.16\": {}\n"
	if version, err := must(t, "assets: {}\n", own+newer).Pin("assets.kernel.version"); version != "v6.18.16" || err != nil {
		t.Errorf("of three versions: %q, %v", version, err)
	}
}

// TestHashes checks the names that caches use for places.
func TestHashes(t *testing.T) {
	got, err := must(t, linux, lockOfLinux).Source("assets.kernel.patches")
	require.NoError(t, err)
	const commit, hash = "0123456789012345678901234567890123456789", "sha256:7c716216c3c4134ed0de69195701e677577bbcdd3979f331c182acd06bf2f170"
	var lines []string
	for _, place := range got.Places {
		lines = append(lines, fmt.Sprint(place.Hash(), " ", place.Cacheable(), " ", place.Holds()))
	}
	want := []string{
		"git:" + commit + " false git:https://example.org/repo@" + commit,
		"git:" + commit + ":a/b false git:https://example.org/repo@" + commit + ":a/b",
		hash + " true git:https://example.org/repo@" + commit,
		hash + " true goproxy:example.org/linux@v6.18.15",
		hash + " true cargo:linux@6.18.15",
		hash + " true goproxy:assets/kernel/go.sum",
		hash + " true cargo:assets/kernel/Cargo.lock",
		"git:v1 false git:https://example.org/repo@v1",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The error of a version that the lock does not have names it, its place and what to add;
// its pin has a value nevertheless.
func TestUnlocked(t *testing.T) {
	const unknown = `pins.yaml:4: assets.kernel.version is "v6.18.16", which assets/sources.yaml does not lock; ` +
		"`pipelines bump assets.kernel v6.18.16` adds it"
	for name, test := range map[string]struct{ pins, path, value, want string }{
		"known":         {linux, "assets.kernel.version", "v6.18.15", ""},
		"pin of ours":   {linux, "assets.kernel.commit", "c0ffee", ""},
		"pin of theirs": {linux + "    commit: \"abc\"\n", "assets.kernel.commit", "abc", ""},
		"other version": {strings.Replace(linux, ".15", ".16", 1), "assets.kernel.version", "v6.18.16", unknown},
		"other commit":  {strings.Replace(linux, ".15", ".16", 1), "assets.kernel.commit", "", unknown},
		"no version":    {"assets: {}\n", "assets.kernel.version", "", `pins.yaml has no pin "assets.kernel.version", which the build needs; add it`},
		"other file":    {"plugins: {}\nspecs: {}\n", "assets.kernel.commit", "", `pins.yaml has no pin "assets.kernel.version", which the build needs; add it`},
	} {
		f := must(t, test.pins, lockOfLinux)
		value, err := f.Pin(test.path)
		var unlocked *Unlocked
		if value != test.value || (err == nil) != (test.want == "") || err != nil && (!errors.As(err, &unlocked) || err.Error() != test.want) {
			t.Errorf("%s: %q, %v, want %q, %s", name, value, err, test.value, test.want)
		}
		source, err := f.Source("assets.kernel.linux")
		if known := strings.Contains(test.pins, ".15"); known != (err == nil) || known != (len(source.Places) > 0) || !known && !errors.As(err, &unlocked) {
			t.Errorf("%s: source %v, %v", name, source, err)
		}
	}
}

// Entries that share the versions of one in the lock have each a version of its own, and a
// source that a version does not have has no places.
func TestSharedVersions(t *testing.T) {
	const place = `[{name: a, url: "https://example.org/a", sha256: "` + zero + `"}]`
	const lock = "externals.ovmf:\n  for: [x86_64, tdx]\n  \"1\": {edk2: " + place + ", patches: " + place + "}\n  \"2\": {edk2: " + place + ", patches: []}\n"
	f := must(t, `externals: {ovmf: {x86_64: {version: "1"}, tdx: {version: "2"}, arm64: {version: "1"}}}`+"\n", lock)
	for path, want := range map[string]string{
		"externals.ovmf.x86_64.edk2":    "1",
		"externals.ovmf.x86_64.patches": "1",
		"externals.ovmf.tdx.edk2":       "1",
		"externals.ovmf.tdx.patches":    "0",
		"externals.ovmf.arm64.edk2":     `0 assets/sources.yaml has no source "externals.ovmf.arm64.edk2"; did you mean "externals.ovmf.x86_64.edk2"?`,
		"externals.ovmf.edk2":           `0 assets/sources.yaml has no source "externals.ovmf.edk2"; did you mean "externals.ovmf.tdx.edk2"?`,
	} {
		source, err := f.Source(path)
		got := fmt.Sprint(len(source.Places))
		if err != nil {
			got += " " + err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if pin := f.VersionPin("externals.ovmf.tdx.edk2"); pin != "externals.ovmf.tdx.version" {
		t.Errorf("version pin %s", pin)
	}
	_, err := must(t, "externals: {ovmf: {tdx: {version: \"3\"}}}\n", lock).Source("externals.ovmf.tdx.edk2")
	const want = `pins.yaml:1: externals.ovmf.tdx.version is "3", which assets/sources.yaml does not lock; ` + "`pipelines bump externals.ovmf.tdx 3` adds it"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A version of an entry that moves with another is added with that one.
func TestUnlockedWith(t *testing.T) {
	_, err := must(t, "a: {version: \"1\", b: {version: \"2\"}}\n", "a: {\"1\": {}}\na.b: {with: a, \"1\": {c: []}}\n").Source("a.b.c")
	if err == nil || !strings.HasSuffix(err.Error(), "`pipelines bump a 2` adds it") {
		t.Error(err)
	}
}

func TestNewest(t *testing.T) {
	for want, versions := range map[string][]string{"v10.2.0": {"v9.1.0", "v10.2.0", "v10.2.0-rc1"}, "edk2-stable202508": {"edk2-stable202502", "edk2-stable202508"}} {
		e := entry{}
		require.NoError(t, yaml.Unmarshal([]byte(strings.Join(versions, ": {}\n")+": {}\n"), &e))
		if got := e.newest(); got != want {
			t.Errorf("newest is %s, want %s", got, want)
		}
	}
}

// TestRepository reads the files that the pipelines use: every place must hold the
// version of its entry, or an update of the lock was half done.
func TestRepository(t *testing.T) {
	f, err := Load("../../../versions.yaml", os.DirFS("../../.."))
	require.NoError(t, err)
	for _, at := range slices.Sorted(maps.Keys(f.lock)) {
		if _, err := f.version(at, f.lock[at]); err != nil {
			t.Error(err)
		}
		for version, known := range f.lock[at].Versions {
			version = strings.ReplaceAll(strings.TrimPrefix(version, "v"), "_", ".")
			for name, places := range known.Sources {
				for _, place := range places {
					held := place.URL
					switch {
					case place.Debian != nil:
						held = place.Debian.File
					case place.Go != nil:
						held = place.Go.Version
					case place.GoProxy != nil:
						held = place.GoProxy.String()
					case place.Cargo != nil:
						held = place.Cargo.String()
					}
					// A commit or a lock does not show its version, edk2 has those of its modules,
					// and pause is in Kubernetes.
					if place.Git == nil && place.Lock() == "" && at != "externals.pause" && f.lock[at].declared != "externals.ovmf" && !strings.Contains(strings.ReplaceAll(held, "_", "."), version) {
						t.Errorf("%s:%d: place %s of %s.%s is %s, which is not version %s",
							LockFile, place.Line, place.Name, at, name, held, version)
					}
				}
			}
		}
	}
}

// A pin that only the lock has, and whose value is not known yet, keeps its entry from
// being built.
func TestUnknownCommit(t *testing.T) {
	f := must(t, linux, strings.Replace(lockOfLinux, `commit: "c0ffee"`, `commit: ""`, 1))
	value, err := f.Pin("assets.kernel.commit")
	var unlocked *Unlocked
	want := "assets/sources.yaml: the commit of assets.kernel v6.18.15 is not known yet; where its repository answers, `pipelines bump assets.kernel v6.18.15` looks it up"
	if value != "" || !errors.As(err, &unlocked) || err.Error() != want {
		t.Errorf("%q, %v, want %s", value, err, want)
	}
}

func TestEntries(t *testing.T) {
	const lock = "assets.kernel:\n  series: v6.18\n  \"v6.18.15\": {linux: []}\nassets.kernel.nvidia:\n  with: assets.kernel\n  \"v6.18.14\": {}\n"
	pins := linux + "    nvidia: {version: \"v6.18.15\"}\n"
	want := []Entry{
		{Path: "assets.kernel", Declared: "assets.kernel", Pin: "assets.kernel.version", Version: "v6.18.15", Series: "v6.18", Locked: "v6.18.15", Sources: map[string][]Place{"linux": {}}},
		{Path: "assets.kernel.nvidia", Declared: "assets.kernel.nvidia", Pin: "assets.kernel.nvidia.version", Version: "v6.18.15", With: "assets.kernel", Locked: "v6.18.14"},
	}
	if diff := cmp.Diff(want, must(t, pins, lock).Entries()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	_, err := ParseLocked("pins.yaml", []byte(pins), []byte(strings.Replace(lock, "with: assets.kernel", "with: assets.kernal", 1)))
	_, signerErr := ParseLocked("pins.yaml", []byte(pins), []byte(strings.Replace(lock, "series: v6.18", `signers: ["b886 8c80"]`, 1)))
	if want := `assets/sources.yaml:2: assets.kernel: the signer "b886 8c80" is not a fingerprint of 40 upper-case hex digits; take it from gpg --fingerprint`; signerErr == nil || signerErr.Error() != want {
		t.Errorf("error %v, want %s", signerErr, want)
	}
	if want := `assets/sources.yaml:5: assets.kernel.nvidia: no entry "assets.kernal" in the lock; did you mean "assets.kernel"?`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestPlaces: what a place holds, its hash, and whether it can be used.
func TestPlaces(t *testing.T) {
	for text, want := range map[string]string{
		`{name: a, url: "https://example.org/a", sha256: "` + zero + `"}`: "https://example.org/a sha256:" + zero + " pinned cacheable",
		`{name: a, url: "https://example.org/a", sha256: unknown}`:        "https://example.org/a sha256:unknown",
		`{name: a, oci: {ref: "example.org:5000/a:1.0@sha256:` + zero + `", title: a.tar}}`: "oci:example.org:5000/a:1.0@sha256:" + zero + " a.tar " +
			"oci:sha256:" + zero + ":a.tar pinned",
		`{name: a, oci: {ref: "example.org/a@sha256:` + zero + `"}, sha256: "` + zero + `"}`: "oci:example.org/a@sha256:" + zero + " sha256:" + zero + " pinned cacheable",
	} {
		f := must(t, linux, "assets.kernel:\n  \"v6.18.15\":\n    linux: ["+text+"]\n")
		source, err := f.Source("assets.kernel.linux")
		require.NoError(t, err)
		place := source.Places[0]
		got := place.Holds() + " " + place.Hash()
		if place.Pinned() {
			got += " pinned"
		}
		if place.Cacheable() {
			got += " cacheable"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		if o := place.OCI; o != nil && (o.Digest() != "sha256:"+zero || !slices.Contains([]string{"example.org/a", "example.org:5000/a"}, o.Repository())) {
			t.Errorf("%s: %s and %s", text, o.Repository(), o.Digest())
		}
	}
}
