package payload

import (
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

func names(tags []Tag) (list []string) {
	for _, tag := range tags {
		text := tag.Name
		if tag.Fixed {
			text += "!"
		}
		list = append(list, text)
	}
	return list
}

func TestTagRules(t *testing.T) {
	for _, c := range []struct {
		got  []Tag
		want []string
	}{
		{ImageTags(commit, "", "amd64"), []string{"kata-containers-" + commit + "-amd64"}},
		{ImageTags(commit, "3.28.0", "arm64"), []string{"kata-containers-" + commit + "-arm64", "3.28.0-arm64!"}},
		{ImageTags("", "", "amd64"), nil},
		{IndexTags(commit, ""), []string{"kata-containers-" + commit}},
		{IndexTags(commit, "3.28.0"), []string{"kata-containers-" + commit, "3.28.0!", "latest"}},
		{IndexTags(commit, "3.29.0-rc0"), []string{"kata-containers-" + commit, "3.29.0-rc0!"}},
	} {
		if got := names(c.got); !slices.Equal(got, c.want) {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestGivenTags(t *testing.T) {
	image, index := ImageTags(commit, "3.28.0", "amd64"), IndexTags(commit, "3.28.0")
	for _, c := range []struct {
		tags  []Tag
		given string
		ok    bool
	}{
		{ImageTags(commit, "", "amd64"), "ci", true},
		{ImageTags(commit, "", "amd64"), "latest", false},
		{ImageTags(commit, "", "amd64"), "3.28.0", false},
		{ImageTags(commit, "", "amd64"), "3.28.0-amd64", false},
		{IndexTags(commit, ""), "latest", false},
		{IndexTags(commit, ""), "v3.28.0", false},
		{image, "3.28.0-amd64", true},
		{image, "3.28.0", false},
		{image, "latest", false},
		{index, "3.28.0", true},
		{index, "latest", true},
		{index, "3.27.0", false},
		{index, "stable", true},
		{IndexTags(commit, "3.29.0-rc0"), "latest", false},
	} {
		got, err := WithGiven(c.tags, c.given)
		if (err == nil) != c.ok {
			t.Errorf("%q: %v", c.given, err)
		}
		if n := len(slices.DeleteFunc(slices.Clone(got), func(tag Tag) bool { return tag.Name != c.given })); c.ok && n != 1 {
			t.Errorf("%q appears %d times in %q", c.given, n, names(got))
		}
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"quay.io/kata-containers/kata-deploy:3.28.0": true, "localhost:5000/kata:ci": true, "kata:few": true,
		"kata": false, "localhost:5000/kata": false, "Kata:few": false, "kata:": false, "kata:a b": false, "": false,
		"quay.io/kata@sha256:" + strings.Repeat("a", 64): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestParseDestination(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for text, want := range map[string]Destination{
		"quay.io/kata-containers/kata-deploy":                  {Repository: "quay.io/kata-containers/kata-deploy"},
		"quay.io/kata-containers/kata-deploy:3.28.0":           {Repository: "quay.io/kata-containers/kata-deploy", Tag: "3.28.0"},
		"localhost:5000/kata":                                  {Repository: "localhost:5000/kata"},
		"localhost:5000/kata:ci":                               {Repository: "localhost:5000/kata", Tag: "ci"},
		"quay.io/kata-containers/kata-deploy@" + digest:        {Repository: "quay.io/kata-containers/kata-deploy", Digest: digest},
		"quay.io/kata-containers/kata-deploy:3.28.0@" + digest: {Repository: "quay.io/kata-containers/kata-deploy", Digest: digest},
		"https://quay.io/kata":                                 {},
		"quay.io/kata:":                                        {},
		"quay.io/kata@sha256:abc":                              {},
		"quay.io/Kata":                                         {},
		"":                                                     {},
	} {
		got, err := ParseDestination(text)
		if got != want || (err == nil) != (want.Repository != "") {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

// TestRelease pushes a release twice, and then another image under its tag.
func TestRelease(t *testing.T) { releaseStays(t, registrytest.New(t)) }

func releaseStays(t *testing.T, host string) {
	o := options(t)
	first := make1(t, o)
	r, faults, _ := repository(t, host+"/kata")
	tags := IndexTags(commit, "3.28.0")
	push1(t, r, first, tags...)
	if again := push1(t, r, first, tags...); again.Changed {
		t.Errorf("the same again: %+v", again)
	}
	o.Components[0] = component(t, "qemu", 30_000, 9)
	second := make1(t, o)
	before := len(faults.Requests())
	_, err := r.Push(t.Context(), second, PushOptions{Tags: tags})
	if err == nil || !strings.Contains(err.Error(), "kata:3.28.0 is "+first.Digest()+" already, not "+second.Digest()) || !strings.Contains(err.Error(), "--force") {
		t.Errorf("got %v, want that the release stays", err)
	}
	for _, request := range faults.Requests()[before:] {
		if !strings.HasPrefix(request, "GET /v2/kata/manifests/") {
			t.Errorf("and it sent %q", request)
		}
	}
	for _, tag := range []string{"3.28.0", "latest", "kata-containers-" + commit} {
		wantImage(t, host+"/kata:"+tag, first)
	}
	// Tags that are not a release's move.
	push1(t, r, second, Tag{Name: "latest"})
	wantImage(t, host+"/kata:latest", second)
	wantImage(t, host+"/kata:3.28.0", first)
	pushed, err := r.Push(t.Context(), second, PushOptions{Tags: tags, Force: true})
	if err != nil || !pushed.Changed {
		t.Errorf("with force: %+v, %v", pushed, err)
	}
	wantImage(t, host+"/kata:3.28.0", second)
}

// TestPushByDigest has a destination with the digest of the image.
func TestPushByDigest(t *testing.T) {
	host := registrytest.New(t)
	image := make1(t, options(t))
	r, faults, _ := repository(t, host+"/kata")
	if _, err := r.Push(t.Context(), image, PushOptions{Digest: "sha256:" + strings.Repeat("a", 64)}); err == nil || !strings.Contains(err.Error(), "want sha256:aaaa") {
		t.Errorf("another digest: %v", err)
	}
	if len(faults.Requests()) > 0 {
		t.Errorf("asked %q", faults.Requests())
	}
	pushed, err := r.Push(t.Context(), image, PushOptions{Digest: image.Digest()})
	if err != nil || len(pushed.Tags) != 0 {
		t.Errorf("pushed %+v, %v", pushed, err)
	}
	wantImage(t, pushed.Reference, image)
	if _, err := r.Push(t.Context(), image, PushOptions{Tags: []Tag{{Name: "a b"}}}); err == nil || !strings.Contains(err.Error(), `tag "a b"`) {
		t.Errorf("a tag that is none: %v", err)
	}
}

// TestReleaseTagThatIsHidden has a registry that denies access to tags: the tag of a
// release counts as missing only if the registry shows the image that was just pushed.
func TestReleaseTagThatIsHidden(t *testing.T) {
	for name, c := range map[string]struct {
		hidden, want string
		o            PushOptions
	}{
		"missing":     {"/manifests/3.28.0", "", PushOptions{Tags: []Tag{{Name: "3.28.0", Fixed: true}}}},
		"everything":  {"/manifests/", "cannot tell whether 3.28.0 is the tag of another image; run docker login", PushOptions{Tags: []Tag{{Name: "3.28.0", Fixed: true}}}},
		"latest":      {"/manifests/", "cannot tell whether latest is the tag of another image", PushOptions{Tags: []Tag{{Name: "latest", Release: "3.28.0"}}}},
		"force":       {"/manifests/", "", PushOptions{Tags: []Tag{{Name: "3.28.0", Fixed: true}}, Force: true}},
		"other image": {"/manifests/", "", PushOptions{Tags: []Tag{{Name: "kata-containers-" + commit}}}},
	} {
		for _, code := range []int{401, 403} {
			r, faults, _ := repository(t, registrytest.New(t)+"/kata", registrytest.Rule{Method: "GET", Path: c.hidden, Do: registrytest.Status(code)})
			pushed, err := r.Push(t.Context(), make1(t, options(t)), c.o)
			if c.want == "" && (err != nil || len(pushed.Tags) != 1) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s, %d: pushed %+v, %v, want %q", name, code, pushed, err, c.want)
			}
			for _, request := range methods(faults, "PUT") {
				if c.want != "" && strings.Contains(request, "/manifests/") && !strings.Contains(request, "/manifests/sha256:") {
					t.Errorf("%s, %d: it sent %q", name, code, request)
				}
			}
		}
	}
}
