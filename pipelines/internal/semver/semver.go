// Package semver reads the versions of releases: 3.28.0, and before that
// 3.28.0-alpha1 and 3.28.0-rc0.
package semver

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// form is that of a version: three numbers, and for one before a release what kind
// it is.
var form = regexp.MustCompile(`^v?([0-9]+)\.([0-9]+)\.([0-9]+)(?:-([0-9A-Za-z.-]+))?$`)

// Valid tells whether a text is a version. What has no dash before its suffix, such
// as 3.29.0rc0, is none: it would be taken for a release.
func Valid(text string) bool { return form.MatchString(text) }

// Prerelease tells whether a version comes before a release: 3.29.0-rc0 does.
func Prerelease(version string) bool { return strings.Contains(version, "-") }

// Newer tells whether a version is above another. One that is no version is below
// all others.
func Newer(version, than string) bool { return Compare(version, than) > 0 }

// Compare returns -1, 0 or 1 where a is below, the same as, or above b.
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

// tagParts cuts rc10 into rc and 10.
var tagParts = regexp.MustCompile(`[0-9]+|[^0-9.-]+`)

func parts(text string) []string { return tagParts.FindAllString(text, -1) }

// compareNumbers compares as numbers what is one on both sides.
func compareNumbers(a, b string) int {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	if errX == nil && errY == nil {
		return cmp.Compare(x, y)
	}
	return strings.Compare(a, b)
}
