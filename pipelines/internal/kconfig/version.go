package kconfig

import (
	"cmp"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
)

// VersionFile holds the number that Kata raises with every change of the fragments;
// it is part of the names of installed kernels.
const VersionFile = Root + "/kata_config_version"

// ConfigVersion reads kernel-configs/kata_config_version.
func ConfigVersion(tree fs.FS) (int, error) {
	data, err := fs.ReadFile(tree, VersionFile)
	if err != nil {
		return 0, fmt.Errorf("%s: %w: write the number of the configuration to it", VersionFile, cause(err))
	}
	text := strings.TrimSpace(string(data))
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 || strconv.Itoa(number) != text {
		return 0, fmt.Errorf("%s:1: %s is not a positive number such as 188", VersionFile, quote(text))
	}
	return number, nil
}

// number has no leading zero: package semver takes no version that has one.
const number = `(?:0|[1-9]\d{0,5})`

var (
	// A release candidate counts as its release, because it has the same options. A build
	// can append anything, as in "-rc1+" or "-kata".
	versionText = regexp.MustCompile(`^v?(` + number + `\.` + number + `)(\.` + number + `)?(?:[-+].*)?$`)
	boundText   = regexp.MustCompile(`^(>=|<) *(` + number + `\.` + number + `(?:\.` + number + `)?)$`)
)

// parseVersion returns the numbers of a version of Linux, for package semver.
func parseVersion(text string) (string, error) {
	m := versionText.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s is not a version of Linux such as v6.18.15 or 6.19-rc1", quote(text))
	}
	return m[1] + cmp.Or(m[2], ".0"), nil
}

// bound is one end of a range of versions: at least version, or below it.
type bound struct {
	below   bool
	version string
}

// parseRange reads bounds separated by commas; "" is the range of all versions.
func parseRange(text string) ([]bound, error) {
	if text == "" {
		return nil, nil
	}
	var bounds []bound
	for part := range strings.SplitSeq(text, ",") {
		m := boundText.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return nil, fmt.Errorf("versions are %s: want a range such as \">=6.18, <6.20\"", quote(text))
		}
		version, _ := parseVersion(m[2]) // No other version matches.
		bounds = append(bounds, bound{m[1] == "<", version})
	}
	return bounds, nil
}

// holds compares a version that parseVersion has returned.
func (b bound) holds(version string) bool { return semver.Newer(b.version, version) == b.below }
