package debian

import (
	"path/filepath"
	"testing"
)

func TestMirrorOf(t *testing.T) {
	list := filepath.Join(t.TempDir(), "mirrors.list")
	write(t, list, "# ours\nfile:/srv/debian\nhttp://listed.example/debian/\tpriority:1\n")
	const (
		security = "http://m.example/debian-security/|bookworm-security|main|Debian|Debian-Security\n"
		ports    = "http://m.example/debian/|bookworm-backports|main|Debian Backports|Debian Backports\n"
		archive  = "http://m.example/debian/|bookworm|main|Debian|Debian\n"
		ubuntu   = "http://u.example/ubuntu/|noble|main|Ubuntu|Ubuntu\n"
		unknown  = "https://other.example/x/|bookworm|stable|$(ORIGIN)|$(LABEL)\nhttp://m.example/debian/|bookworm|main|$(ORIGIN)|$(LABEL)\n"
	)
	for name, test := range map[string]struct{ targets, codename, want string }{
		"debian":         {security + ports + archive, "", "http://m.example/debian"},
		"ubuntu":         {ubuntu, "", ""},
		"none":           {"", "", ""},
		"not main":       {"http://m.example/debian/|bookworm|contrib|Debian|Debian\n", "", ""},
		"no index":       {unknown, "bookworm", "http://m.example/debian"},
		"no index, none": {unknown, "", ""},
		"other release":  {unknown, "trixie", ""},
		"medium":         {"cdrom:[Debian 12]/|bookworm|main|Debian|Debian\n" + archive, "", "http://m.example/debian"},
		"list":           {"mirror+file:" + list + "/|bookworm|main|Debian|Debian\n", "", "http://listed.example/debian"},
		"remarks":        {"W: something | odd\n\n" + archive, "", "http://m.example/debian"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mirrorOf(parseTargets(test.targets), test.codename)
			if err != nil || got != test.want {
				t.Errorf("mirror %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestMirrorAsksApt(t *testing.T) {
	program(t, "apt-get", `[ "$1" = indextargets ] && echo 'http://m.example/debian/|sid|main|Debian|Debian'`)
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
		write(t, path, test.content)
		if got, err := codename(path); err != nil || got != test.want {
			t.Errorf("codename of %q: %q, %v, want %q", test.content, got, err, test.want)
		}
	}
	if got, err := codename(path + "x"); err != nil || got != "" {
		t.Errorf("codename of no file: %q, %v", got, err)
	}
}
