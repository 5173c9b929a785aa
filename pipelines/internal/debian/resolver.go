package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// Archive is one file of a Debian source package, as the signed index lists it.
type Archive struct {
	// Name is the name of the file, URL its address on the mirror, which may
	// have the mirror's credentials, SHA256 its hash in lower-case hex.
	Name, URL, SHA256 string
	// Size is in bytes.
	Size int64
}

// Resolver looks up files of Debian source packages.
type Resolver struct {
	// StateDir is a folder for apt's indexes, made if need be, with a private apt
	// root for each suite.
	StateDir string
	// Mirror is the address of a Debian archive; "" is the machine's own.
	Mirror string

	// fresh has the suites whose indexes were fetched by Refresh.
	fresh sync.Map
}

// Source returns a file of a source package: Source(ctx, "linux",
// "6.18.15-1~bpo13+1", "trixie-backports", "linux_6.18.15.orig.tar.xz"). It
// fetches the index if it is absent or lacks the version; apt verifies the
// signature. Processes that share StateDir take turns.
func (r *Resolver) Source(ctx context.Context, pkg, version, suite, file string) (Archive, error) {
	archives, err := r.Files(ctx, pkg, version, suite)
	if err != nil {
		return Archive{}, err
	}
	names := make([]string, len(archives))
	for i, archive := range archives {
		if archive.Name == file {
			return archive, nil
		}
		names[i] = archive.Name
	}
	return Archive{}, fmt.Errorf("the Debian source package %s %s has no file %q%s; it has %s",
		pkg, version, file, nearest.Hint(file, names), strings.Join(names, ", "))
}

// Files returns all files of a source package, as Source does.
func (r *Resolver) Files(ctx context.Context, pkg, version, suite string) ([]Archive, error) {
	if err := checkNames(pkg, version, suite); err != nil {
		return nil, err
	}
	root, unlock, err := r.open(ctx, suite)
	if err != nil {
		return nil, err
	}
	defer unlock()
	archives, err := lookUpFresh(ctx, root, pkg, version)
	if err != nil {
		return nil, fmt.Errorf("looking up the Debian source package %s %s in %s: %w", pkg, version, suite, err)
	}
	return archives, nil
}

// Versions returns the versions of a source package that the index lists, in the order of
// dpkg, the newest last; none if the suite lacks the package.
func (r *Resolver) Versions(ctx context.Context, pkg, suite string) ([]string, error) {
	if err := checkNames(pkg, "0", suite); err != nil {
		return nil, err
	}
	root, unlock, err := r.open(ctx, suite)
	if err != nil {
		return nil, err
	}
	defer unlock()
	out, err := apt(ctx, root, "apt-cache", "showsrc", "--only-source", pkg)
	if err != nil {
		return nil, fmt.Errorf("listing the versions of the Debian source package %s in %s: %w", pkg, suite, err)
	}
	return ordered(ctx, versionsIn(out))
}

// Refresh fetches the index of a suite, once for a Resolver: what it lists is what the
// archive has today.
func (r *Resolver) Refresh(ctx context.Context, suite string) error {
	if _, done := r.fresh.Load(suite); done {
		return nil
	}
	if err := checkNames("any", "0", suite); err != nil {
		return err
	}
	root, unlock, err := r.open(ctx, suite)
	if err != nil {
		return err
	}
	defer unlock()
	if err := update(ctx, root); err != nil {
		return err
	}
	r.fresh.Store(suite, nil)
	return nil
}

// open locks the private apt root of a suite, and makes it if need be.
func (r *Resolver) open(ctx context.Context, suite string) (root string, unlock func(), err error) {
	if root, err = filepath.Abs(filepath.Join(r.StateDir, suite)); err != nil {
		return "", nil, fmt.Errorf("finding the private apt root: %w", err)
	}
	if unlock, err = files.Lock(ctx, root+".lock", files.Waiting{}); err != nil {
		return "", nil, err
	}
	if err := r.lay(ctx, root, suite); err != nil {
		unlock()
		return "", nil, err
	}
	return root, unlock, nil
}

var (
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	versionForm = regexp.MustCompile(`^[0-9][A-Za-z0-9.+:~-]*$`)
)

// checkNames refuses names that apt or sources.list would read as something else.
func checkNames(pkg, version, suite string) error {
	for _, name := range []struct {
		what, value string
		form        *regexp.Regexp
	}{{"source package", pkg, packageName}, {"version", version, versionForm}, {"suite", suite, packageName}} {
		if !name.form.MatchString(name.value) {
			return fmt.Errorf("%q is not the name of a Debian %s; correct it in the place that has it", name.value, name.what)
		}
	}
	return nil
}

func (r *Resolver) lay(ctx context.Context, root, suite string) error {
	mirror := r.Mirror
	if mirror == "" {
		var err error
		if mirror, err = Mirror(ctx); err != nil {
			return err
		}
	}
	if mirror == "" {
		return errors.New("apt on this machine has no Debian mirror configured; use another place of the source, or pass its file with --source")
	}
	if _, err := os.Stat(keyring); err != nil {
		return fmt.Errorf("the keys of the Debian archive are missing: %w; apt-get install debian-archive-keyring", err)
	}
	for _, dir := range []string{"state/lists/partial", "cache/archives/partial", "empty"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return fmt.Errorf("making a private apt root: %w", err)
		}
	}
	list := fmt.Sprintf("deb-src [signed-by=%s] %s %s main\n", keyring, mirror, suite)
	for _, file := range []struct{ name, content string }{{"sources.list", list}, {"apt.conf", aptConf}} {
		// The mirror's address may have credentials.
		if err := os.WriteFile(filepath.Join(root, file.name), []byte(file.content), 0o600); err != nil {
			return fmt.Errorf("making a private apt root: %w", err)
		}
	}
	return nil
}
