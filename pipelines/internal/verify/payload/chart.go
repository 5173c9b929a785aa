package payload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/chart"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/cluster"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// namespace is where the chart is installed.
const (
	namespace = "kube-system"
	// kubeVersion is that of the API: helm itself knows an old one.
	kubeVersion = "1.34.3"
)

// values are values of the chart.
type values map[string]any

// collections are the paths of the objects that a chart's release has. Those of hooks are
// not among them, because their jobs need nodes with a kubelet.
var collections = map[string]string{
	"ServiceAccount":     "/api/v1/namespaces/" + namespace + "/serviceaccounts",
	"ClusterRole":        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
	"ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
	"DaemonSet":          "/apis/apps/v1/namespaces/" + namespace + "/daemonsets",
	"RuntimeClass":       "/apis/node.k8s.io/v1/runtimeclasses",
}

// pod is the pod of a rendered DaemonSet: what a kubelet needs of it.
type pod struct {
	// name is that of the DaemonSet, and account its service account.
	name, account string
	// env are variables, and mounts pairs of a path in the container and one of the node.
	env, mounts []string
	command     []string
	// objects are all of the chart.
	objects []object
}

// object is an object of Kubernetes, with the part of a DaemonSet that describes its pod.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Template struct {
			Spec struct {
				ServiceAccountName string `yaml:"serviceAccountName"`
				Containers         []struct {
					Command []string
					Env     []struct {
						Name, Value string
						ValueFrom   struct {
							FieldRef struct {
								FieldPath string `yaml:"fieldPath"`
							} `yaml:"fieldRef"`
						} `yaml:"valueFrom"`
					}
					VolumeMounts []struct {
						Name      string
						MountPath string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name     string
					HostPath struct{ Path string } `yaml:"hostPath"`
				}
			}
		}
	}
	// all is everything.
	all map[string]any
}

// packageChart packages the chart of the tree for the shims of the image, and returns its path.
func (r *run) packageChart() (string, error) {
	shims, err := os.ReadFile(filepath.Join(r.image, artifacts, chart.ShimsFile))
	if err != nil {
		return "", err
	}
	packed, err := chart.Package(os.DirFS(r.Root), chart.Options{Version: "0.0.0", Shims: shims})
	if err != nil {
		return "", err
	}
	at := filepath.Join(r.dir, packed.File())
	return at, os.WriteFile(at, packed.Data, 0o644)
}

// render renders the chart with helm, and returns the pod of its DaemonSet.
func (r *run) render(ctx context.Context, v values) (*pod, error) {
	data, err := yaml.Marshal(v)
	if err != nil {
		return nil, err
	}
	cmd := command.New(ctx, r.helm, "template", "kata-deploy", r.chart, "--namespace", namespace, "--kube-version", kubeVersion, "--no-hooks", "--values", "-")
	cmd.Stdin = bytes.NewReader(data)
	rendered, err := host.Output(cmd)
	if err != nil {
		return nil, err
	}
	p := &pod{}
	for decoder := yaml.NewDecoder(strings.NewReader(rendered)); ; {
		var o object
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = errors.Join(node.Decode(&o), node.Decode(&o.all))
		}
		if err != nil {
			return nil, fmt.Errorf("reading the rendered chart: %w", err)
		}
		if collections[o.Kind] != "" {
			p.objects = append(p.objects, o)
		}
		if o.Kind == "DaemonSet" {
			p.read(o)
		}
	}
	if p.name == "" {
		return nil, errors.New("the chart renders no DaemonSet")
	}
	return p, nil
}

// read takes what a kubelet needs of a DaemonSet.
func (p *pod) read(set object) {
	spec := set.Spec.Template.Spec
	container := spec.Containers[0]
	p.name, p.account, p.command = set.Metadata.Name, spec.ServiceAccountName, container.Command
	fields := map[string]string{"spec.nodeName": cluster.NodeName, "metadata.namespace": namespace, "metadata.name": p.name + "-pod"}
	for _, e := range container.Env {
		p.env = append(p.env, e.Name+"="+e.Value+fields[e.ValueFrom.FieldRef.FieldPath])
	}
	for _, m := range container.VolumeMounts {
		for _, volume := range spec.Volumes {
			if volume.Name == m.Name && volume.HostPath.Path != "" {
				p.mounts = append(p.mounts, m.MountPath+"="+volume.HostPath.Path)
			}
		}
	}
}

// onNode returns the path on the node of a path in the container.
func (p *pod) onNode(at string) string {
	for _, m := range p.mounts {
		target, source, _ := strings.Cut(m, "=")
		if rest, inside := strings.CutPrefix(at, target); inside {
			return path.Join(source, rest)
		}
	}
	return at
}

// apply creates the objects of the chart, or changes them, as helm does.
func (r *run) apply(ctx context.Context, p *pod) {
	for _, o := range p.objects {
		err := r.api.Do(ctx, http.MethodPost, collections[o.Kind], o.all, nil)
		if cluster.Status(err) == http.StatusConflict {
			err = r.api.Do(ctx, http.MethodPatch, collections[o.Kind]+"/"+o.Metadata.Name, o.all, nil)
		}
		report.Must(err)
	}
}

// remove deletes the DaemonSet of a pod, and the runtime classes. The rights of its
// service account stay, because the pod still needs them: the chart keeps them, too.
func (r *run) remove(ctx context.Context, p *pod) {
	for _, o := range p.objects {
		if o.Kind != "DaemonSet" && o.Kind != "RuntimeClass" {
			continue
		}
		err := r.api.Do(ctx, http.MethodDelete, collections[o.Kind]+"/"+o.Metadata.Name, nil, nil)
		if cluster.Status(err) != http.StatusNotFound {
			report.Must(err)
		}
	}
}
