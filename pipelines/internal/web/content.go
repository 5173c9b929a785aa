package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Client sends requests, as an *http.Client does.
type Client interface {
	Do(*http.Request) (*http.Response, error)
}

// Unavailable is the error of a server that does not serve the content.
type Unavailable struct {
	// Err says why. Response is the server's error response, or nil.
	Err      error
	Response *http.Response
}

func (u *Unavailable) Error() string { return Reason(u.Err) }

func (u *Unavailable) Unwrap() error { return u.Err }

// Content returns a small file of a server. The error is an *Unavailable if the server does
// not serve it.
func Content(ctx context.Context, client Client, address string, most int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, errors.New("invalid address") // The cause would show it.
	}
	where := Shown(address)
	response, err := client.Do(request)
	if err != nil {
		return nil, &Unavailable{Err: fmt.Errorf("%s: %w", where, err)}
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, &Unavailable{fmt.Errorf("%s: the server answered %s", where, StatusText(response.StatusCode)), response}
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err == nil && int64(len(data)) > most {
		err = ErrTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, Clean(err))
	}
	return data, nil
}

// Refusal returns the status code with which a server refused to serve a file, 0 for
// another error.
func Refusal(err error) int {
	var u *Unavailable
	if errors.As(err, &u) && u.Response != nil {
		return u.Response.StatusCode
	}
	return 0
}
