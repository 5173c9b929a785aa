// Command pull has containerd pull an image as the kubelet does, through the CRI, for
// a runtime of a name: pull SOCKET RUNTIME IMAGE. It prints what the image is called
// there.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pull:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) != 3 {
		return fmt.Errorf("got %d arguments: want SOCKET RUNTIME IMAGE", len(args))
	}
	socket, runtime, image := args[0], args[1], args[2]
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", socket, err)
	}
	defer connection.Close()
	reply, err := cri.NewImageServiceClient(connection).PullImage(ctx, &cri.PullImageRequest{
		Image: &cri.ImageSpec{Image: image, RuntimeHandler: runtime},
		SandboxConfig: &cri.PodSandboxConfig{
			Metadata: &cri.PodSandboxMetadata{Name: "pod", Namespace: "default", Uid: "1"},
			// What containerd before 2.0 has instead of the field of the image.
			Annotations: map[string]string{"io.containerd.cri.runtime-handler": runtime},
		},
	})
	if err != nil {
		return fmt.Errorf("pulling %s: %w", image, err)
	}
	_, err = fmt.Fprintln(stdout, reply.GetImageRef())
	return err
}
