package debian

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// program puts a shell script on the path in place of a real program. It
// returns the folder of the script, which the script knows as $here.
func program(t *testing.T, name, script string) string {
	t.Helper()
	dir := t.TempDir()
	script = "#!/bin/sh\nhere='" + dir + "'\n" + script
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}
