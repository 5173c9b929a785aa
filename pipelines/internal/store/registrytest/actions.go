package registrytest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"
)

// Status answers with a status, and with headers given as pairs, without asking
// the registry.
func Status(code int, headers ...string) Action {
	return func(request *http.Request, _ http.RoundTripper) (*http.Response, error) {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		body := []byte(fmt.Sprintf(`{"errors":[{"code":"FAULT","message":"fault %d"}]}`, code))
		response := &http.Response{
			StatusCode: code, Status: fmt.Sprint(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Content-Type": {"application/json"}}, Request: request,
			Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
		}
		for i := 0; i+1 < len(headers); i += 2 {
			response.Header.Set(headers[i], headers[i+1])
		}
		return response, nil
	}
}

// Refuse is a registry that is down.
func Refuse() Action {
	return func(request *http.Request, _ http.RoundTripper) (*http.Response, error) {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, &opError{request.URL.Host}
	}
}

// opError is a refused connection.
type opError struct{ host string }

// Error says so as package net does.
func (e *opError) Error() string { return "dial tcp " + e.host + ": connect: connection refused" }

// Unwrap returns the cause.
func (e *opError) Unwrap() error { return syscall.ECONNREFUSED }

// Hang calls reached and asks nothing while the request lasts.
func Hang(reached func()) Action {
	return func(request *http.Request, _ http.RoundTripper) (*http.Response, error) {
		reached()
		<-request.Context().Done()
		return nil, context.Cause(request.Context())
	}
}

// Reset loses the connection after n bytes of the answer's body.
func Reset(n int64) Action {
	return answering(func(body io.ReadCloser, _ context.Context) io.ReadCloser {
		return &cut{body, n, func() error { return syscall.ECONNRESET }}
	})
}

// End ends the answer's body after n bytes, as a proxy may that lost its own
// connection, though its length said more.
func End(n int64) Action {
	return answering(func(body io.ReadCloser, _ context.Context) io.ReadCloser {
		return &cut{body, n, func() error { return io.ErrUnexpectedEOF }}
	})
}

// Stall brings n bytes of the answer's body, calls reached, which may be nil, and
// brings no more while the request lasts.
func Stall(n int64, reached func()) Action {
	return answering(func(body io.ReadCloser, ctx context.Context) io.ReadCloser {
		return &cut{body, n, func() error {
			if reached != nil {
				reached()
			}
			<-ctx.Done()
			return context.Cause(ctx)
		}}
	})
}

// Slow brings the answer's body with a pause after each n bytes.
func Slow(n int64, pause time.Duration) Action {
	return answering(func(body io.ReadCloser, _ context.Context) io.ReadCloser {
		return &slow{body, n, pause}
	})
}

// Truncate makes a whole answer of the first n bytes of the body.
func Truncate(n int64) Action {
	return func(request *http.Request, base http.RoundTripper) (*http.Response, error) {
		response, err := base.RoundTrip(request)
		if err != nil || response.StatusCode >= http.StatusMultipleChoices {
			return response, err
		}
		response.Body = &cut{response.Body, n, func() error { return io.EOF }}
		response.ContentLength = n
		response.Header.Set("Content-Length", fmt.Sprint(n))
		return response, nil
	}
}

// Wrong changes the byte at an offset of the answer's body.
func Wrong(at int64) Action {
	return answering(func(body io.ReadCloser, _ context.Context) io.ReadCloser {
		return &wrong{body, at}
	})
}

// NoRange answers as a server that knows no ranges.
func NoRange() Action {
	return func(request *http.Request, base http.RoundTripper) (*http.Response, error) {
		request = request.Clone(request.Context())
		request.Header.Del("Range")
		return base.RoundTrip(request)
	}
}

// ResetBody loses the connection after n bytes of the request's body.
func ResetBody(n int64) Action {
	return sending(func(body io.ReadCloser, _ context.Context) io.ReadCloser {
		return &cut{body, n, func() error { return syscall.ECONNRESET }}
	})
}

// StallBody sends n bytes of the request's body, calls reached, and sends no more
// while the request lasts.
func StallBody(n int64, reached func()) Action {
	return sending(func(body io.ReadCloser, ctx context.Context) io.ReadCloser {
		return &cut{body, n, func() error {
			reached()
			<-ctx.Done()
			return context.Cause(ctx)
		}}
	})
}

func answering(change func(io.ReadCloser, context.Context) io.ReadCloser) Action {
	return func(request *http.Request, base http.RoundTripper) (*http.Response, error) {
		response, err := base.RoundTrip(request)
		if err != nil || response.StatusCode >= http.StatusMultipleChoices {
			return response, err
		}
		response.Body = change(response.Body, request.Context())
		return response, nil
	}
}

func sending(change func(io.ReadCloser, context.Context) io.ReadCloser) Action {
	return func(request *http.Request, base http.RoundTripper) (*http.Response, error) {
		changed := request.Clone(request.Context())
		if request.Body != nil {
			changed.Body = change(request.Body, request.Context())
		}
		return base.RoundTrip(changed)
	}
}
