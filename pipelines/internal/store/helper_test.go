package store

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

func indexPath(l *oci.Layout) string { return filepath.Join(l.Root, ocispec.ImageIndexFile) }

func partialPath(l *oci.Layout) string { return filepath.Join(l.Root, "partial") }

func mustIndex(t testing.TB, l *oci.Layout) ocispec.Index {
	t.Helper()
	data, err := os.ReadFile(indexPath(l))
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	return index
}

// entryAt returns the entry of a tag.
func entryAt(t testing.TB, l *oci.Layout, tag string) ocispec.Descriptor {
	t.Helper()
	for _, d := range mustIndex(t, l).Manifests {
		if d.Annotations[ocispec.AnnotationRefName] == tag {
			return d
		}
	}
	t.Fatalf("no entry %s", tag)
	return ocispec.Descriptor{}
}

// setEntry puts a manifest under a tag, whatever it is.
func setEntry(t testing.TB, l *oci.Layout, tag string, d ocispec.Descriptor) {
	t.Helper()
	index := mustIndex(t, l)
	d.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	entries := []ocispec.Descriptor{d}
	for _, other := range index.Manifests {
		if other.Annotations[ocispec.AnnotationRefName] != tag {
			entries = append(entries, other)
		}
	}
	index.Manifests = entries
	data, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(indexPath(l), data, 0o644); err != nil {
		t.Fatal(err)
	}
}
