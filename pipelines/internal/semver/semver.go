// Package semver compares versions of releases such as 3.28.0, 3.28.0-alpha1 and
// 3.28.0-rc10. It uses golang.org/x/mod/semver, which requires a leading v and compares
// the numbers of pre-releases only after a dot.
package semver

import (
	"regexp"
	"strings"

	"golang.org/x/mod/semver"
)

// form matches a version: three numbers, and an optional pre-release.
var form = regexp.MustCompile(`^v?[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

// numbered matches where the name of a pre-release ends and its number begins.
var numbered = regexp.MustCompile(`([A-Za-z])([0-9])`)

// dotted returns a version as v3.28.0-rc.10, or "".
func dotted(version string) string {
	if !form.MatchString(version) {
		return ""
	}
	return "v" + numbered.ReplaceAllString(strings.TrimPrefix(version, "v"), "$1.$2")
}

// Valid reports whether a text is a version. 3.29.0rc0, without a dash, is not: it
// would count as a release.
func Valid(text string) bool { return semver.IsValid(dotted(text)) }

// Prerelease reports whether a version is a pre-release, such as 3.29.0-rc0.
func Prerelease(version string) bool { return strings.Contains(version, "-") }

// Newer reports whether a version is above another. An invalid version is below all
// others.
func Newer(version, than string) bool { return Compare(version, than) > 0 }

// Compare orders versions by Newer: it returns -1, 0 or +1.
func Compare(a, b string) int { return semver.Compare(dotted(a), dotted(b)) }
