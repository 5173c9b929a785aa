package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// spelled returns how a secret may be written: as it is, escaped for a URL, in hex, and in
// base64 wherever it begins in the encoded text.
func spelled(secret string) []string {
	all := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret))}
	for before := range 3 {
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := encoding.EncodeToString([]byte(strings.Repeat("x", before) + secret))
			// Its neighbours decide the first and last digits.
			all = append(all, text[(before*8+5)/6:len(text)-1])
		}
	}
	return all
}

// leaked returns the spelling of a secret that some content has, "" for none.
func leaked(content []byte, secrets ...string) string {
	for _, secret := range secrets {
		for _, text := range spelled(secret) {
			if bytes.Contains(content, []byte(text)) {
				return text
			}
		}
	}
	return ""
}

// leakedFile is leaked for a file, and for what is in it if it is a tarball.
func leakedFile(path string, secrets ...string) (found string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if found = leaked(data, secrets...); found != "" || !bytes.HasPrefix(data, []byte("\x28\xb5\x2f\xfd")) {
		return found, nil
	}
	listing, err := archive.Inspect(path)
	for _, m := range listing.Members {
		var content bytes.Buffer
		if err == nil && m.Mode.IsRegular() {
			err = archive.Cat(&content, path, m.Name)
		}
		if text := leaked(append(content.Bytes(), m.Name...), secrets...); text != "" {
			return text, err
		}
	}
	return "", err
}

// leaks SECRET PATH|REPOSITORY... fails if a file, or anything in a repository of a
// registry, has a secret in any spelling. With ! it fails if none of them has it.
func leaks(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: leaks SECRET PATH|REPOSITORY...")
	}
	found := 0
	for _, at := range args[1:] {
		dir := ts.MkAbs(at)
		if host, _, isRepository := strings.Cut(at, "/"); isRepository && strings.Contains(host, ":") {
			dir = ts.MkAbs("of-" + filepath.Base(at))
			ts.Check(download(at, dir))
		}
		scanned := 0
		ts.Check(filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			text, err := leakedFile(path, args[0])
			if scanned++; text != "" {
				found++
				ts.Logf("%s has %q", path, text)
			}
			return err
		}))
		if scanned == 0 {
			ts.Fatalf("%s has no file", at)
		}
		ts.Logf("%s: %d files scanned", at, scanned)
	}
	if (found > 0) != neg {
		ts.Fatalf("%d files have the secret", found)
	}
}

// download writes all manifests and blobs of a repository to a folder: those of its tags,
// and of everything that refers to them.
func download(repository, dir string) error {
	host, _, _ := strings.Cut(repository, "/")
	from, err := oci.NewClient(oci.Options{Registry: host}).Repository(repository)
	if err != nil {
		return err
	}
	ctx := context.Background()
	wanted, err := from.Tags(ctx)
	for i := 0; err == nil && i < len(wanted); i++ {
		m, manifestErr := from.Manifest(ctx, wanted[i])
		if manifestErr != nil {
			return manifestErr
		}
		err = save(dir, m.Digest().Encoded(), bytes.NewReader(m.Data))
		for _, part := range m.Parts() {
			if err == nil {
				blob := from.Reader(ctx, part)
				err = save(dir, part.Digest.Encoded(), blob)
				_ = blob.Close()
			}
		}
		if err != nil {
			return err
		}
		referrers, listErr := from.Referrers(ctx, m.Digest(), "", 100)
		for _, r := range referrers {
			if !slices.Contains(wanted, r.Digest.String()) {
				wanted = append(wanted, r.Digest.String())
			}
		}
		err = listErr
	}
	return err
}

func save(dir, name string, content io.Reader) error {
	data, err := io.ReadAll(content)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
	}
	return err
}

// TestLeaked: the scan finds a secret in every spelling, and in a tarball.
func TestLeaked(t *testing.T) {
	const secret = "geheim+47/11?"
	for _, content := range []string{
		"a " + secret, "a geheim%2B47%2F11%3F b", "67656865696d2b34372f31313f",
		base64.StdEncoding.EncodeToString([]byte("me:" + secret)), base64.URLEncoding.EncodeToString([]byte("them:" + secret + " and more")),
		base64.StdEncoding.EncodeToString([]byte("user:" + secret + "\n")),
	} {
		if leaked([]byte(content), "other", secret) == "" {
			t.Errorf("not found in %q", content)
		}
	}
	if text := leaked([]byte("geheim, geheim+47"), secret); text != "" {
		t.Errorf("found %q", text)
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "tree", "opt", "kata"), os.DirFS("testdata/tree/kernel-configs")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tree", "opt", "kata", "a"), []byte(strings.Repeat("b", 1000)+secret), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Pack(t.Context(), filepath.Join(dir, "tree"), filepath.Join(dir, "tarball"), archive.Options{Level: 1}); err != nil {
		t.Fatal(err)
	}
	if text, err := leakedFile(filepath.Join(dir, "tarball"), secret); text != secret || err != nil {
		t.Errorf("in a tarball: %q, %v", text, err)
	}
}
