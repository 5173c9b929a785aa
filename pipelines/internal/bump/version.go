package bump

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// version is a version in parts: numbers, with what is around them. Projects, tags, files
// and Debian spell the same numbers differently: v10.2.2, qemu-10.2.2.tar.xz, 10.2.2+ds,
// v2_03_38 and 2.03.38, edk2-stable202502 and 2025.02, gpu-snp-20260107.
type version struct {
	// before is the text before the numbers: "v", "edk2-stable".
	before  string
	numbers []string
	// separator is between the numbers, "" if they are one run of digits.
	separator string
	// pre marks a pre-release: "-rc1".
	pre string
}

const (
	digits = `[0-9]+(?:[._-][0-9]+)*`
	// candidate is the mark of a pre-release, Debian's has a tilde.
	candidate = `[-._~+]?(?:rc|alpha|beta|pre|dev|git)[-._]?[0-9.]*`
)

var (
	versionForm = regexp.MustCompile(`^(.*?)(` + digits + `)(` + candidate + `)?$`)
	separators  = regexp.MustCompile(`[._-]`)
	yearMonth   = regexp.MustCompile(`^20[0-9]{2}(?:0[1-9]|1[0-2])$`)
	commitHex   = regexp.MustCompile(`[0-9a-f]{40}`)
)

// parse takes a version apart. One that is a commit, or has no numbers at its end, has no
// order.
func parse(text string) (v version, ok bool) {
	m := versionForm.FindStringSubmatch(text)
	if m == nil || commitHex.MatchString(text) {
		return version{}, false
	}
	return version{before: m[1], numbers: separators.Split(m[2], -1), separator: separators.FindString(m[2]), pre: m[3]}, true
}

func (v version) String() string { return v.before + v.spelled(v.separator) }

// spelled returns the version without the text before it, with a separator.
func (v version) spelled(separator string) string { return strings.Join(v.numbers, separator) + v.pre }

// split returns the numbers with a year and month in one, such as 202502, as two.
func (v version) split() []string {
	if first := v.numbers[0]; yearMonth.MatchString(first) {
		return slices.Concat([]string{first[:4], first[4:]}, v.numbers[1:])
	}
	return v.numbers
}

// like returns the version as another is spelled.
func (v version) like(other version) version {
	v.before, v.separator = other.before, cmp.Or(other.separator, v.separator, ".")
	if yearMonth.MatchString(other.numbers[0]) && len(v.numbers) > 1 && yearMonth.MatchString(v.numbers[0]+v.numbers[1]) {
		v.numbers = slices.Concat([]string{v.numbers[0] + v.numbers[1]}, v.numbers[2:])
	}
	return v
}

// compare orders versions by their numbers; a pre-release is below its release.
func (v version) compare(other version) int {
	a, b := v.split(), other.split()
	for i := range max(len(a), len(b)) {
		if c := numberAt(a, i) - numberAt(b, i); c != 0 {
			return c
		}
	}
	switch {
	case v.pre == other.pre:
		return 0
	case v.pre == "":
		return 1
	case other.pre == "":
		return -1
	}
	return comparePre(v.pre, other.pre)
}

// comparePre orders the marks of pre-releases: alpha, beta and rc by name, then by number.
func comparePre(a, b string) int {
	name := func(pre string) string { return strings.Trim(pre, "-._~+0123456789") }
	if c := strings.Compare(name(a), name(b)); c != 0 {
		return c
	}
	number := func(pre string) int {
		n, _ := strconv.Atoi(strings.TrimLeft(pre, "-._~+abcdefghijklmnopqrstuvwxyz"))
		return n
	}
	return number(a) - number(b)
}

// numberAt returns one of the numbers; a missing one is 0.
func numberAt(numbers []string, i int) int {
	if i >= len(numbers) {
		return 0
	}
	n, _ := strconv.Atoi(numbers[i]) // Only digits, and too many of them are not a version.
	return n
}

// within reports whether a version belongs to a series, such as v6.18.
func (v version) within(series string) bool {
	s, ok := parse(series)
	return series == "" || ok && len(v.numbers) >= len(s.numbers) && slices.Equal(v.numbers[:len(s.numbers)], s.numbers)
}

// spelling is a way to write the numbers of a version in the text of a place.
type spelling struct {
	separator string
	split     bool
}

// write returns a version as it is spelled in a text.
func (s spelling) write(v version) string {
	if s.split {
		v.numbers = v.split()
	}
	return v.spelled(s.separator)
}

// find returns how a text spells a version, and where.
func (v version) find(text string) (as spelling, at *regexp.Regexp, found bool) {
	for _, as := range []spelling{{v.separator, false}, {".", false}, {"_", false}, {"-", false}, {".", true}} {
		if at := whole(as.write(v)); at.MatchString(text) {
			return as, at, true
		}
	}
	return spelling{}, nil, false
}

// rewrite replaces a version, however it is spelled, in the text of a place. It reports
// whether the text has it.
func rewrite(text string, from, to version) (string, bool) {
	as, at, found := from.find(text)
	if !found {
		return text, false
	}
	text = at.ReplaceAllString(text, "${1}"+as.write(to)+"${2}")
	// The folders of kernel.org have only the first number.
	return strings.ReplaceAll(text, "/v"+from.numbers[0]+".x/", "/v"+to.numbers[0]+".x/"), true
}

// whole matches a version that is not part of a longer one.
func whole(spelled string) *regexp.Regexp {
	return regexp.MustCompile(`(^|[^0-9.]|[^0-9]\.|[A-Z][0-9]+\.)` + regexp.QuoteMeta(spelled) + `($|[^0-9.]|\.[^0-9])`)
}

// reader returns a function that finds the version in a text that is like another, in
// which the version is known: the name of a file or a tag.
func reader(like string, known version) func(text string) (version, bool) {
	_, at, found := known.find(like)
	if !found {
		return func(string) (version, bool) { return version{}, false }
	}
	around := at.FindStringSubmatchIndex(like)
	form := regexp.MustCompile(`^` + regexp.QuoteMeta(like[:around[3]]) + `(` + digits + `(?:` + candidate + `)?)` + regexp.QuoteMeta(like[around[4]:]) + `$`)
	return func(text string) (version, bool) {
		m := form.FindStringSubmatch(text)
		if m == nil {
			return version{}, false
		}
		v, ok := parse(m[1])
		return v.like(known), ok
	}
}

// repacked matches what Debian adds to a version of upstream when it removes files.
var repacked = regexp.MustCompile(`[+~.](?:ds|dfsg|repack|debian)[0-9.]*$`)

// upstreamOf returns the version of upstream in that of a Debian package, as it is in the
// names of files, and without the mark of a repacked archive.
func upstreamOf(debian string) (inFiles, plain string) {
	if _, after, ok := strings.Cut(debian, ":"); ok {
		debian = after
	}
	if dash := strings.LastIndexByte(debian, '-'); dash >= 0 {
		debian = debian[:dash]
	}
	return debian, repacked.ReplaceAllString(debian, "")
}
