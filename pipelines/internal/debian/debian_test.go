package debian

import (
	"os"
	"path/filepath"
	"testing"
)

// program puts a shell script on the path in place of a real program. It
// returns the folder of the script, which the script knows as $here.
func program(t *testing.T, name, script string) string {
	t.Helper()
	dir := t.TempDir()
	script = "#!/bin/sh\nhere='" + dir + "'\n" + script
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
