// Command vsock takes the place of vhost-device-vsock in tests: it has its sockets, and behind
// the one for the host there is the stand-in of an agent, and no guest.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/rootfs/agent"
)

func main() {
	for part := range strings.SplitSeq(os.Args[2], ",") {
		name, path, _ := strings.Cut(part, "=")
		if name != "socket" && name != "uds-path" {
			continue
		}
		listener, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if name == "uds-path" {
			go serve(listener)
		}
	}
	select {}
}

// serve answers the request for a port, and then as an agent.
func serve(listener net.Listener) {
	_ = agent.Serve(context.Background(), greeter{listener}, agent.Version{API: "0.0.1", Agent: "0.0.0" + agent.StandIn})
}

type greeter struct{ net.Listener }

func (g greeter) Accept() (net.Conn, error) {
	for {
		connection, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if line, err := bufio.NewReaderSize(connection, 16).ReadString('\n'); err == nil && line == "CONNECT 1024\n" {
			time.Sleep(time.Second) // A QEMU that fails has done so by then.
			_, err = fmt.Fprintln(connection, "OK 1")
			return connection, err
		}
		_ = connection.Close()
	}
}
