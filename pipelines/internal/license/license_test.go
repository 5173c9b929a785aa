package license

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestIDs(t *testing.T) {
	for expression, want := range map[string]string{
		"MIT":                                       "MIT",
		"GPL-2.0-only WITH Linux-syscall-note":      "GPL-2.0-only Linux-syscall-note",
		"(MIT OR LicenseRef-Terms) AND MIT":         "LicenseRef-Terms MIT",
		"LGPL-2.1-or-later AND BSD-2-Clause-Patent": "BSD-2-Clause-Patent LGPL-2.1-or-later",
	} {
		if ids, err := IDs(expression); err != nil || strings.Join(ids, " ") != want {
			t.Errorf("%s: %v, %v, want %s", expression, ids, err, want)
		}
	}
	for _, expression := range []string{"", "MIT AND", "GPL version 2", "MIT/Apache-2.0"} {
		if ids, err := IDs(expression); err == nil || !strings.Contains(err.Error(), "is not an SPDX license expression") {
			t.Errorf("%q: %v, %v", expression, ids, err)
		}
	}
}

// TestText: each text is that of its license and no other.
func TestText(t *testing.T) {
	tree := fstest.MapFS{Folder + "/LicenseRef-Terms.txt": {Data: []byte("terms")}}
	for id, want := range map[string]string{
		"GPL-2.0-only": "GNU GENERAL PUBLIC LICENSE Version 2, June 1991", "GPL-3.0-or-later": "GNU GENERAL PUBLIC LICENSE Version 3",
		"LGPL-2.1-only": "GNU LESSER GENERAL PUBLIC LICENSE Version 2.1", "Linux-syscall-note": "does *not* cover user programs",
		"Apache-2.0": "Version 2.0, January 2004", "MIT": "Permission is hereby granted, free of charge",
		"BSD-3-Clause": "Neither the name of", "BSD-2-Clause-Patent": "patent license", "LicenseRef-Terms": "terms",
	} {
		text, err := Text(tree, id)
		if err != nil || !bytes.Contains(bytes.Join(bytes.Fields(text), []byte(" ")), []byte(want)) {
			t.Errorf("%s: %v, does not have %q:\n%.300s", id, err, want, text)
		}
	}
	for _, id := range []string{"LicenseRef-Other", "MulanPSL-2.0"} {
		_, err := Text(tree, id)
		if want := "no text of the license " + id + ": add it as assets/licenses/" + id + ".txt, or correct the identifier"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if ids, _ := IDs("GPL-2.0-only WITH Linux-syscall-note"); !slices.Contains(ids, "Linux-syscall-note") {
		t.Error(ids)
	}
}
