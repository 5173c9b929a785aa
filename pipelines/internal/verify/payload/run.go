package payload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/cluster"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/containerd"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/node"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/testtools"
)

// Paths on the node.
const (
	socket      = "/run/containerd/containerd.sock"
	configPath  = "/etc/containerd/config.toml"
	olderData   = "/var/lib/nydus-snapshotter"
	olderSocket = "/run/nydus-snapshotter/containerd-nydus-grpc.sock"
)

// older is the name of the snapshotter that was there before.
const older = "nydus"

// run is a node with a containerd while it is checked.
type run struct {
	Payload
	host.Host
	report *report.Report
	// why is why the remaining checks are skipped, nil as long as none has failed.
	why error
	// dir has the node and the logs of containers; image is the unpacked image.
	dir, image string
	containerd testtools.Tool
	// version is what containerd says of itself; helm and chart are paths.
	version, helm, chart string
	node                 *node.Node
	api                  *cluster.Cluster
	cri                  *containerd.Server
	// open is what ends with the node, and the node itself first. kubelet ends the stand-in.
	open    []io.Closer
	kubelet context.CancelFunc
	// count numbers containers and snapshots.
	count int
	cache treeCache
	// pod is that of the plain installation, and main its container that runs.
	pod  *pod
	main *container
	// took is how long a first installation takes, and changed how long an upgrade.
	took, changed time.Duration
	// empty is the node without an installation, full with that of the image, and upgraded
	// with that of the upgrade.
	empty, full, upgraded tree
	// config is containerd's configuration, and component that which other images change.
	config, component string
}

const containerdUnit = `[Unit]
After=dbus.service
[Service]
Type=notify
ExecStart=/usr/local/bin/containerd
Delegate=yes
KillMode=process
Restart=always
RestartSec=1
LimitNOFILE=1048576
`

const olderUnit = `[Unit]
Before=containerd.service
[Service]
ExecStart=/srv/payload/opt/kata-artifacts/` + snapshotter + `/containerd-nydus-grpc --config /etc/nydus-snapshotter.toml
Restart=always
StateDirectory=nydus-snapshotter
RuntimeDirectory=nydus-snapshotter
`

// olderPlugin is appended to the configuration of containerd: it has the same form in all
// versions.
const olderPlugin = `
[proxy_plugins.` + older + `]
type = "snapshot"
address = "` + olderSocket + `"
`

// pauseImage is the image of sandboxes in containerd's configuration, which no machine
// without the registry can pull.
var pauseImage = regexp.MustCompile(`registry\.k8s\.io/pause:[0-9.]+`)

// serve serves an image of one file on the node's loopback.
func (r *run) serve(ctx context.Context, name, content string) (image *containerd.Image) {
	report.Must(r.node.Inside(func() (err error) {
		image, err = containerd.ServeImage(ctx, name, content)
		return err
	}))
	return image
}

// bare starts the node without an installation.
func (r *run) bare(ctx context.Context) string {
	report.Must(os.MkdirAll(r.dir, 0o755))
	program := report.Try(r.containerd.Build(ctx, r.Host))
	r.helm = report.Try(testtools.Helm.Build(ctx, r.Host))
	r.chart = report.Try(r.packageChart())
	binds := report.Try(r.otherImages(ctx))
	binds["/usr/local/bin/containerd"] = program
	for _, tool := range []testtools.Tool{testtools.Etcd, testtools.KubeAPIServer} {
		binds["/usr/local/bin/"+tool.Name] = report.Try(tool.Build(ctx, r.Host))
	}
	r.api = report.Try(cluster.New())
	files := r.api.Files()
	r.config = report.Try(host.Output(command.New(ctx, program, "config", "default"))) + olderPlugin
	files[configPath] = r.config
	files["/etc/systemd/system/containerd.service"] = containerdUnit
	files["/etc/systemd/system/nydus-snapshotter.service"] = olderUnit
	files["/etc/nydus-snapshotter.toml"] = report.Try(r.olderConfig())
	r.node = report.Try(node.Start(ctx, r.Host, node.Spec{
		Root: filepath.Join(r.dir, "root"), Binds: binds, Files: files, Ready: r.Timeout,
		Units: append(cluster.Units(), "nydus-snapshotter.service", "containerd.service"),
	}))
	r.open = append(r.open, r.node)
	report.Must(r.api.Connect(ctx, r.node, r.Timeout))
	pause := r.serve(ctx, "pause", "")
	r.open = append(r.open, r.api.Front, pause)
	r.config = pauseImage.ReplaceAllString(r.config, pause.Ref)
	r.write(configPath, r.config)
	report.Try(r.node.Run(ctx, "systemctl", "restart", "containerd"))
	r.cri = report.Try(containerd.Connect("unix:" + r.node.Path(socket)))
	r.open = append(r.open, r.cri)
	r.version = report.Try(r.node.Run(ctx, "containerd", "--version"))
	r.stand(ctx)
	r.loaded(ctx, older)
	r.empty = r.tree(ctx)
	systemd := report.Try(r.node.Run(ctx, "systemctl", "--version"))
	return fmt.Sprintf("%s, with %s, kube-apiserver and etcd of their own; the machine has no kubelet: its part (the conditions of the node, the container of the DaemonSet) is played by a stand-in; an older snapshotter %q serves",
		r.version, strings.Split(systemd, " (")[0], older)
}

// olderConfig is the configuration of the snapshotter that was there before.
func (r *run) olderConfig() (string, error) {
	data, err := os.ReadFile(filepath.Join(r.image, artifacts, "nydus-snapshotter", "config-guest-pulling.toml"))
	return strings.NewReplacer("@SNAPSHOTTER_GRPC_SOCKET_ADDRESS@", olderSocket, "@SNAPSHOTTER_ROOT_DIR@", olderData,
		"@NYDUS_OVERLAYFS_PATH@", imagePath+"/"+artifacts+"/"+snapshotter+"/nydus-overlayfs").Replace(string(data)), err
}

// stand starts the stand-in for the kubelet, and waits for its first report.
func (r *run) stand(ctx context.Context) {
	const pause = 200 * time.Millisecond
	fields := strings.Fields(r.version)
	reported := "containerd://" + strings.TrimPrefix(fields[2], "v")
	alive := func() bool {
		timed, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return r.cri.Alive(timed) == nil
	}
	report.Must(r.api.Report(ctx, reported, alive()))
	ctx, r.kubelet = context.WithCancel(ctx)
	go func() {
		for ctx.Err() == nil {
			_ = r.api.Report(ctx, reported, alive()) // An API that fails gets the next report.
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}()
}

// end ends the node.
func (r *run) end() error {
	if r.kubelet != nil {
		r.kubelet()
	}
	var errs []error
	for _, open := range slices.Backward(r.open) {
		errs = append(errs, open.Close())
	}
	return errors.Join(errs...)
}
