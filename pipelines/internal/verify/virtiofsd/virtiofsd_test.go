package virtiofsd_test

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/guest/guesttest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/virtiofsd"
)

const program = "opt/kata/libexec/virtiofsd"

// daemon does nothing for as long as a guest may take.
const daemon = "#!/bin/sh\necho \"called with $*\"\n[ -S /proc/self/fd/3 ] || exit 1\nexec sleep 20\n"

// emulator uses the shared folder as a guest does. Its lines are made by shell, and have
// a checksum that shell can compute.
const emulator = `
for argument; do
	case "$argument" in
	socket,id=share,path=*) socket="${argument##*path=}" ;;
	esac
done
shared="${socket%/socket}/shared"
nonce="$(cat "$shared/from-host")"
items='["from-guest","from-host","submount"]'
cp "$shared/from-host" "$shared/from-guest"
{ cat "$shared/from-host"; head -c 4000 /dev/zero; } > "$shared/mapped"
`

const observed = `
text="{\"name\":\"mount virtiofs\",\"value\":\"$nonce\",\"items\":$items}"
crc="$(printf %s "$text" | gzip -c | tail -c 8 | od -An -tx4 -N4 | tr -d ' ')"
echo "@kata-verify $crc $text"
`

func TestSharedFolder(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the scripts are of a machine for x86_64")
	}
	begin, end := guesttest.Say(t, serial.Observation{Name: serial.Begin}), guesttest.Say(t, serial.Observation{Name: serial.End})
	failed := guesttest.Say(t, serial.Observation{Name: serial.Mount + "virtiofs", Error: "mounting virtiofs: invalid argument"})
	oops := guesttest.Say(t, serial.Observation{Name: serial.Taint, Items: []string{"oops", "Oops: general protection fault"}})
	for title, test := range map[string]struct{ emulator, want string }{
		"good":        {emulator + begin + observed + end, "passed read, written, renamed, removed and mapped by a guest, with --sandbox "},
		"guest fails": {emulator + begin + failed + end, "failed in the guest: mounting virtiofs: invalid argument\ncalled with --fd=3 --shared-dir="},
		"reads other": {emulator + "nonce=x\n" + begin + observed + end, `failed the guest reads "x": want `},
		"not removed": {emulator + `items='["from-guest","from-host","removed","submount"]'` + "\n" + begin + observed + end, `failed the guest lists ["from-guest" "from-host" "removed" "submount"]`},
		"not written": {emulator + "rm \"$shared/from-guest\"\n" + begin + observed + end, "failed on the host: open "},
		"not mapped":  {emulator + "echo other > \"$shared/mapped\"\n" + begin + observed + end, `failed on the host, mapped has "other\n": want `},
		"oops":        {emulator + begin + observed + oops + end, "failed the kernel found defects: oops\nOops: general protection fault"},
		"no init":     {emulator + "echo booting", "failed the guest powered off before its init was done, and the init never began"},
		"no mount":    {emulator + begin + end, `failed the guest reads "": want `},
		"refused":     {"echo 'no memfd' >&2; exit 1", "failed qemu-system-x86_64 failed: no memfd"},
	} {
		t.Run(title, func(t *testing.T) {
			h := guesttest.Host(t, map[string]string{"qemu-system-x86_64": test.emulator})
			r := verifytest.Run(t, virtiofsd.Daemon{Arch: "x86_64"}, verify.Artifact{Tarball: verifytest.Tree{program: daemon}.Pack(t, program)}, h)
			check := verifytest.Find(t, r, "shared folder")
			if got := string(check.Verdict) + " " + check.Saw; !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// The mount in the folder needs root and unshare, here a script that only runs the daemon.
func TestSubmounts(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the scripts are of a machine for x86_64")
	}
	const unshare = `[ "$1 $2" = "--mount sh" ] && shift 6 && exec "$@"`
	begin, end := guesttest.Say(t, serial.Observation{Name: serial.Begin}), guesttest.Say(t, serial.Observation{Name: serial.End})
	used := guesttest.Say(t, serial.Observation{Name: serial.Submounts, Size: 100})
	failed := guesttest.Say(t, serial.Observation{Name: serial.Submounts, Error: "unmounting: device busy"})
	for title, test := range map[string]struct{ guest, unshare, want string }{
		"used":       {observed + used + end, unshare, "passed a mount in the folder used and unmounted 100 times by the guest"},
		"fails":      {observed + failed + end, unshare, "failed in the guest: unmounting: device busy"},
		"crash":      {observed + "echo 'Oops: general protection fault'", unshare, "failed the guest used the folder, and then crashed or hung at a mount in it"},
		"too early":  {"echo booting", unshare, "skipped the guest did not get that far"},
		"no unshare": {observed + failed + end, "", "skipped no unshare on this machine: apt-get install util-linux"},
	} {
		tools := map[string]string{"qemu-system-x86_64": emulator + begin + test.guest}
		if test.unshare != "" {
			tools["unshare"] = test.unshare
			if os.Geteuid() != 0 {
				test.want = "skipped only root can mount in the shared folder"
			}
		}
		r := verifytest.Run(t, virtiofsd.Daemon{Arch: "x86_64"}, verify.Artifact{Tarball: verifytest.Tree{program: daemon}.Pack(t, program)}, guesttest.Host(t, tools))
		check := verifytest.Find(t, r, "submounts")
		if got := string(check.Verdict) + " " + check.Saw; got != test.want {
			t.Errorf("%s: got %q, want %q", title, got, test.want)
		}
	}
}

// A machine that cannot serve a guest skips the check, and says what it lacks.
func TestSkips(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the scripts are of a machine for x86_64")
	}
	tools := map[string]string{"qemu-system-x86_64": "exit 1", "qemu-system-aarch64": "exit 1"}
	full := guesttest.Host(t, tools)
	noKernel, noInit := full, full
	noKernel.Kernel, noInit.Root = "", t.TempDir()
	tarball := verifytest.Tree{program: daemon}.Pack(t, program)
	for title, test := range map[string]struct {
		arch string
		h    host.Host
		want string
	}{
		"no boot":            {"x86_64", verifytest.NoBoot, verifytest.NoBoot.Skip},
		"no QEMU":            {"x86_64", verifytest.Host(t, nil), "no qemu-system-x86_64 on this machine: apt-get install qemu-system-x86"},
		"other architecture": {"aarch64", full, "this machine does not run programs for aarch64"},
		"no kernel":          {"x86_64", noKernel, "there is no guest kernel for x86_64 in the caches: run `build-asset kernel`, or name a tarball with --kernel"},
		"no init":            {"x86_64", noInit, "the guest's init cannot be compiled: "},
	} {
		r := verifytest.Run(t, virtiofsd.Daemon{Arch: test.arch}, verify.Artifact{Tarball: tarball}, test.h)
		check := verifytest.Find(t, r, "shared folder")
		if check.Verdict != report.Skipped || !strings.HasPrefix(check.Saw, test.want) {
			t.Errorf("%s: got %+v, want %q", title, check, test.want)
		}
	}
}
