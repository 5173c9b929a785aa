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

// target is one index that apt is configured to use. Origin and Label are of
// the signed Release file, and empty before the first apt-get update.
type target struct{ URI, Release, Component, Origin, Label string }

const targetFormat = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)|$(LABEL)"

// Mirror returns the address of the Debian archive (not the security one) that
// this machine's apt uses, "" where none is configured: on Ubuntu, or without
// apt. The address may carry credentials.
func Mirror(ctx context.Context) (string, error) {
	targets, err := targetsOf(ctx)
	if errors.Is(err, exec.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("asking apt for its mirror: %w", err)
	}
	if mirror, err := mirrorOf(targets, ""); mirror != "" || err != nil {
		return mirror, err
	}
	// A fresh container image has no index yet, so nothing is signed as
	// Debian's: there, the configuration of a Debian machine is trusted.
	codename, err := codename("/etc/os-release")
	if codename == "" || err != nil {
		return "", err
	}
	if targets, err = targetsOf(ctx, "--no-release-info"); err != nil {
		return "", fmt.Errorf("asking apt for its mirror: %w", err)
	}
	return mirrorOf(targets, codename)
}

func targetsOf(ctx context.Context, options ...string) ([]target, error) {
	out, err := output(ctx, "", "apt-get", append([]string{"indextargets", "--format", targetFormat}, options...)...)
	if err != nil {
		return nil, err
	}
	return parseTargets(string(out)), nil
}

func parseTargets(text string) []target {
	var targets []target
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		if len(fields) != 5 {
			continue
		}
		for i, field := range fields {
			// apt prints the name of a variable that it has no value for.
			if strings.HasPrefix(field, "$(") {
				fields[i] = ""
			}
		}
		targets = append(targets, target{fields[0], fields[1], fields[2], fields[3], fields[4]})
	}
	return targets
}

// mirrorOf returns the first usable archive of Debian's main component: one
// whose index says so or, given a codename, one without an index that is
// configured for this release.
func mirrorOf(targets []target, codename string) (string, error) {
	for _, t := range targets {
		signed := t.Origin == "Debian" && t.Label == "Debian"
		believed := codename != "" && t.Origin == "" && t.Release == codename
		if t.Component != "main" || !signed && !believed {
			continue
		}
		mirror, err := reachable(t.URI)
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
