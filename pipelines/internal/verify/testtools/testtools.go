// Package testtools compiles the programs that checks need and few machines have, from
// their Go modules, and caches them. A tool is a nested module next to this file, which
// pins the version and the hash of everything that is compiled; so the hash of its go.sum
// names the cached program.
package testtools

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// modules is the folder of the nested modules, below the root of the repository.
const modules = "pipelines/internal/verify/testtools/modules"

// Tool is a program to compile.
type Tool struct {
	// Name is that of the program and of the folder of its module.
	Name string
	// pkg is the Go package, and ldflags set the version that the program prints.
	pkg, ldflags string
}

// The tools. The servers of containerd are the oldest one that runs several snapshotters
// reliably, and the last one without drop-ins for the CRI.
var (
	Containerd    = Tool{"containerd", "github.com/containerd/containerd/v2/cmd/containerd", ""}
	Containerd1   = Tool{"containerd-1.7", "github.com/containerd/containerd/cmd/containerd", ""}
	Helm          = Tool{"helm", "helm.sh/helm/v3/cmd/helm", ""}
	Etcd          = Tool{"etcd", "go.etcd.io/etcd/server/v3", ""}
	KubeAPIServer = Tool{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver",
		// Without these the server takes itself for version 0.0, which has no API.
		" -X k8s.io/component-base/version.gitVersion=v1.34.3 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34"}
)

// Build returns the path of a tool in the cache, and compiles it first if it is not
// there. That takes minutes.
func (t Tool) Build(ctx context.Context, h host.Host) (path string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("building %s: %w", t.Name, err)
		}
	}()
	dir := filepath.Join(h.Root, modules, t.Name)
	sum, _, err := files.Hash(ctx, filepath.Join(dir, "go.sum"))
	if err != nil {
		return "", err
	}
	program := filepath.Join(h.Cache, fmt.Sprintf("%s-%.12s", t.Name, sum))
	if _, err := os.Stat(program); !errors.Is(err, fs.ErrNotExist) {
		files.Touch(program)
		return program, err
	}
	h.Note("compiling " + t.Name + " from its Go module")
	if err := os.MkdirAll(h.Cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(h.Cache, "compiling-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	compiled := filepath.Join(work, t.Name)
	environ := []string{"GOWORK=off", "GOFLAGS=-mod=readonly"}
	if err := h.GoBuild(ctx, dir, environ, "-ldflags", "-s -w"+t.ldflags, "-o", compiled, t.pkg); err != nil {
		return "", err
	}
	return program, os.Rename(compiled, program)
}
