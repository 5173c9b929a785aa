package debian

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// release is what apt knows about a repository after an update.
type release struct{ repository, suite, origin, label string }

// configure makes this process's apt-get use repositories of a test.
func configure(t *testing.T, sources string, releases []release) {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skipf("there is no apt: %v", err)
	}
	dir := t.TempDir()
	lists := filepath.Join(dir, "lists")
	require.NoError(t, os.MkdirAll(filepath.Join(lists, "partial"), 0o755))
	require.WriteFile(t, filepath.Join(dir, "sources.list"), sources)
	require.WriteFile(t, filepath.Join(dir, "apt.conf"), fmt.Sprintf("Dir::Etc::sourcelist %q;\nDir::Etc::sourceparts \"/dev/null\";\nDir::State::lists %q;\nDir::Cache %q;\nAPT::Architecture \"amd64\";\n",
		filepath.Join(dir, "sources.list"), lists, dir))
	for _, r := range releases {
		path := filepath.Join(lists, strings.ReplaceAll(r.repository, "/", "_")+"_dists_"+r.suite+"_")
		text := fmt.Sprintf("Origin: %s\nLabel: %s\nSuite: %[3]s\nCodename: %[3]s\nArchitectures: amd64\nComponents: main contrib\nSHA256:\n", r.origin, r.label, r.suite)
		for _, component := range []string{"main", "contrib"} {
			require.WriteFile(t, path+component+"_binary-amd64_Packages", "")
			text += " " + strings.Repeat("0", 64) + " 0 " + component + "/binary-amd64/Packages\n"
		}
		require.WriteFile(t, path+"InRelease", text)
	}
	t.Setenv("APT_CONFIG", filepath.Join(dir, "apt.conf"))
}

func TestMirrorOf(t *testing.T) {
	list := filepath.Join(t.TempDir(), "mirrors.list")
	require.WriteFile(t, list, "# ours\nfile:/srv/debian\nhttp://listed.example/debian/\tpriority:1\n")
	const (
		security = "deb http://m.example/debian-security bookworm-security main\n"
		ports    = "deb http://m.example/backports bookworm-backports main\n"
		archive  = "deb http://m.example/debian bookworm main\n"
		ubuntu   = "deb http://u.example/ubuntu noble main\n"
		unknown  = "deb https://other.example/x bookworm stable\n" + archive
	)
	releases := []release{
		{"m.example/debian-security", "bookworm-security", "Debian", "Debian-Security"},
		{"m.example/backports", "bookworm-backports", "Debian Backports", "Debian Backports"},
		{"m.example/debian", "bookworm", "Debian", "Debian"},
		{"u.example/ubuntu", "noble", "Ubuntu", "Ubuntu"},
	}
	for name, test := range map[string]struct {
		sources, codename string
		releases          []release
		want              string
	}{
		"debian":         {security + ports + archive, "", releases, "http://m.example/debian"},
		"ubuntu":         {ubuntu, "", releases, ""},
		"none":           {"", "", releases, ""},
		"not main":       {"deb http://m.example/debian bookworm contrib\n", "", releases, ""},
		"no index":       {unknown, "bookworm", nil, "http://m.example/debian"},
		"no index, none": {unknown, "", nil, ""},
		"other release":  {unknown, "trixie", nil, ""},
		"medium":         {"deb cdrom:[Debian12]/ bookworm main\n" + archive, "bookworm", nil, "http://m.example/debian"},
		"list":           {"deb mirror+file:" + list + " bookworm main\n", "bookworm", nil, "http://listed.example/debian"},
	} {
		t.Run(name, func(t *testing.T) {
			configure(t, test.sources, test.releases)
			path := filepath.Join(t.TempDir(), "os-release")
			require.WriteFile(t, path, "ID=debian\nVERSION_CODENAME="+test.codename+"\n")
			got, err := mirrorOf(t.Context(), path)
			if err != nil || got != test.want {
				t.Errorf("mirror %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestMirrorAsksApt(t *testing.T) {
	program(t, "apt-get", `[ "$1" = indextargets ] && echo http://m.example/debian/`)
	if got, err := Mirror(t.Context()); err != nil || got != "http://m.example/debian" {
		t.Errorf("mirror %q, %v", got, err)
	}
	t.Setenv("PATH", t.TempDir())
	if got, err := Mirror(t.Context()); err != nil || got != "" {
		t.Errorf("without apt: mirror %q, %v", got, err)
	}
}

func TestCodename(t *testing.T) {
	path := filepath.Join(t.TempDir(), "os-release")
	for _, test := range []struct{ content, want string }{
		{"ID=debian\nVERSION_CODENAME=bookworm\n", "bookworm"},
		{"ID=\"debian\"\nVERSION_CODENAME=\"trixie\"\n", "trixie"},
		{"ID=ubuntu\nVERSION_CODENAME=noble\n", ""},
		{"", ""},
	} {
		require.WriteFile(t, path, test.content)
		if got, err := codename(path); err != nil || got != test.want {
			t.Errorf("codename of %q: %q, %v, want %q", test.content, got, err, test.want)
		}
	}
	if got, err := codename(path + "x"); err != nil || got != "" {
		t.Errorf("codename of no file: %q, %v", got, err)
	}
}
