package progress

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Elapsed formats a duration for a person: "0.4s", "12.3s", "4m05s", "1h02m".
func Elapsed(d time.Duration) string {
	switch {
	case d < 100*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// Size formats a number of bytes for a person, in powers of 1024: "150.1 MiB".
func Size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

func bar(done, total int64) string {
	const width = 24
	full := int(min(width*done/total, width))
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", width-full) + "]"
}

// Printable makes a line of a log safe to show: it removes what would move a
// terminal's cursor or start a workflow command of GitHub Actions, and keeps only the
// last of several texts that overwrite each other.
func Printable(line string) string {
	line = strings.TrimRight(line, "\r \t")
	line = line[strings.LastIndexByte(line, '\r')+1:]
	line = strings.Map(func(c rune) rune {
		switch {
		case c == '\t':
			return ' '
		case unicode.IsPrint(c):
			return c
		}
		return -1
	}, line)
	line = strings.ReplaceAll(line, "##[", "## [") // the older form, anywhere in a line
	if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "::") {
		return ". " + trimmed
	}
	return line
}

// PrintableLines makes a text of one or more lines safe to show: each line is
// Printable, and no carriage return hides the text before it.
func PrintableLines(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\r", "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" })
	for i, line := range lines {
		lines[i] = Printable(line)
	}
	return strings.Join(lines, "\n")
}

func cut(line string, width int) string {
	if runes := []rune(line); width > 0 && len(runes) > width {
		return string(runes[:width])
	}
	return line
}

// ParseSize returns the bytes of a size such as 20GB, 1.5 GiB or 4096. K, M, G and T are
// powers of 1000 before B, and of 1024 otherwise.
func ParseSize(text string) (int64, error) {
	m := sizeText.FindStringSubmatch(strings.ToUpper(strings.TrimSpace(text)))
	if m == nil {
		return 0, fmt.Errorf("%q is not a size: want one such as 20GB or 512MiB", text)
	}
	value, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: %w", text, err)
	}
	base := 1024.0
	if strings.HasSuffix(m[2], "B") && !strings.HasSuffix(m[2], "IB") {
		base = 1000
	}
	for range 1 + strings.IndexByte("KMGT", (m[2] + " ")[0]) {
		value *= base
	}
	if value < 1 || value > 1<<62 {
		return 0, fmt.Errorf("%q is not a size: want at least one byte", text)
	}
	return int64(value), nil
}

var sizeText = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) *([KMGT]?I?B?)$`)
