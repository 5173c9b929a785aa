// Package license has the texts of the licenses that SPDX expressions name: those of the
// module licenseclassifier, and those that the tree adds in assets/licenses.
//
// The tree adds only what the module lacks, such as the terms of a vendor, as
// LicenseRef-NAME.txt. Which license a source has is in the lock; package spdxexp parses
// its expression.
package license

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/github/go-spdx/v2/spdxexp"
	"github.com/google/licenseclassifier/v2/assets"
)

// Folder is the folder of the tree with further texts, ID.txt.
const Folder = "assets/licenses"

// IDs returns the identifiers of the licenses and exceptions of an expression, sorted.
func IDs(expression string) ([]string, error) {
	names, err := spdxexp.ExtractLicenses(expression)
	if err != nil {
		return nil, fmt.Errorf("%q is not an SPDX license expression: %w", expression, err)
	}
	var ids []string
	for _, name := range names {
		ids = append(ids, strings.Split(name, " WITH ")...)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// exceptions are the texts of exceptions in the module.
var exceptions = map[string]string{"Linux-syscall-note": "Supplement/GPL-2.0/syscall.txt"}

// Text returns the text of a license or exception.
func Text(tree fs.FS, id string) ([]byte, error) {
	file := path.Join(Folder, id+".txt")
	text, err := fs.ReadFile(tree, file)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(id, "+"), "-only"), "-or-later")
	for _, name := range []string{exceptions[id], "License/" + base + "/pristine.txt", "License/" + base + "/license.txt"} {
		if text, err := assets.ReadLicenseFile(name); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("no text of the license %s: add it as %s, or correct the identifier", id, file)
}
