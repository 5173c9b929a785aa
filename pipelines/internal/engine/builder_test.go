package engine

import (
	"slices"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

func TestInstallArguments(t *testing.T) {
	for _, test := range []struct{ packages, want []string }{
		{[]string{"gcc", "make"}, []string{"trixie", "", "", "gcc", "make"}},
		{[]string{"cargo/trixie-backports", "libc6-dev:arm64", "libstd-rust-dev:arm64/trixie-backports", "qemu/sid"},
			[]string{"trixie", "sid trixie-backports", "arm64", "cargo/trixie-backports", "libc6-dev:arm64", "libstd-rust-dev:arm64/trixie-backports", "qemu/sid"}},
	} {
		if got := installArguments(recipe.Builder{Suite: "trixie", Packages: test.packages}); !slices.Equal(got, test.want) {
			t.Errorf("%q: %q, want %q", test.packages, got, test.want)
		}
	}
}
