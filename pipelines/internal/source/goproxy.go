package source

import (
	"archive/tar"
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
// names, or what a go.sum of the tree names, and packs that as a module proxy would
// serve it.
func (t *task) goProxy(ctx context.Context, place versions.Place) (Fetched, error) {
	sums, zipPath, err := t.goSums(ctx, place)
	if err != nil {
		return Fetched{}, err
	}
	files, err := t.proxyFiles(ctx, sums)
	if err != nil {
		return Fetched{}, unavailable{fmt.Errorf("downloading what %s needs: %w", place.Holds(), err)}
	}
	if zipPath != "" {
		files[place.GoProxy.String()] = moduleFiles{Zip: zipPath, GoMod: strings.TrimSuffix(zipPath, ".zip") + ".mod"}
	}
	return t.made(ctx, place, "the archive of "+place.Holds()+" and its dependencies", func(file *os.File) error {
		return packProxy(file, files)
	})
}

// goSums returns the lines of the go.sum of a place, and the zip of its module, "" if the
// go.sum is in the tree.
func (t *task) goSums(ctx context.Context, place versions.Place) (sums map[string]string, zipPath string, err error) {
	main := place.GoProxy.String()
	var data []byte
	if place.GoProxy.Lock != "" {
		data, err = fs.ReadFile(t.Tree, main)
	} else {
		if zipPath, err = t.downloadModule(ctx, main, "GONOSUMDB="+place.GoProxy.Module); err != nil {
			return nil, "", err
		}
		data, err = ofZip(zipPath, main+"/go.sum")
	}
	if err == nil {
		sums, err = parseGoSums(data)
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading go.sum of %s: %w", place.Holds(), err)
	}
	return sums, zipPath, nil
}

func ofZip(path, name string) ([]byte, error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	return fs.ReadFile(archive, name)
}

// parseGoSums returns the lines of a go.sum: "module@version" or "module@version/go.mod"
// to its sum.
func parseGoSums(data []byte) (map[string]string, error) {
	sums := map[string]string{}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("the line %q does not have three fields", line)
		}
		sums[fields[0]+"@"+fields[1]] = fields[2]
	}
	return sums, nil
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
			continue // There is no module to ask for.
		}
		// The sums are compared with go.sum, not with the checksum database.
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
			return nil, fmt.Errorf("%s has the sum %s, but go.sum has %s", name, sum, sums[name])
		}
	}
	return files, nil
}

// modSum returns the sum of a go.mod file, as in go.sum.
func modSum(path string) (string, error) {
	return dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return os.Open(path) })
}

// packProxy writes the tar of a module proxy's tree, for GOPROXY=file://. Of the
// metadata of a version it has only the name: the rest, such as the time, may change.
func packProxy(w io.Writer, files map[string]moduleFiles) error {
	tarball := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		at, version, _ := strings.Cut(name, "@")
		folder, err := module.EscapePath(at)
		if err != nil {
			return fmt.Errorf("packing %s: %w", name, err)
		}
		escaped, err := module.EscapeVersion(version)
		if err != nil {
			return fmt.Errorf("packing %s: %w", name, err)
		}
		base := path.Join("proxy", folder, "@v", escaped)
		info := fmt.Sprintf("{\"Version\":%q}\n", version)
		err = errors.Join(
			pack(tarball, base+".info", int64(len(info)), strings.NewReader(info)),
			packFile(tarball, base+".mod", files[name].GoMod),
			packFile(tarball, base+".zip", files[name].Zip))
		if err != nil {
			return fmt.Errorf("packing %s: %w", name, err)
		}
	}
	return tarball.Close()
}

// packFile packs a local file; "" is none.
func packFile(tarball *tar.Writer, name, from string) error {
	if from == "" {
		return nil
	}
	content, err := os.Open(from)
	if err != nil {
		return err
	}
	defer content.Close()
	info, err := content.Stat()
	if err != nil {
		return err
	}
	return pack(tarball, name, info.Size(), content)
}

func pack(tarball *tar.Writer, name string, size int64, content io.Reader) error {
	if err := tarball.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := io.Copy(tarball, content)
	return err
}
