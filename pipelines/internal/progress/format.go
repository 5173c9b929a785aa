package progress

import (
	"fmt"
	"slices"
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
