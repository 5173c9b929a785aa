package guest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// read takes an archive apart as Linux does, and returns a line for each member.
func readCPIO(t *testing.T, data []byte) []string {
	t.Helper()
	var members []string
	for at := 0; at < len(data); {
		if len(data)-at < 110 || string(data[at:at+6]) != "070701" {
			t.Fatalf("no header at %d", at)
		}
		var fields [13]int
		for i := range fields {
			n, err := strconv.ParseUint(string(data[at+6+8*i:at+14+8*i]), 16, 32)
			require.NoError(t, err)
			fields[i] = int(n)
		}
		size, nameSize := fields[6], fields[11]
		name := string(data[at+110 : at+110+nameSize-1])
		content := (at + 110 + nameSize + 3) &^ 3
		members = append(members, fmt.Sprintf("%s %o %d,%d %q", name, fields[1], fields[9], fields[10], data[content:content+size]))
		at = (content + size + 3) &^ 3
	}
	return members
}

func TestInitramfs(t *testing.T) {
	want := `init 100755 0,0 "hello"
TRAILER!!! 0 0,0 ""`
	if got := strings.Join(readCPIO(t, Initramfs([]byte("hello"))), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
