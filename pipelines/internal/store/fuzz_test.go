package store

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// FuzzManifest has a registry send any manifest: if it is accepted as an entry, the parts
// that it names are valid, and its tag leads back to it.
func FuzzManifest(f *testing.F) {
	for _, name := range []string{"manifest.golden", "manifest-outputs.golden"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	digest := "sha256:" + builderID
	f.Add([]byte(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + digest + `","size":1},"layers":[{"digest":"` + digest + `","size":1}],"annotations":{"io.katacontainers.builder.id":"` + builderID + `"}}`))
	f.Add([]byte(`{"artifactType":"` + string(Proof) + `","config":{"digest":"` + digest + `","size":2},"layers":[{"digest":"` + digest + `","size":9}],"subject":{"digest":"` + digest + `","size":3}}`))
	f.Add([]byte(`{"artifactType":"` + sourceType + `","config":{"digest":"` + digest + `","size":2},"layers":[{"digest":"` + digest + `","size":9223372036854775807}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := oci.ParseManifest(data)
		if err != nil {
			if !IsDamage(err) {
				t.Errorf("%v, want damage", err)
			}
			return
		}
		if oci.Total(m.Parts()) < 0 {
			t.Errorf("the sizes of %v overflow", m.Parts())
		}
		_ = sourceRef(digest).check(m)
		for _, name := range []string{"kernel-debug", "qemu", builderRepository} {
			tag, err := localTag(name, m)
			if err != nil {
				continue
			}
			if ref, refErr := refOf(m); refErr == nil && name != builderRepository {
				e, ok := entryOf(name, tag)
				if !ok || e != entry(ref) || e.check(m) != nil {
					t.Errorf("%s:%s leads to %v", name, tag, e)
				}
				if artifact := artifactOf(ref, m); artifact.Size < 0 || len(artifact.Outputs) != len(m.Layers)-2 {
					t.Errorf("got %+v", artifact)
				}
			}
		}
	})
}

// FuzzIndex has any content in index.json of a layout: List finds the whole artifacts, and
// nothing else.
func FuzzIndex(f *testing.F) {
	kept, _ := open(f)
	p := sample(f, "qemu", "x86_64", 1)
	if err := os.WriteFile(p.Tarball, tarballOf(1, 4000), 0o600); err != nil {
		f.Fatal(err)
	}
	artifact := put(f, kept, p)
	if err := kept.Attach(f.Context(), artifact, Proof, []byte("{}")); err != nil {
		f.Fatal(err)
	}
	path := indexPath(kept.layout("qemu"))
	index, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(index)
	f.Add(index[:len(index)/2])
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha512:x","size":-1,"annotations":{"org.opencontainers.image.ref.name":"` + p.Tag() + `"}}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"x","annotations":{"org.opencontainers.image.ref.name":"proof-` + artifact.Manifest.Digest().Encoded() + `-x"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		s := Open(kept.dir, nil)
		if _, err := s.Verify(t.Context()); err != nil {
			t.Errorf("Verify: %v", err)
		}
		list, err := s.List(t.Context())
		if err != nil {
			t.Errorf("List: %v", err)
		}
		for _, found := range list {
			if found.Ref != p.Ref || found.Digest != artifact.Digest {
				t.Errorf("found %+v", found)
			}
		}
		if _, err := (&Tiered{Local: s}).Attached(t.Context(), artifact, Proof); err != nil && !IsDamage(err) {
			t.Errorf("Proofs: %v", err)
		}
	})
}
