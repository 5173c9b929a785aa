package sizes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// CheckNames refuses files that Write could not write, before any work.
func CheckNames(paths []string) error {
	for _, path := range paths {
		switch filepath.Ext(path) {
		case ".json", ".md", ".html":
		default:
			return fmt.Errorf("report %s: want a name that ends with .json, .md or .html", path)
		}
	}
	return nil
}

// Write writes the report to files, each of the kind that its name says.
func (r Report) Write(paths []string) error {
	for _, path := range paths {
		text, err := r.content(filepath.Ext(path))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err == nil {
			err = files.Write(path, text, 0o644)
		}
		if err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return nil
}

// content returns the report as the content of a file of a kind.
func (r Report) content(kind string) ([]byte, error) {
	switch kind {
	case ".md":
		return []byte(r.Markdown()), nil
	case ".html":
		return r.HTML()
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(r)
	return text.Bytes(), err
}
