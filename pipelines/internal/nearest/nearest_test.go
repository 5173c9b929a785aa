package nearest

import "testing"

func TestOf(t *testing.T) {
	names := []string{"kernel", "kernel-debug", "qemu", "ovmf"}
	for _, test := range []struct{ word, want string }{
		{"kernel-debgu", "kernel-debug"},
		{"kernal", "kernel"},
		{"qemu", "qemu"},
		{"omvf", "ovmf"},
		{"rootfs-image", ""},
		{"", ""},
	} {
		if got := Of(test.word, names); got != test.want {
			t.Errorf("Of(%q) = %q, want %q", test.word, got, test.want)
		}
	}
	if got, want := Hint("kernal", names), `; did you mean "kernel"?`; got != want {
		t.Errorf("Hint = %q, want %q", got, want)
	}
	if got := Hint("virtiofsd", names); got != "" {
		t.Errorf("Hint = %q, want none", got)
	}
}
