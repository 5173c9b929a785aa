package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// handlerKey is the annotation by which containerd 1.7 knows the runtime of a pull. Newer
// ones take it from the image's specification.
const handlerKey = "io.containerd.cri.runtime-handler"

// pod describes a pod's sandbox, in the network of the host: there are no CNI plugins.
func pod(runtime string) *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{
		Metadata:    &cri.PodSandboxMetadata{Name: "pod-" + runtime, Namespace: "default", Uid: "1"},
		Annotations: map[string]string{handlerKey: runtime},
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
		}},
	}
}

// Pull has the CRI pull an image for a runtime, as the kubelet does.
func (s *Server) Pull(ctx context.Context, runtime, image string) error {
	_, err := cri.NewImageServiceClient(s.connection).PullImage(s.in(ctx), &cri.PullImageRequest{
		Image: &cri.ImageSpec{Image: image, RuntimeHandler: runtime}, SandboxConfig: pod(runtime),
	})
	return err
}

// RunPod has the CRI run the sandbox of a pod, and remove it again.
func (s *Server) RunPod(ctx context.Context, runtime string) error {
	client := cri.NewRuntimeServiceClient(s.connection)
	reply, err := client.RunPodSandbox(s.in(ctx), &cri.RunPodSandboxRequest{Config: pod(runtime), RuntimeHandler: runtime})
	if err != nil {
		return err
	}
	if _, err = client.StopPodSandbox(s.in(ctx), &cri.StopPodSandboxRequest{PodSandboxId: reply.GetPodSandboxId()}); err != nil {
		return err
	}
	_, err = client.RemovePodSandbox(s.in(ctx), &cri.RemovePodSandboxRequest{PodSandboxId: reply.GetPodSandboxId()})
	return err
}

// Alive returns an error unless the CRI serves.
func (s *Server) Alive(ctx context.Context) error {
	_, err := cri.NewRuntimeServiceClient(s.connection).Version(s.in(ctx), &cri.VersionRequest{})
	return err
}

// Handler is a runtime as the CRI knows it.
type Handler struct {
	Name        string
	Type        string `json:"runtimeType"`
	Path        string `json:"runtimePath"`
	Snapshotter string
	Options     struct{ ConfigPath string }
}

// Handlers returns the runtimes that the CRI has accepted, by name.
func (s *Server) Handlers(ctx context.Context) ([]Handler, error) {
	reply, err := cri.NewRuntimeServiceClient(s.connection).Status(s.in(ctx), &cri.StatusRequest{Verbose: true})
	if err != nil {
		return nil, err
	}
	var config struct {
		Containerd struct{ Runtimes map[string]Handler }
	}
	if err := json.Unmarshal([]byte(reply.GetInfo()["config"]), &config); err != nil {
		return nil, fmt.Errorf("reading the configuration that the CRI reports: %w", err)
	}
	var all []Handler
	for _, name := range slices.Sorted(maps.Keys(config.Containerd.Runtimes)) {
		h := config.Containerd.Runtimes[name]
		h.Name = name
		all = append(all, h)
	}
	return all, nil
}
