package registrytest

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
)

// Counter counts what goes over the connections of its transport: headers,
// bodies, everything.
type Counter struct {
	// Connections that were opened, and bytes that were read from them.
	Connections, Read atomic.Int64
}

// Transport returns a transport whose connections are counted.
func (c *Counter) Transport() *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c.Connections.Add(1)
		return &counted{conn, c}, nil
	}}
}

// counted is a connection that is counted.
type counted struct {
	net.Conn
	counter *Counter
}

// Read reads and counts.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.counter.Read.Add(int64(n))
	return n, err
}
