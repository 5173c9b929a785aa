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
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// Server is a containerd that runs, and a connection to it.
type Server struct {
	*host.Daemon
	connection *grpc.ClientConn
	snapshots  snapshots.SnapshotsClient
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
	s, err := Connect("unix:" + socketIn(dir))
	if err != nil {
		return nil, errors.Join(err, d.Kill())
	}
	s.Daemon = d
	return s, nil
}

// Connect returns a client of a containerd, which someone else runs. Requests take a minute
// at most, and their errors name the request.
func Connect(address string) (*Server, error) {
	// The timeout is for all methods, unary ones and streams. They wait for a containerd
	// that restarts.
	const config = `{"methodConfig": [{"name": [{}], "timeout": "60s", "waitForReady": true}]}`
	const pause = 100 * time.Millisecond
	explain := func(
		ctx context.Context, method string, request, reply any, on *grpc.ClientConn,
		invoke grpc.UnaryInvoker, options ...grpc.CallOption,
	) error {
		if err := invoke(ctx, method, request, reply, on, options...); err != nil {
			return fmt.Errorf("calling %s of containerd with %v: %w", method, request, err)
		}
		return nil
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(config), grpc.WithUnaryInterceptor(explain),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: pause, Multiplier: 1, MaxDelay: pause}, MinConnectTimeout: time.Second}))
	if err != nil {
		return nil, fmt.Errorf("connecting to containerd: %w", err)
	}
	return &Server{connection: connection, snapshots: snapshots.NewSnapshotsClient(connection), namespace: "default"}, nil
}

// Close closes the connection.
func (s *Server) Close() error { return s.connection.Close() }

// Kill closes the connection and kills containerd.
func (s *Server) Kill() error { return errors.Join(s.connection.Close(), s.Daemon.Kill()) }

// In returns the same server, for another namespace.
func (s *Server) In(namespace string) *Server {
	other := *s
	other.namespace = namespace
	return &other
}

// in adds the namespace to a request.
func (s *Server) in(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", s.namespace)
}

// kept are the labels of snapshots that containerd does not collect.
func kept() map[string]string {
	return map[string]string{"containerd.io/gc.root": time.Now().UTC().Format(time.RFC3339)}
}

// Prepare makes an active snapshot on top of a parent, "" for none, and returns how
// it is mounted.
func (s *Server) Prepare(ctx context.Context, snapshotter, key, parent string) ([]*types.Mount, error) {
	reply, err := s.snapshots.Prepare(s.in(ctx), &snapshots.PrepareSnapshotRequest{Snapshotter: snapshotter, Key: key, Parent: parent, Labels: kept()})
	return reply.GetMounts(), err
}

// Commit makes a committed snapshot of an active one.
func (s *Server) Commit(ctx context.Context, snapshotter, name, key string) error {
	_, err := s.snapshots.Commit(s.in(ctx), &snapshots.CommitSnapshotRequest{Snapshotter: snapshotter, Name: name, Key: key, Labels: kept()})
	return err
}

// Remove removes snapshots.
func (s *Server) Remove(ctx context.Context, snapshotter string, keys ...string) error {
	for _, key := range keys {
		if _, err := s.snapshots.Remove(s.in(ctx), &snapshots.RemoveSnapshotRequest{Snapshotter: snapshotter, Key: key}); err != nil {
			return err
		}
	}
	return nil
}

// Snapshots returns the keys of all snapshots, in containerd's order.
func (s *Server) Snapshots(ctx context.Context, snapshotter string) (keys []string, err error) {
	list, err := s.snapshots.List(s.in(ctx), &snapshots.ListSnapshotsRequest{Snapshotter: snapshotter})
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
	reply, err := introspection.NewIntrospectionClient(s.connection).Plugins(s.in(ctx), &introspection.PluginsRequest{})
	if err != nil {
		return err
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
// snapshots until containerd does so at some later time.
func (s *Server) Collect(ctx context.Context) error {
	client := leases.NewLeasesClient(s.connection)
	reply, err := client.Create(s.in(ctx), &leases.CreateRequest{})
	if err == nil {
		_, err = client.Delete(s.in(ctx), &leases.DeleteRequest{ID: reply.GetLease().GetID(), Sync: true})
	}
	return err
}
