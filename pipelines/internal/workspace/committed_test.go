package workspace

import "testing"

// TestBlobID compares with what git hash-object says.
func TestBlobID(t *testing.T) {
	for want, data := range map[string]string{
		"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391":                         "",
		"ce013625030ba8dba906f756967f9e9ca394464a":                         "hello\n",
		"473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813": "",
	} {
		if got := blobID([]byte(data), len(want)); got != want {
			t.Errorf("blob of %q: %s, want %s", data, got, want)
		}
	}
}
