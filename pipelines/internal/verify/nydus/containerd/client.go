package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	introspection "github.com/containerd/containerd/api/services/introspection/v1"
	leases "github.com/containerd/containerd/api/services/leases/v1"
	snapshots "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// Server is a containerd that runs, and a connection to it.
type Server struct {
	*host.Daemon
	connection *grpc.ClientConn
	namespace  string
}

// CRI is the namespace of the CRI.
const CRI = "k8s.io"

// Serve starts containerd with a configuration of Configure in dir. Requests are in
// the namespace "default".
func (i Installed) Serve(ctx context.Context, dir, path string, ready time.Duration) (*Server, error) {
	d, err := host.StartDaemon(ctx, host.DaemonSpec{
		Program: i.Daemon, Args: []string{"--config", path}, Socket: socketIn(dir), Log: filepath.Join(dir, "log"), Ready: ready,
	})
	if err != nil {
		return nil, err
	}
	connection, err := grpc.NewClient("unix:"+socketIn(dir), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connecting to containerd: %w", err), d.Kill())
	}
	return &Server{d, connection, "default"}, nil
}

// Kill ends the connection and containerd.
func (s *Server) Kill() error { return errors.Join(s.connection.Close(), s.Daemon.Kill()) }

// In returns the same server, for another namespace.
func (s *Server) In(namespace string) *Server { return &Server{s.Daemon, s.connection, namespace} }

// request is the context of a request.
func (s *Server) request(ctx context.Context) (context.Context, context.CancelFunc) {
	const patience = time.Minute
	return context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "containerd-namespace", s.namespace), patience)
}

// kept are the labels of snapshots that containerd does not collect.
func kept() map[string]string {
	return map[string]string{"containerd.io/gc.root": time.Now().UTC().Format(time.RFC3339)}
}

// Prepare makes an active snapshot on top of a parent, "" for none, and returns how
// it is mounted.
func (s *Server) Prepare(ctx context.Context, snapshotter, key, parent string) ([]*types.Mount, error) {
	ctx, cancel := s.request(ctx)
	defer cancel()
	reply, err := snapshots.NewSnapshotsClient(s.connection).Prepare(ctx, &snapshots.PrepareSnapshotRequest{
		Snapshotter: snapshotter, Key: key, Parent: parent, Labels: kept(),
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the snapshot %s of %s: %w", key, snapshotter, err)
	}
	return reply.GetMounts(), nil
}

// Commit makes a committed snapshot of an active one.
func (s *Server) Commit(ctx context.Context, snapshotter, name, key string) error {
	ctx, cancel := s.request(ctx)
	defer cancel()
	_, err := snapshots.NewSnapshotsClient(s.connection).Commit(ctx, &snapshots.CommitSnapshotRequest{
		Snapshotter: snapshotter, Name: name, Key: key, Labels: kept(),
	})
	if err != nil {
		return fmt.Errorf("committing the snapshot %s of %s: %w", key, snapshotter, err)
	}
	return nil
}

// Remove removes snapshots.
func (s *Server) Remove(ctx context.Context, snapshotter string, keys ...string) error {
	ctx, cancel := s.request(ctx)
	defer cancel()
	for _, key := range keys {
		_, err := snapshots.NewSnapshotsClient(s.connection).Remove(ctx, &snapshots.RemoveSnapshotRequest{Snapshotter: snapshotter, Key: key})
		if err != nil {
			return fmt.Errorf("removing the snapshot %s of %s: %w", key, snapshotter, err)
		}
	}
	return nil
}

// Snapshots returns the keys of all snapshots, in the order of containerd.
func (s *Server) Snapshots(ctx context.Context, snapshotter string) (keys []string, err error) {
	ctx, cancel := s.request(ctx)
	defer cancel()
	list, err := snapshots.NewSnapshotsClient(s.connection).List(ctx, &snapshots.ListSnapshotsRequest{Snapshotter: snapshotter})
	for err == nil {
		var some *snapshots.ListSnapshotsResponse
		some, err = list.Recv()
		for _, info := range some.GetInfo() {
			keys = append(keys, info.GetName())
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("listing the snapshots of %s: %w", snapshotter, err)
	}
	return keys, nil
}

// Plugin returns why containerd did not load a plugin: of the type
// "io.containerd.snapshotter.v1" and the ID "overlayfs", for example.
func (s *Server) Plugin(ctx context.Context, kind, id string) error {
	ctx, cancel := s.request(ctx)
	defer cancel()
	reply, err := introspection.NewIntrospectionClient(s.connection).Plugins(ctx, &introspection.PluginsRequest{})
	if err != nil {
		return fmt.Errorf("listing the plugins of containerd: %w", err)
	}
	for _, plugin := range reply.GetPlugins() {
		if plugin.GetType() == kind && plugin.GetID() == id {
			if status := plugin.GetInitErr(); status != nil {
				return fmt.Errorf("containerd did not load the plugin %s: %s", id, status.GetMessage())
			}
			return nil
		}
	}
	return fmt.Errorf("containerd has no plugin %s of the type %s", id, kind)
}

// Collect has containerd collect garbage now. Otherwise a snapshotter keeps removed
// snapshots until containerd does so in its own time.
func (s *Server) Collect(ctx context.Context) error {
	ctx, cancel := s.request(ctx)
	defer cancel()
	client := leases.NewLeasesClient(s.connection)
	reply, err := client.Create(ctx, &leases.CreateRequest{})
	if err == nil {
		_, err = client.Delete(ctx, &leases.DeleteRequest{ID: reply.GetLease().GetID(), Sync: true})
	}
	if err != nil {
		return fmt.Errorf("having containerd collect garbage: %w", err)
	}
	return nil
}

// Pull has the CRI pull an image for a runtime, as the kubelet does.
func (s *Server) Pull(ctx context.Context, runtime, image string) error {
	ctx, cancel := s.request(ctx)
	defer cancel()
	_, err := cri.NewImageServiceClient(s.connection).PullImage(ctx, &cri.PullImageRequest{
		Image:         &cri.ImageSpec{Image: image, RuntimeHandler: runtime},
		SandboxConfig: &cri.PodSandboxConfig{Metadata: &cri.PodSandboxMetadata{Name: "pod", Namespace: "default", Uid: "1"}},
	})
	if err != nil {
		return fmt.Errorf("pulling %s: %w", image, err)
	}
	return nil
}
