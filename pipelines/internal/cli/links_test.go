package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading      = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	notInAnchor  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestLinks: what the documents link to in the repository is there, also the headings.
func TestLinks(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(repoRoot, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".md" {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, match := range markdownLink.FindAllStringSubmatch(string(data), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			seen++
			if err := checkLink(file, match[1]); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		return nil
	})
	if err != nil || seen == 0 {
		t.Errorf("%d links, %v", seen, err)
	}
	for link, want := range map[string]string{
		"gone.md": "no such file", "README.md#gone": `has no heading "gone"`, "README.md#where-things-are": "", "docs": "", "#start": "",
	} {
		if err := checkLink(filepath.Join(repoRoot, "README.md"), link); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", link, err, want)
		}
	}
}

// checkLink checks a link of a file.
func checkLink(file, link string) error {
	to, anchor, _ := strings.Cut(link, "#")
	if to != "" {
		file = filepath.Join(filepath.Dir(file), to)
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) || anchor == "" {
		return err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, match := range heading.FindAllStringSubmatch(string(data), -1) {
		if strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-") == anchor {
			return nil
		}
	}
	return fmt.Errorf("%s: %s has no heading %q", link, file, anchor)
}
