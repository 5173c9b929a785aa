// Command standin stands in for the agent of a guest where no real one can be had: it answers
// health and version as the agent does, and nothing else. Its version says what it is. An image
// takes only an agent of its own release, so build it for one:
//
//	CGO_ENABLED=0 go build -ldflags '-X main.release=3.28.0' ./pipelines/internal/verify/rootfs/standin
//	pipelines build-asset rootfs-image --source agent=standin
//
// As the first process of a guest it also stays when it fails, so that the console shows why.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/rootfs/agent"
)

// release is that of Kata which it stands in for.
var release = "0.0.0"

func main() {
	version := agent.Version{API: "0.0.1", Agent: release + agent.StandIn}
	if slices.Contains(os.Args[1:], "--version") {
		fmt.Println("kata-agent", version.Agent)
		return
	}
	err := serve(version)
	fmt.Fprintln(os.Stderr, "standin:", err)
	for os.Getpid() == 1 {
		time.Sleep(time.Hour)
	}
	os.Exit(1)
}

func serve(version agent.Version) error {
	// Of any address of this guest, for which it needs no /dev/vsock.
	listener, err := vsock.ListenContextID(unix.VMADDR_CID_ANY, agent.Port, nil)
	if err != nil {
		return fmt.Errorf("listening on vsock port %d: %w", agent.Port, err)
	}
	fmt.Println("standin: serving vsock port", agent.Port)
	return agent.Serve(context.Background(), listener, version)
}
