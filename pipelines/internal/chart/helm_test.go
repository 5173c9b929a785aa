//go:build integration

package chart_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/chart"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/testtools"
)

var update = flag.Bool("update", false, "write the golden files")

const image = "registry.example/kata-deploy@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// helm is the real helm, and a chart of the tree.
type helm struct{ program, chart string }

// build compiles helm, unless that is done, and packages the chart.
func build(t *testing.T) helm {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	var h helm
	if h.program, err = testtools.Helm.Build(t.Context(), host.Host{Root: root, Cache: filepath.Join(cache, "kata-pipelines-tests")}); err != nil {
		t.Fatal(err)
	}
	c := packaged(t, chart.Options{Version: "3.28.0", Image: image, Kubectl: strings.Replace(image, "kata-deploy", "kubectl", 1)})
	h.chart = filepath.Join(t.TempDir(), c.File())
	if err := os.WriteFile(h.chart, c.Data, 0o644); err != nil {
		t.Fatal(err)
	}
	return h
}

// run runs helm with some values, and returns its output and, with an error, its message.
func (h helm) run(t *testing.T, values string, args ...string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o644); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), h.program, append(args, "--values", file, "--kube-version", "1.34")...)
	var message strings.Builder
	command.Stderr = &message
	output, err := command.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s%s", err, output, message.String())
	}
	return string(output), err
}

// rendered are values, and the templates whose output has a golden file.
var rendered = []struct{ name, values, templates, flags string }{
	{"default", "", "daemonset rbac cleanup runtimeclasses", ""},
	{"one shim", "shims: {disableAll: true, qemu: {enabled: true}}", "daemonset runtimeclasses", ""},
	{"k3s with a suffix", "k8sDistribution: k3s\nenv: {multiInstallSuffix: dev, installationPrefix: /opt/other}\nruntimeClasses: {createDefault: true}\nshims: {disableAll: true, clh: {enabled: true}}",
		"daemonset rbac cleanup runtimeclasses", ""},
	{"pod", "podLabels: {team: a, name: ignored}\npodAnnotations: {b: c}\ntolerations: [{operator: Exists}]\nnodeSelector: {d: e}\nimagePullSecrets: [{name: f}]\nupdateStrategy: {type: OnDelete}\n" +
		"affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}\npriorityClassName: \"\"\nresources: ~\ncontainerd: {configDir: /etc/other/}",
		"daemonset", ""},
	{"confidential", "debug: true\nsnapshotter: {setup: [nydus, erofs]}\nenv: {hostOS: cbl-mariner}\nshims: {disableAll: true, qemu-coco-dev: {enabled: true, supportedArches: [amd64], allowedHypervisorAnnotations: [default_vcpus, kernel_params], agent: {httpsProxy: 'http://proxy:3128', noProxy: 10.0.0.0/8}}, " +
		"qemu-snp: {enabled: true, containerd: {snapshotter: '', forceGuestPull: true}, crio: {guestPull: false}, agent: {httpsProxy: 'http://other:3128'}}}\ndefaultShim: {amd64: qemu-snp}\nruntimeClasses: {createDefault: true}",
		"daemonset runtimeclasses node-feature-rules", "--api-versions nfd.k8s-sigs.io/v1alpha1"},
	{"keys", "nodeFeatureRules: {create: true}\nenv: {multiInstallSuffix: dev}\nruntimeClasses: {overheadEnabled: false}\nshims: {disableAll: true, qemu: {enabled: true}, qemu-tdx-runtime-rs: {enabled: true}}",
		"runtimeclasses node-feature-rules", ""},
	{"no keys", "nodeFeatureRules: {create: false}\nshims: {disableAll: true, qemu-tdx: {enabled: true}}", "runtimeclasses", "--api-versions nfd.k8s-sigs.io/v1alpha1"},
	{"overhead", "shims: {disableAll: true, qemu: {enabled: true, runtimeClass: {overhead: {memory: 1Gi, example.com/key: 1}, nodeSelector: {a: true}}}, fc: {enabled: true, runtimeClass: {overheadEnabled: false}}}",
		"runtimeclasses", ""},
	{"no overhead", "shims: {disableAll: true, qemu: {enabled: true}, fc: {enabled: true, runtimeClass: {overheadEnabled: true}}}\nruntimeClasses: {overheadEnabled: false}",
		"runtimeclasses", ""},
	{"verification", "verification: {retries: 5, pod: 'apiVersion: v1'}\nkubectlImage: {reference: kubectl, tag: v1}\nshims: {disableAll: true, qemu: {enabled: true}}", "verification", ""},
	{"custom runtimes", "shims: {disableAll: true, qemu: {enabled: true}}\ncustomRuntimes: {enabled: true, runtimes: {big: {baseConfig: qemu, dropIn: \"[hypervisor.qemu]\\ndefault_memory = 4096\\n\", " +
		"runtimeClass: \"apiVersion: node.k8s.io/v1\\nkind: RuntimeClass\\nmetadata: {name: kata-big}\\nhandler: kata-big\\n\", containerd: {snapshotter: nydus}}}}", "daemonset custom-runtimes", ""},
}

func TestTemplates(t *testing.T) {
	h := build(t)
	for _, test := range rendered {
		t.Run(test.name, func(t *testing.T) {
			if output, err := h.run(t, test.values, "lint", "--strict", h.chart); err != nil {
				t.Errorf("lint: %v\n%s", err, output)
			}
			args := append([]string{"template", "kata", h.chart, "--namespace", "kube-system"}, strings.Fields(test.flags)...)
			for name := range strings.FieldsSeq(test.templates) {
				args = append(args, "--show-only", "templates/"+name+".yaml")
			}
			got, err := h.run(t, test.values, args...)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", strings.ReplaceAll(test.name, " ", "-")+".yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Helm pulls what was pushed.
func TestPull(t *testing.T) {
	h := build(t)
	c := packaged(t, chart.Options{Version: "3.28.0"})
	made, err := release.ChartImage(c, payload.Labels{})
	if err != nil {
		t.Fatal(err)
	}
	host := registrytest.New(t)
	to, err := payload.OpenRepository(host+"/charts/kata-deploy", payload.RemoteOptions{Client: oci.NewClient(oci.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := to.Push(t.Context(), made, payload.PushOptions{Tags: []payload.Tag{{Name: c.Tag(), Fixed: true}}}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pull := exec.CommandContext(t.Context(), h.program, "pull", "oci://"+host+"/charts/kata-deploy", "--version", "3.28.0", "--plain-http", "--destination", dir)
	if output, err := pull.CombinedOutput(); err != nil {
		t.Fatalf("helm pull: %v\n%s", err, output)
	}
	pulled, err := os.ReadFile(filepath.Join(dir, c.File()))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pulled, c.Data) {
		t.Error("helm pulled another file than was pushed")
	}
}

// What users have in their files, and what they are told.
func TestValues(t *testing.T) {
	h := build(t)
	for _, test := range []struct{ name, values, want string }{
		{"every shim of Kata as it is there", "shims: {qemu-cca: {enabled: ~, supportedArches: [arm64]}, qemu-nvidia-gpu: {enabled: ~, supportedArches: [amd64], runtimeClass: ~}}", ""},
		{"an image without a digest", "image: {reference: quay.io/kata-containers/kata-deploy, tag: 3.28.0}", ""},
		{"another digest", "image: {reference: '" + image + "', tag: ''}", ""},
		{"tag and digest", "image: {tag: 3.28.0}", `image: the reference ` + image + ` has a digest, and the tag is "3.28.0": set image.tag to "", or leave the digest out`},
		{"two tags", "kubectlImage: {reference: 'localhost:5000/kubectl:a', tag: b}", `kubectlImage: the reference localhost:5000/kubectl:a has a tag, and kubectlImage.tag is "b": set only one`},
		{"a shim that is not shipped", "shims: {qemu-cca: {enabled: true, supportedArches: [arm64]}}", "shims.qemu-cca: this release does not ship it; it ships clh, "},
		{"a shim of another architecture", "shims: {qemu-se: {enabled: true, supportedArches: [amd64]}}", "shims.qemu-se: this release ships it only for s390x, and supportedArches is [amd64]"},
		{"a misspelt shim", "shims: {qemuu: {enabled: ~}}", "qemuu"},
		{"a misspelt key", "shims: {qemu: {suportedArches: []}}", "suportedArches"},
		{"no shim", "shims: {disableAll: true}", "no shim is enabled: enable one under shims: clh, "},
		{"an architecture that does not exist", "shims: {qemu: {supportedArches: [x86_64]}}", "/shims/qemu/supportedArches/0"},
		{"an unknown distribution", "k8sDistribution: openshift", "k8sDistribution"},
		{"a suffix that no name may have", "env: {multiInstallSuffix: Dev_1}", "multiInstallSuffix"},
		{"a later mode", "deploymentMode: job", "deploymentMode"},
		{"node-feature-discovery", "node-feature-discovery: {enabled: true}", "install it from its own chart"},
		{"rules that are not decided", "nodeFeatureRules: {create: perhaps}", "nodeFeatureRules"},
		{"a default that is not enabled", "runtimeClasses: {createDefault: true}\ndefaultShim: {amd64: fc}\nshims: {fc: {enabled: false}}", `the default shim "fc" is not enabled: set defaultShim to one of clh`},
		{"a custom runtime of nothing", "customRuntimes: {enabled: true, runtimes: {a: {baseConfig: qemu-cca, runtimeClass: 'handler: a'}}}", `a.baseConfig: "qemu-cca" is not a shim that is enabled`},
		{"a custom runtime without a handler", "customRuntimes: {enabled: true, runtimes: {a: {baseConfig: qemu, runtimeClass: 'kind: RuntimeClass'}}}", "customRuntimes.runtimes.a.runtimeClass: it has no handler"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := h.run(t, test.values, "template", "kata", h.chart)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("the error is %v, want %q", err, test.want)
			}
		})
	}
}
