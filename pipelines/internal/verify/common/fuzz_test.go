package common

import (
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// FuzzObject guards against a file of the artifact that ends this program.
func FuzzObject(f *testing.F) {
	f.Add(verifytest.ELF{Interpreter: "/lib/ld.so", Libraries: []string{"libc.so.6"}, Sections: []string{".debug_info"}}.String())
	f.Fuzz(func(_ *testing.T, data string) {
		_, _ = readObject("x", strings.NewReader(data))
	})
}
