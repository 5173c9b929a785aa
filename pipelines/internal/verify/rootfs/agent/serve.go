package agent

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// StandIn ends the version of the agent that stands in for a real one.
const StandIn = "-stand-in"

// Serve answers as an agent that has only the service grpc.Health, until ctx ends.
func Serve(ctx context.Context, listener net.Listener, v Version) error {
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	defer server.Close()
	answer := func(m message) ttrpc.Method {
		return func(_ context.Context, unmarshal func(any) error) (any, error) {
			out := new(emptypb.Empty)
			out.ProtoReflect().SetUnknown([]byte(m))
			return out, unmarshal(new(emptypb.Empty))
		}
	}
	server.Register(health, map[string]ttrpc.Method{
		"Check":   answer(message{}.number(1, serving)),
		"Version": answer(message{}.text(1, v.API).text(2, v.Agent)),
	})
	if err := server.Serve(ctx, listener); err != nil && !errors.Is(err, ttrpc.ErrServerClosed) {
		return fmt.Errorf("serving the agent's interface: %w", err)
	}
	return nil
}
