package nydus_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/nydus"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// snapshotter is one that was pinned in the past.
var snapshotter = nydus.Snapshotter{
	Arch:    "x86_64",
	Version: "v0.15.13", Revision: "3d398e4dfc928ad782a94019edd801d5441f4fea",
}

const (
	nydusFolder = "opt/kata/nydus-for-kata-tee"
	nydusFamily = "../../../../assets/nydus-for-kata-tee"
)

// nydusValues are those of the asset's options.
var nydusValues = []string{
	"CRI_SERVICE=containerd.service", "KATA_PREFIX=/opt/kata", "NYDUS_IMAGE=/opt/kata/libexec/nydus-image",
	"SNAPSHOTTER=nydus-for-kata-tee", "SNAPSHOTTER_HOST_SHARE=nydus-for-kata-tee-host-share",
}

// compileGo makes a static program that has a text in it.
func compileGo(t *testing.T, arch, text string) []byte {
	t.Helper()
	dir := t.TempDir()
	source := "package main\n\nfunc main() { println(`" + text + "`) }\n"
	require.WriteFile(t, filepath.Join(dir, "main.go"), source)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", "program", "main.go")
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	data, err := os.ReadFile(filepath.Join(dir, "program"))
	require.NoError(t, err)
	return data
}

// nydusFiles are the files of a good tarball, except that both programs are the same.
func nydusFiles(t *testing.T, program []byte) map[string]string {
	t.Helper()
	rendered := t.TempDir()
	if output, err := render(t, filepath.Join(nydusFamily, "templates"), rendered, nydusValues); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	files := map[string]string{"containerd-nydus-grpc": string(program), "nydus-overlayfs": string(program)}
	for name, from := range map[string]string{
		"README.md":                                     nydusFamily + "/README.md",
		"templates/render.sh":                           nydusFamily + "/render.sh",
		"systemd/nydus-for-kata-tee.service":            rendered + "/nydus-for-kata-tee.service",
		"systemd/nydus-for-kata-tee-host-share.service": rendered + "/nydus-for-kata-tee-host-share.service",
		"config-guest-pulling.toml":                     rendered + "/config-guest-pulling.toml",
		"config-host-sharing.toml":                      rendered + "/config-host-sharing.toml",
		"containerd/nydus-for-kata-tee-v2.toml":         rendered + "/containerd-v2.toml",
		"containerd/nydus-for-kata-tee-v3.toml":         rendered + "/containerd-v3.toml",
	} {
		data, err := os.ReadFile(from)
		require.NoError(t, err)
		files[name] = string(data)
	}
	templates, err := filepath.Glob(nydusFamily + "/templates/*.in")
	require.NoError(t, err)
	for _, template := range templates {
		data, err := os.ReadFile(template)
		require.NoError(t, err)
		files["templates/"+filepath.Base(template)] = string(data)
	}
	return files
}

// verifyNydus packs files and verifies them.
func verifyNydus(t *testing.T, files map[string]string, h host.Host) *report.Report {
	t.Helper()
	tree := verifytest.Tree{}
	for name, content := range files {
		tree[nydusFolder+"/"+name] = content
	}
	tarball := tree.Pack(t, nydusFolder+"/containerd-nydus-grpc", nydusFolder+"/nydus-overlayfs", nydusFolder+"/templates/render.sh")
	return verifytest.Run(t, snapshotter, verify.Artifact{Asset: "nydus-for-kata-tee", Arch: "x86_64", Tarball: tarball}, h)
}

// idle is a machine with these programs on which nothing is started.
func idle(t *testing.T, scripts map[string]string) host.Host {
	h := verifytest.Host(t, scripts)
	h.Skip = "not in this test"
	return h
}

func TestNydusTarballs(t *testing.T) {
	good := compileGo(t, "amd64", snapshotter.Version+" "+snapshotter.Revision)
	for name, test := range map[string]struct {
		change func(files map[string]string)
		check  string
		saw    string
	}{
		"good": {func(map[string]string) {}, "", ""},
		"missing": {func(f map[string]string) { delete(f, "systemd/nydus-for-kata-tee-host-share.service") },
			"members", "./opt/kata/nydus-for-kata-tee/systemd/nydus-for-kata-tee-host-share.service is missing"},
		"too much": {func(f map[string]string) { f["nydusd"] = "x" },
			"members", "nydusd does not belong to the asset"},
		"empty": {func(f map[string]string) { f["README.md"] = "" }, "members", "README.md is empty"},
		"script": {func(f map[string]string) { f["containerd-nydus-grpc"] = "#!/bin/sh\n" },
			"containerd-nydus-grpc", "it is not an ELF file"},
		"other machine": {func(f map[string]string) { f["nydus-overlayfs"] = string(compileGo(t, "arm64", "v0.15.13")) },
			"nydus-overlayfs", "it is a program for EM_AARCH64: want one for x86_64"},
		"no version": {func(f map[string]string) {
			f["containerd-nydus-grpc"] = string(compileGo(t, "amd64", "v0.15.12"))
		},
			"containerd-nydus-grpc", "the version v0.15.13 does not occur in it\nthe revision 3d398e4dfc928ad782a94019edd801d5441f4fea does not occur in it"},
		"placeholder": {func(f map[string]string) { f["config-guest-pulling.toml"] += "# @LATER@\n" },
			"templates", "config-guest-pulling.toml has the placeholder @LATER@"},
		"unknown placeholder": {func(f map[string]string) { f["templates/config-guest-pulling.toml.in"] += "# @LATER@\n" },
			"templates", "the placeholder @LATER@ has no value: set the variable LATER"},
		"other data directory": {func(f map[string]string) {
			f["config-guest-pulling.toml"] = strings.ReplaceAll(f["config-guest-pulling.toml"], "/var/lib/", "/var/cache/")
		}, "templates", "config-guest-pulling.toml is not what config-guest-pulling.toml.in gives with its defaults"},
		"no restart": {func(f map[string]string) {
			f["systemd/nydus-for-kata-tee.service"] = strings.ReplaceAll(f["systemd/nydus-for-kata-tee.service"], "Restart=always", "Restart=no")
		}, "units", "nydus-for-kata-tee.service has no line Restart=always"},
		"cleaning": {func(f map[string]string) {
			f["systemd/nydus-for-kata-tee.service"] += "ExecStopPost=rm -rf /var/lib/nydus-for-kata-tee\n"
		}, "units", "has ExecStopPost=rm -rf /var/lib/nydus-for-kata-tee: stopping must not touch the data"},
	} {
		t.Run(name, func(t *testing.T) {
			files := nydusFiles(t, good)
			test.change(files)
			r := verifyNydus(t, files, idle(t, nil))
			if test.check == "" {
				if err := r.Err(); err != nil {
					t.Errorf("%v: %+v", err, r.Checks)
				}
				return
			}
			check := verifytest.Find(t, r, test.check)
			if check.Verdict != report.Failed || !strings.Contains(check.Saw, test.saw) {
				t.Errorf("%s: %s\nwant it to fail with %q", check.Verdict, check.Saw, test.saw)
			}
		})
	}
}

// Checks of programs that are not started are skipped, and so are checks that need a
// missing program.
func TestNydusSkips(t *testing.T) {
	r := verifyNydus(t, nydusFiles(t, compileGo(t, "amd64", snapshotter.Version+" "+snapshotter.Revision)), idle(t, nil))
	for name, why := range map[string]string{
		"systemd": "no systemd-analyze on this machine", "containerd": "not in this test", "stopped instances": "not in this test",
	} {
		if check := verifytest.Find(t, r, name); check.Verdict != report.Skipped || !strings.Contains(check.Saw, why) {
			t.Errorf("%s: %s: %s", name, check.Verdict, check.Saw)
		}
	}
}

func TestNydusUnitsThatSystemdRefuses(t *testing.T) {
	script := "case $1 in verify) echo \"$5: Unknown key name\" ;; security) echo 'exposure 9.6 UNSAFE'; exit 1 ;; esac"
	r := verifyNydus(t, nydusFiles(t, []byte("x")), idle(t, map[string]string{"systemd-analyze": script}))
	for name, saw := range map[string]string{"systemd": "Unknown key name", "hardening": "exposure 9.6 UNSAFE"} {
		if check := verifytest.Find(t, r, name); check.Verdict != report.Failed || !strings.Contains(check.Saw, saw) {
			t.Errorf("%s: %s: %s", name, check.Verdict, check.Saw)
		}
	}
}
