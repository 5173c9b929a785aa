package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/node"
)

// Fault is how Front answers instead of the API.
type Fault struct {
	// Method is that of the requests that fail, "" for all.
	Method string
	// Status is the answer, 0 for none: the request hangs until the client gives up.
	Status int
	// Times is how many requests fail.
	Times int
}

// Front passes the requests of pods on to the API, or lets them fail.
type Front struct {
	proxy  *httputil.ReverseProxy
	server *http.Server

	mutex sync.Mutex
	fault Fault
	// failed counts the requests that failed.
	failed int
}

// serveFront starts a Front on the node's loopback.
func (c *Cluster) serveFront(ctx context.Context, n *node.Node) (*Front, error) {
	target, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(c.certificate, c.key)
	if err != nil {
		return nil, err
	}
	f := &Front{proxy: httputil.NewSingleHostReverseProxy(target)}
	f.proxy.Transport = c.client.Transport
	f.server = &http.Server{Handler: f, ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	var listener net.Listener
	err = n.Inside(func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:"+PodPort)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serving the API to pods: %w", err)
	}
	go func() { _ = f.server.ServeTLS(listener, "", "") }() // It ends with an error when it is closed.
	return f, nil
}

// Close ends it.
func (f *Front) Close() error { return f.server.Close() }

// Fail lets requests fail from now on, and returns how many failed before.
func (f *Front) Fail(fault Fault) (failed int) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	failed, f.failed, f.fault = f.failed, 0, fault
	return failed
}

// ServeHTTP answers a request.
func (f *Front) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	fault := f.next(request.Method)
	switch {
	case fault == nil:
		f.proxy.ServeHTTP(w, request)
	case fault.Status == 0:
		<-request.Context().Done()
	default:
		w.Header().Set("Content-Type", "application/json")
		if fault.Status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(fault.Status)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"made to fail","reason":%q,"code":%d}`,
			map[int]string{http.StatusConflict: "Conflict", http.StatusTooManyRequests: "TooManyRequests"}[fault.Status], fault.Status)
	}
}

// next returns the fault of the next request, nil for none.
func (f *Front) next(method string) *Fault {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.failed >= f.fault.Times || f.fault.Method != "" && f.fault.Method != method {
		return nil
	}
	f.failed++
	fault := f.fault
	return &fault
}
