package bump

import (
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github/githubtest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// GitHub's releases say which are pre-releases, and have the hashes of their files.
func TestReleases(t *testing.T) {
	server := githubtest.New(t, "example/lib")
	for i, v := range []string{"v2.6.0", "v2.6.1", "v2.7.0"} {
		server.Releases = append(server.Releases, &githubtest.Release{
			ID: int64(i + 1), Tag: v, Prerelease: v == "v2.7.0",
			Assets: []*githubtest.Asset{{ID: int64(i + 10), Name: "lib-" + v[1:] + ".tar.gz", Digest: "sha256:" + hash(v), Size: 7, State: "uploaded"}},
		})
	}
	b := &Bumper{GitHub: github.Options{API: server.URL()}}
	address := "https://github.com/" + server.Repository + "/releases/download/v2.6.0/lib-2.6.0.tar.gz"
	offers, err := b.addressOffers(t.Context(), address, mustParse(t, "2.6.0"))
	var got []string
	for _, o := range offers {
		got = append(got, o.version.String())
	}
	if slices.Sort(got); err != nil || !slices.Equal(got, []string{"2.6.0", "2.6.1"}) {
		t.Errorf("releases %v, %v", got, err)
	}
	m := &move{Bumper: b, from: mustParse(t, "2.6.0"), to: mustParse(t, "2.6.1")}
	d, err := m.derive(t.Context(), "lib", versions.Place{Name: "up", URL: address, SHA256: zero, Unchecked: true})
	want := versions.Place{Name: "up", URL: strings.ReplaceAll(address, "2.6.0", "2.6.1"), SHA256: hash("v2.6.1"), Size: 7}
	if d.place != want || d.checked != "the digest of the release asset on GitHub" || err != nil {
		t.Errorf("derived %+v, %v", d, err)
	}
	if _, err := (&move{Bumper: b}).published(t.Context(), strings.ReplaceAll(address, "2.6.0", "2.6.9")); err == nil || !strings.Contains(err.Error(), "no release v2.6.9") {
		t.Errorf("error %v", err)
	}
}

func TestSumIn(t *testing.T) {
	sum := strings.Repeat("aB", 32)
	for text, want := range map[string]string{
		sum + "  a.tar\n":         strings.ToLower(sum),
		sum + " *./a.tar\r\n":     strings.ToLower(sum),
		"SHA256 (a.tar) = " + sum: strings.ToLower(sum),
		sum + "  b.tar\n":         "",
		sum + "\n":                strings.ToLower(sum),
		"x" + sum + "  a.tar\n":   "",
	} {
		if got := sumIn(text, "a.tar", true); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := sumIn(sum+"\n", "a.tar", false); got != "" {
		t.Errorf("a list without names has %s", got)
	}
}
