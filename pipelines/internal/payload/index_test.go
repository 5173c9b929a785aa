package payload

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// archImages pushes an image for each architecture, tagged with its name.
func archImages(t testing.TB, ref string, goarches ...string) map[string]*Image {
	t.Helper()
	images := map[string]*Image{}
	r, _, _ := repository(t, ref)
	for i, goarch := range goarches {
		o := options(t)
		o.GoArch, o.Components = goarch, []archive.Component{component(t, "kernel", 10_000+i, i)}
		images[goarch] = make1(t, o)
		push1(t, r, images[goarch], Tag{Name: goarch})
	}
	return images
}

func wantedImages(ref string, goarches ...string) (list []IndexImage) {
	for _, goarch := range goarches {
		list = append(list, IndexImage{GoArch: goarch, Reference: ref + ":" + goarch})
	}
	return list
}

func TestIndex(t *testing.T) { indexes(t, registrytest.New(t)) }

func indexes(t *testing.T, host string) {
	ref := host + "/kata/kata-deploy"
	all := []string{"amd64", "arm64", "s390x", "ppc64le"}
	images := archImages(t, ref, all...)
	r, _, _ := repository(t, ref)
	o := IndexOptions{Images: wantedImages(ref, all...), Labels: Labels{Version: "3.28.0"}, PushOptions: PushOptions{Tags: IndexTags(commit, "3.28.0")}}
	pushed, err := r.PushIndex(t.Context(), o)
	if err != nil || !pushed.Changed || !slices.Equal(pushed.Tags, []string{"kata-containers-" + commit, "3.28.0", "latest"}) {
		t.Fatalf("pushed %+v, %v", pushed, err)
	}
	again, err := r.PushIndex(t.Context(), o)
	if err != nil || again.Changed || again.Digest != pushed.Digest {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	for _, goarch := range all {
		got := must(remote.Image(must(name.ParseReference(ref+":3.28.0")), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: goarch})))
		if must(got.Digest()).String() != images[goarch].Digest() {
			t.Errorf("the index has another image for %s", goarch)
		}
	}
	// A reference with a digest is used as it is.
	o.Images[0].Reference = ref + "@" + images["amd64"].Digest()
	if again, err = r.PushIndex(t.Context(), o); err != nil || again.Changed {
		t.Errorf("by digest: %+v, %v", again, err)
	}
	// An index of fewer images is another one, which may not take the tag of the
	// release.
	o.Images = o.Images[:2]
	if _, err := r.PushIndex(t.Context(), o); err == nil || !strings.Contains(err.Error(), ":3.28.0 is "+pushed.Digest+" already") {
		t.Errorf("a release was replaced: %v", err)
	}
}

func TestIndexProblems(t *testing.T) {
	ref := registrytest.New(t) + "/kata"
	archImages(t, ref, "amd64", "arm64")
	r, _, n := repository(t, ref)
	index := func(images ...IndexImage) (Pushed, error) {
		return r.PushIndex(t.Context(), IndexOptions{Images: images, PushOptions: PushOptions{Tags: []Tag{{Name: "index"}}}})
	}
	for name, c := range map[string]struct {
		images []IndexImage
		want   string
	}{
		"missing":  {wantedImages(ref, "amd64", "s390x", "ppc64le"), "no image for s390x (" + ref + ":s390x), ppc64le (" + ref + ":ppc64le): push it, or excuse"},
		"none":     {[]IndexImage{{"s390x", ref + ":s390x", true}}, "an index without images"},
		"empty":    {nil, "an index without images"},
		"wrong":    {[]IndexImage{{"arm64", ref + ":amd64", true}}, "is for linux/amd64, want linux/arm64"},
		"twice":    {wantedImages(ref, "amd64", "amd64"), "two images for amd64"},
		"name":     {[]IndexImage{{"amd64", "Not a reference", false}}, "want NAME:TAG or NAME@sha256"},
		"no image": {[]IndexImage{{"amd64", ref + ":multi", false}}, "want the image of one architecture"},
	} {
		if _, err := index(wantedImages(ref, "amd64")...); err != nil {
			t.Fatal(err)
		}
		if _, err := r.PushIndex(t.Context(), IndexOptions{Images: wantedImages(ref, "amd64"), PushOptions: PushOptions{Tags: []Tag{{Name: "multi"}}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := index(c.images...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	excused := wantedImages(ref, "amd64", "s390x")
	excused[1].Optional = true
	if _, err := index(excused...); err != nil {
		t.Error(err)
	}
	if got := must(must(remote.Index(must(name.ParseReference(ref + ":index")))).IndexManifest()); len(got.Manifests) != 1 {
		t.Errorf("the index has %d images, want one", len(got.Manifests))
	}
	if !strings.Contains(n.String(), "no image for s390x") {
		t.Errorf("noted %q", n)
	}
}

// TestIndexOfElsewhere has images in another repository, and in another registry.
func TestIndexOfElsewhere(t *testing.T) {
	host, other := registrytest.New(t), registrytest.New(t)
	images := archImages(t, host+"/kata/ci", "amd64")
	for goarch, image := range archImages(t, other+"/kata/ci", "arm64") {
		images[goarch] = image
	}
	r, _, _ := repository(t, host+"/kata/release")
	wanted := append(wantedImages(host+"/kata/ci", "amd64"), wantedImages(other+"/kata/ci", "arm64")...)
	if _, err := r.PushIndex(t.Context(), IndexOptions{Images: wanted, PushOptions: PushOptions{Tags: []Tag{{Name: "a"}}}}); err != nil {
		t.Fatal(err)
	}
	for _, image := range images {
		wantImage(t, host+"/kata/release@"+image.Digest(), image)
	}
}

// TestCopyRefused has a registry that refuses a copy of an image: the hint appears
// once.
func TestCopyRefused(t *testing.T) {
	from := registrytest.New(t) + "/kata"
	archImages(t, from, "amd64")
	for _, path := range []string{"/blobs/uploads/", "/manifests/"} {
		r, _, _ := repository(t, registrytest.New(t)+"/copy", registrytest.Rule{Method: "POST", Path: path, Do: registrytest.Status(403)}, registrytest.Rule{Method: "PUT", Path: path, Do: registrytest.Status(403)})
		_, err := r.PushIndex(t.Context(), IndexOptions{Images: wantedImages(from, "amd64")})
		if err == nil || strings.Count(err.Error(), "docker login") != 1 {
			t.Errorf("%s: %v", path, err)
		}
	}
}
