// Command standin stands in for the agent of a guest where no real one can be had: it answers
// health and version as the agent does, and nothing else. Its version says what it is. As the
// first process of a guest it also stays when it fails, so that the console shows why.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/rootfs/agent"
)

func main() {
	err := serve()
	fmt.Fprintln(os.Stderr, "standin:", err)
	for os.Getpid() == 1 {
		time.Sleep(time.Hour)
	}
	os.Exit(1)
}

func serve() error {
	// Of any address of this guest, for which it needs no /dev/vsock.
	listener, err := vsock.ListenContextID(unix.VMADDR_CID_ANY, agent.Port, nil)
	if err != nil {
		return fmt.Errorf("listening on vsock port %d: %w", agent.Port, err)
	}
	fmt.Println("standin: serving vsock port", agent.Port)
	return agent.Serve(context.Background(), listener, agent.Version{API: "0.0.1", Agent: "0.0.0" + agent.StandIn})
}
