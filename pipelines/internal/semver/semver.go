// Package semver compares versions of releases such as 3.28.0, 3.28.0-alpha1 and
// 3.28.0-rc0. golang.org/x/mod/semver orders rc10 before rc9, and wants a leading v.
package semver

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// form matches a version: three numbers, and an optional pre-release.
var form = regexp.MustCompile(`^v?([0-9]+)\.([0-9]+)\.([0-9]+)(?:-([0-9A-Za-z.-]+))?$`)

// Valid reports whether a text is a version. 3.29.0rc0, without a dash, is not: it
// would count as a release.
func Valid(text string) bool { return form.MatchString(text) }

// Prerelease reports whether a version is a pre-release, such as 3.29.0-rc0.
func Prerelease(version string) bool { return strings.Contains(version, "-") }

// Newer reports whether a version is above another. An invalid version is below all
// others.
func Newer(version, than string) bool { return Compare(version, than) > 0 }

// Compare returns -1, 0 or 1 if a is below, equal to or above b.
func Compare(a, b string) int {
	left, right := form.FindStringSubmatch(a), form.FindStringSubmatch(b)
	if left == nil || right == nil {
		return cmp.Compare(len(left), len(right))
	}
	for i := 1; i <= 3; i++ {
		if c := compareNumbers(left[i], right[i]); c != 0 {
			return c
		}
	}
	switch {
	case left[4] == right[4]:
		return 0
	case left[4] == "":
		return 1
	case right[4] == "":
		return -1
	}
	return slices.CompareFunc(parts(left[4]), parts(right[4]), compareNumbers)
}

// tagParts splits rc10 into rc and 10.
var tagParts = regexp.MustCompile(`[0-9]+|[^0-9.-]+`)

func parts(text string) []string { return tagParts.FindAllString(text, -1) }

// compareNumbers compares two numbers numerically, anything else as text.
func compareNumbers(a, b string) int {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	if errX == nil && errY == nil {
		return cmp.Compare(x, y)
	}
	return strings.Compare(a, b)
}
