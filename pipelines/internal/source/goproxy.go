package source

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// goProxy has the go command download a module and everything that its go.sum
// names, and packs that as a module proxy would serve it.
func (t *task) goProxy(ctx context.Context, place versions.Place) (Fetched, error) {
	main := place.GoProxy.Module + "@" + place.GoProxy.Version
	what := "the Go module " + main
	zipPath, err := t.downloadModule(ctx, main, "GONOSUMDB="+place.GoProxy.Module)
	if err != nil {
		return Fetched{}, err
	}
	sums, err := goSums(zipPath, main)
	if err != nil {
		return Fetched{}, fmt.Errorf("reading go.sum of %s: %w", what, err)
	}
	files, err := t.proxyFiles(ctx, sums)
	if err != nil {
		return Fetched{}, unavailable{fmt.Errorf("downloading what %s needs: %w", what, err)}
	}
	files[main] = moduleFiles{Zip: zipPath, GoMod: strings.TrimSuffix(zipPath, ".zip") + ".mod"}
	return t.made(ctx, place, what+" and its dependencies", func(path string) error {
		return packProxy(path, files)
	})
}

// goSums returns the lines of the go.sum in a module's zip: "module@version" or
// "module@version/go.mod" to its sum.
func goSums(zipPath string, main string) (map[string]string, error) {
	archive, err := zip.OpenReader(zipPath)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	file, err := archive.Open(main + "/go.sum")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sums := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 {
			return nil, fmt.Errorf("the line %q does not have three fields", lines.Text())
		}
		sums[fields[0]+"@"+fields[1]] = fields[2]
	}
	return sums, lines.Err()
}

// proxyFiles downloads the modules of a go.sum, or only their go.mod files, and
// compares them with their sums.
func (t *task) proxyFiles(ctx context.Context, sums map[string]string) (map[string]moduleFiles, error) {
	var whole, mods []string
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if at, ok := strings.CutSuffix(name, "/go.mod"); !ok {
			whole = append(whole, name)
		} else if sums[at] == "" {
			mods = append(mods, at)
		}
	}
	files := map[string]moduleFiles{}
	for _, args := range [][]string{append([]string{"mod", "download", "-json"}, whole...), append([]string{"list", "-m", "-json"}, mods...)} {
		if args[len(args)-1] == "-json" {
			continue // No module is asked for.
		}
		// go.sum decides, and not the checksum database.
		answers, err := t.askGo(ctx, []string{"GONOSUMDB=*"}, args...)
		if err != nil {
			return nil, err
		}
		for _, m := range answers {
			files[m.Path+"@"+m.Version] = m
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		at, isMod := strings.CutSuffix(name, "/go.mod")
		sum, err := modSum(files[at].GoMod)
		if !isMod {
			sum, err = zipSum(files[at].Zip)
		}
		if err != nil {
			return nil, fmt.Errorf("summing %s: %w", name, err)
		}
		if sum != sums[name] {
			return nil, fmt.Errorf("%s has the sum %s, and go.sum says %s", name, sum, sums[name])
		}
	}
	return files, nil
}

// modSum is the sum that go.sum has for only a go.mod file.
func modSum(path string) (string, error) {
	return dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return os.Open(path) })
}

// packProxy writes the tar of a module proxy's tree, for GOPROXY=file://. It
// leaves out what else a proxy says of a version than its name: that may change.
func packProxy(out string, files map[string]moduleFiles) (err error) {
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	tarball := tar.NewWriter(file)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		at, version, _ := strings.Cut(name, "@")
		if err := packModule(tarball, at, version, files[name]); err != nil {
			return fmt.Errorf("packing %s: %w", name, err)
		}
	}
	return tarball.Close()
}

func packModule(tarball *tar.Writer, at, version string, files moduleFiles) error {
	folder, err := module.EscapePath(at)
	if err != nil {
		return err
	}
	name, err := module.EscapeVersion(version)
	if err != nil {
		return err
	}
	base := path.Join("proxy", folder, "@v", name)
	info := fmt.Appendf(nil, "{\"Version\":%q}\n", version)
	if err := packFile(tarball, base+".info", int64(len(info)), bytes.NewReader(info)); err != nil {
		return err
	}
	for _, from := range []struct{ suffix, path string }{{".mod", files.GoMod}, {".zip", files.Zip}} {
		if from.path == "" {
			continue
		}
		if err := packCopy(tarball, base+from.suffix, from.path); err != nil {
			return err
		}
	}
	return nil
}

func packCopy(tarball *tar.Writer, name, from string) (err error) {
	content, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	info, err := content.Stat()
	if err != nil {
		return err
	}
	return packFile(tarball, name, info.Size(), content)
}

func packFile(tarball *tar.Writer, name string, size int64, content io.Reader) error {
	if err := tarball.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := io.Copy(tarball, content)
	return err
}
