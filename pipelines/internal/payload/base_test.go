package payload

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// pushBase pushes an index of random images of docker's own types and returns its
// reference by digest, and the layers by architecture.
func pushBase(t testing.TB, repository string, goarches ...string) (string, map[string][]v1.Layer) {
	t.Helper()
	index, layers := v1.ImageIndex(empty.Index), map[string][]v1.Layer{}
	for _, goarch := range goarches {
		image := must(random.Image(5000, 2))
		config := must(image.ConfigFile()).DeepCopy()
		config.OS, config.Architecture = "linux", goarch
		config.Config.Env, config.Config.User = []string{"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"}, "0"
		image = must(mutate.ConfigFile(image, config))
		layers[goarch] = must(image.Layers())
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: goarch}}})
	}
	if err := remote.WriteIndex(must(name.ParseReference(repository+":latest")), index); err != nil {
		t.Fatal(err)
	}
	return repository + "@" + must(index.Digest()).String(), layers
}

func TestBase(t *testing.T) {
	host, other := registrytest.New(t), registrytest.New(t)
	o := options(t)
	var layers map[string][]v1.Layer
	o.Base, layers = pushBase(t, host+"/distroless/static", "arm64", "amd64")
	image := make1(t, o)
	if image.Base() != o.Base {
		t.Errorf("the base is %q", image.Base())
	}
	if again := make1(t, o); again.Digest() != image.Digest() {
		t.Errorf("digest %s, then %s", image.Digest(), again.Digest())
	}
	manifest, config := image.manifest, image.config
	for i, l := range layers["amd64"] {
		if got := manifest.Layers[i]; got.Digest.String() != must(l.Digest()).String() || got.MediaType != "application/vnd.oci.image.layer.v1.tar+gzip" || config.RootFS.DiffIDs[i] != must(l.DiffID()) {
			t.Errorf("layer %d is %+v", i, got)
		}
	}
	if len(manifest.Layers) != 2+3 || !slices.Equal(config.Config.Env, []string{"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"}) || config.Config.User != "0" {
		t.Errorf("%d layers, config %+v", len(manifest.Layers), config.Config)
	}
	if got := manifest.Annotations[annotation+"base.name"] + "@" + manifest.Annotations[annotation+"base.digest"]; got != o.Base {
		t.Errorf("annotated as made from %q", got)
	}
	// Its layers go from one registry to the other.
	for _, to := range []string{host, other} {
		r, _, _ := repository(t, to+"/kata")
		pushed := push1(t, r, image)
		wantImage(t, pushed.Reference, image)
	}
}

// TestNoBase has no registry that answers, and then one without the image.
func TestNoBase(t *testing.T) {
	host := registrytest.New(t)
	o := options(t)
	plain := make1(t, o).Digest()
	o.Base = host + "/distroless/static@sha256:" + strings.Repeat("a", 64)
	var n *notes
	o.Remote, n = remotes(&registrytest.Faults{Rules: []registrytest.Rule{{Do: registrytest.Refuse()}}}, quick)
	image := make1(t, o)
	if image.Base() != "" || image.Digest() != plain {
		t.Errorf("the base is %q, the digest %s", image.Base(), image.Digest())
	}
	if want := "no registry has the base " + o.Base; !strings.Contains(n.String(), want) || !strings.Contains(n.String(), "connection refused") {
		t.Errorf("noted %q, want %q", n, want)
	}
	required := o
	required.RequireBase = true
	if _, err := Build(t.Context(), required); err == nil || !strings.Contains(err.Error(), "getting the base "+o.Base) {
		t.Errorf("with RequireBase: %v", err)
	}
	// A registry that answers without the base is an error: the image would be another.
	for _, code := range []int{0, 401, 403, 503} {
		faults := &registrytest.Faults{}
		if code != 0 {
			faults.Rules = []registrytest.Rule{{Path: "manifests", Do: registrytest.Status(code)}}
		}
		o.Remote, _ = remotes(faults, quick)
		if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "getting the base") {
			t.Errorf("answer %d: %v", code, err)
		}
	}
}

func TestBaseThatDoesNotServe(t *testing.T) {
	host := registrytest.New(t)
	o := options(t)
	o.GoArch = "s390x"
	o.Base, _ = pushBase(t, host+"/static", "amd64")
	if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "linux/s390x") {
		t.Errorf("got %v", err)
	}
	// An image of another architecture, not an index.
	image := must(random.Image(100, 1))
	ref := must(name.ParseReference(host + "/image:latest"))
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	o.Base = host + "/image@" + must(image.Digest()).String()
	if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "want linux/s390x") {
		t.Errorf("got %v", err)
	}
}
