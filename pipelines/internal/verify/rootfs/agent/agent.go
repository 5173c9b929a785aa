// Package agent speaks with the agent of a Kata guest, in ttrpc over vsock: it asks for health
// and version, and has it make a sandbox and a container from the pause bundle of its image.
//
// The messages are those of Kata's protobuf files. There are so few that their fields are
// written by number: generated code would be many times this package. For ttrpc, which takes
// only generated messages, an empty one carries the bytes as unknown fields.
package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Port is the vsock port that the agent serves.
const Port = 1024

// The services of the agent.
const (
	health  = "grpc.Health"
	service = "grpc.AgentService"
)

// Client is a connection to an agent.
type Client struct{ client *ttrpc.Client }

// NewClient speaks over an open connection, which Close closes.
func NewClient(connection net.Conn) *Client { return &Client{ttrpc.NewClient(connection)} }

// Close closes the connection.
func (c *Client) Close() error { return c.client.Close() }

// call sends a request, and returns the fields of the answer.
func (c *Client) call(ctx context.Context, of, method string, request message) (fields, error) {
	in, out := new(emptypb.Empty), new(emptypb.Empty)
	in.ProtoReflect().SetUnknown([]byte(request))
	if err := c.client.Call(ctx, of, method, in, out); err != nil {
		return fields{}, fmt.Errorf("calling %s of the agent: %w", method, err)
	}
	answer, err := parse(out.ProtoReflect().GetUnknown())
	if err != nil {
		return fields{}, fmt.Errorf("calling %s of the agent: %w", method, err)
	}
	return answer, nil
}

// serving is the status of an agent that serves.
const serving = 1

// Check asks whether the agent serves.
func (c *Client) Check(ctx context.Context) error {
	answer, err := c.call(ctx, health, "Check", nil)
	if err != nil {
		return err
	}
	if status := answer.numbers[1]; status != serving {
		return fmt.Errorf("the agent says that its status is %d, not %d (serving)", status, serving)
	}
	return nil
}

// Version is what an agent says that it is.
type Version struct{ API, Agent string }

// Version asks for the versions of the interface and of the agent.
func (c *Client) Version(ctx context.Context) (Version, error) {
	answer, err := c.call(ctx, health, "Version", nil)
	v := Version{answer.text(1), answer.text(2)}
	if err == nil && v.Agent == "" {
		err = errors.New("the agent does not say its version")
	}
	return v, err
}

// Details is what an agent can do.
type Details struct {
	// Init says that the agent is the first process.
	Init    bool
	Seccomp bool
	// Devices and Storages are the kinds that it handles, and Features what it was built with.
	Devices, Storages, Features []string
	// MemoryBlock is the unit of memory that can be added, in bytes.
	MemoryBlock uint64
}

// Details asks for the details of the guest.
func (c *Client) Details(ctx context.Context) (Details, error) {
	answer, err := c.call(ctx, service, "GetGuestDetails", message{}.number(1, 1))
	if err != nil {
		return Details{}, err
	}
	agent, err := parse([]byte(answer.text(2)))
	return Details{
		Init: agent.numbers[2] == 1, Devices: agent.texts(3), Storages: slices.Sorted(slices.Values(agent.texts(4))),
		Seccomp: agent.numbers[5] == 1, Features: agent.texts(6), MemoryBlock: answer.numbers[1],
	}, err
}
