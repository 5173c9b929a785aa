package debian

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
)

// osRelease names the distribution of this machine.
const osRelease = "/etc/os-release"

// Mirror returns the address of the Debian archive (not the security one) that
// this machine's apt uses, "" where none is configured: on Ubuntu, or without
// apt. The address may carry credentials.
func Mirror(ctx context.Context) (string, error) { return mirrorOf(ctx, osRelease) }

func mirrorOf(ctx context.Context, osRelease string) (string, error) {
	mirror, err := firstTarget(ctx, "Origin: Debian", "Label: Debian")
	if errors.Is(err, exec.ErrNotFound) {
		return "", nil
	}
	if mirror != "" || err != nil {
		return mirror, err
	}
	// A fresh container image has no index yet, so nothing is signed as
	// Debian's: there, the configuration of a Debian machine is trusted.
	codename, err := codename(osRelease)
	if codename == "" || err != nil {
		return "", err
	}
	return firstTarget(ctx, "--no-release-info", "Release: "+codename)
}

// firstTarget returns the first usable address of those indexes of main packages
// that apt is configured to use and that have the given fields.
func firstTarget(ctx context.Context, fields ...string) (string, error) {
	args := []string{"indextargets", "--format", "$(REPO_URI)", "Component: main"}
	out, err := output(ctx, "", "apt-get", append(args, fields...)...)
	if err != nil {
		return "", fmt.Errorf("asking apt for its mirror: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		mirror, err := reachable(strings.TrimSpace(line))
		if mirror != "" || err != nil {
			return mirror, err
		}
	}
	return "", nil
}

// reachable returns an address that other programs and containers can use too:
// an http one as it is, the first of a list of mirrors (Debian's cloud images
// have one), and "" for a medium that only apt reads.
func reachable(uri string) (string, error) {
	scheme, rest, _ := strings.Cut(uri, ":")
	switch scheme {
	case "http", "https":
		return strings.TrimSuffix(uri, "/"), nil
	case "mirror+file":
		data, err := os.ReadFile("/" + strings.Trim(rest, "/"))
		if err != nil {
			return "", fmt.Errorf("reading apt's list of mirrors: %w", err)
		}
		for _, word := range strings.Fields(string(data)) {
			if u, err := url.Parse(word); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
				return strings.TrimSuffix(word, "/"), nil
			}
		}
	}
	return "", nil
}

// codename returns the release of this machine where it is Debian, else "".
func codename(osRelease string) (string, error) {
	data, err := os.ReadFile(osRelease)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the name of the distribution: %w", err)
	}
	var id, name string
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"'`); key {
		case "ID":
			id = value
		case "VERSION_CODENAME":
			name = value
		}
	}
	if id != "debian" {
		return "", nil
	}
	return name, nil
}
