package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// quick is a pace for tests: it records waits in place of waiting.
type quick struct {
	mu    sync.Mutex
	waits []time.Duration
}

func (q *quick) pace() Pace {
	return Pace{Tries: 4, Answer: 5 * time.Second, Stall: 5 * time.Second, Sleep: func(ctx context.Context, wait time.Duration) error {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.waits = append(q.waits, wait)
		return ctx.Err()
	}}
}

// answers serves the handlers in turn, and repeats the last one.
func answers(t *testing.T, handlers ...http.HandlerFunc) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers[min(int(asked.Add(1)), len(handlers))-1](w, r)
	}))
	t.Cleanup(server.Close)
	return server, &asked
}

func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}

func broken(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func send(ctx context.Context, client *http.Client, method, url string, body io.Reader) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}

func TestRepeats(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, test := range map[string]struct {
		method   string
		handlers []http.HandlerFunc
		asked    int64
		code     int
		waits    []time.Duration // exact, if the server asks for them
	}{
		"all is well":              {"GET", []http.HandlerFunc{status(200)}, 1, 200, nil},
		"busy for a moment":        {"GET", []http.HandlerFunc{status(503), status(429), status(200)}, 3, 200, nil},
		"a gateway":                {"HEAD", []http.HandlerFunc{status(502), status(504), status(200)}, 3, 200, nil},
		"a lost connection":        {"GET", []http.HandlerFunc{broken, status(200)}, 2, 200, nil},
		"busy forever":             {"GET", []http.HandlerFunc{status(503)}, 4, 503, nil},
		"not found":                {"GET", []http.HandlerFunc{status(404)}, 1, 404, nil},
		"refused":                  {"GET", []http.HandlerFunc{status(403)}, 1, 403, nil},
		"not implemented":          {"GET", []http.HandlerFunc{status(501)}, 1, 501, nil},
		"a change":                 {"PUT", []http.HandlerFunc{status(500), status(201)}, 2, 201, nil},
		"asked for patience":       {"GET", []http.HandlerFunc{status(429, "Retry-After", "7"), status(200)}, 2, 200, []time.Duration{7 * time.Second}},
		"asked with a refusal":     {"GET", []http.HandlerFunc{status(403, "Retry-After", "7"), status(200)}, 2, 200, []time.Duration{7 * time.Second}},
		"asked by a date":          {"GET", []http.HandlerFunc{status(503, "Retry-After", date(time.Hour+9*time.Second), "Date", date(time.Hour)), status(200)}, 2, 200, []time.Duration{9 * time.Second}},
		"a date in the past":       {"GET", []http.HandlerFunc{status(503, "Retry-After", date(-time.Hour), "Date", date(0)), status(200)}, 2, 200, []time.Duration{500 * time.Millisecond}},
		"more than the patience":   {"GET", []http.HandlerFunc{status(429, "Retry-After", "3600")}, 1, 429, []time.Duration{}},
		"more patience each time":  {"GET", []http.HandlerFunc{status(429, "Retry-After", "50")}, 3, 429, []time.Duration{50 * time.Second, 50 * time.Second}},
		"an answer with the field": {"GET", []http.HandlerFunc{status(201, "Retry-After", "50")}, 1, 201, []time.Duration{}},
	} {
		t.Run(name, func(t *testing.T) {
			var q quick
			server, asked := answers(t, test.handlers...)
			code, _, err := send(t.Context(), NewClient(Options{Pace: q.pace()}), test.method, server.URL, strings.NewReader("hello"))
			if code != test.code || err != nil {
				t.Errorf("got %d, %v, want %d", code, err, test.code)
			}
			// net/http itself retries once after it lost a reused connection.
			if n := asked.Load(); n != test.asked {
				t.Errorf("sent %d requests, want %d", n, test.asked)
			}
			for i, want := range test.waits {
				if i >= len(q.waits) || q.waits[i] != want {
					t.Fatalf("waited %v, want %v", q.waits, test.waits)
				}
			}
			if test.waits != nil && len(q.waits) != len(test.waits) {
				t.Errorf("waited %v, want %v", q.waits, test.waits)
			}
		})
	}
}

func TestWaitsGrow(t *testing.T) {
	var q quick
	server, _ := answers(t, status(500))
	if _, _, err := send(t.Context(), NewClient(Options{Pace: q.pace()}), "GET", server.URL, nil); err != nil {
		t.Fatal(err)
	}
	for i, least := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second} {
		if len(q.waits) != 3 || q.waits[i] < least || q.waits[i] > least*5/4 {
			t.Fatalf("waited %v, want twice as long each time", q.waits)
		}
	}
}

// A server that keeps asking for a wait of no time is given up in the end.
func TestStormEnds(t *testing.T) {
	var q quick
	server, asked := answers(t, status(429, "Retry-After", "0"))
	code, _, err := send(t.Context(), NewClient(Options{Pace: q.pace()}), "GET", server.URL, nil)
	if code != 429 || err != nil || asked.Load() != maxHolds+1 {
		t.Errorf("got %d, %v after %d requests", code, err, asked.Load())
	}
}

func TestOnce(t *testing.T) {
	for name, test := range map[string]struct {
		handlers []http.HandlerFunc
		asked    int64
	}{
		"a failure":        {[]http.HandlerFunc{status(502), status(201)}, 1},
		"a lost answer":    {[]http.HandlerFunc{broken, status(201)}, 1},
		"nothing was done": {[]http.HandlerFunc{status(403, "Retry-After", "1"), status(201)}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var q quick
			server, asked := answers(t, test.handlers...)
			_, _, _ = send(Once(t.Context()), NewClient(Options{Pace: q.pace()}), "POST", server.URL, strings.NewReader("make one"))
			if asked.Load() != test.asked {
				t.Errorf("sent %d times, want %d", asked.Load(), test.asked)
			}
		})
	}
}

// If a body cannot be sent again, the caller gets the response.
func TestUnrepeatable(t *testing.T) {
	var q quick
	server, asked := answers(t, status(503, "Retry-After", "7"))
	code, _, err := send(t.Context(), NewClient(Options{Pace: q.pace()}), "PATCH", server.URL, io.MultiReader(strings.NewReader("x")))
	if code != http.StatusServiceUnavailable || err != nil || asked.Load() != 1 {
		t.Errorf("got %d, %v after %d requests", code, err, asked.Load())
	}
}

// Each retry sends the whole body.
func TestBodyIsSentAgain(t *testing.T) {
	var q quick
	var got []string
	record := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			data, _ := io.ReadAll(r.Body)
			got = append(got, string(data))
			w.WriteHeader(code)
		}
	}
	server, _ := answers(t, record(500), record(200))
	if _, _, err := send(t.Context(), NewClient(Options{Pace: q.pace()}), "PUT", server.URL, strings.NewReader("hello")); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, " ") != "hello hello" {
		t.Errorf("the server got %q", got)
	}
}

func TestRefusedConnections(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := "http://" + listener.Addr().String()
	var q quick
	client := NewClient(Options{Pace: q.pace()})
	server := &http.Server{Handler: status(200), ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()
	if _, _, err := send(t.Context(), client, "GET", address, nil); err != nil {
		t.Fatal(err)
	}
	require.NoError(t, server.Close())
	// It has answered before, and may be restarting.
	_, _, err = send(t.Context(), client, "GET", address, nil)
	if !Temporary(err) || len(q.waits) != 3 {
		t.Errorf("a server that has answered before: %v after %v", err, q.waits)
	}
	q.waits = nil
	_, _, err = send(t.Context(), NewClient(Options{Pace: q.pace()}), "GET", address, nil)
	if Temporary(err) || err == nil || len(q.waits) != 0 {
		t.Errorf("a server that has never answered: %v after %v", err, q.waits)
	}
}

func TestSilence(t *testing.T) {
	done := make(chan struct{})
	var q quick
	pace := q.pace()
	pace.Answer = 30 * time.Millisecond
	server, asked := answers(t, func(http.ResponseWriter, *http.Request) { <-done })
	defer close(done)
	_, _, err := send(t.Context(), NewClient(Options{Pace: pace}), "GET", server.URL, nil)
	if err == nil || !strings.Contains(err.Error(), "no answer for") || asked.Load() != 2 {
		t.Errorf("got %v after %d requests, want 2", err, asked.Load())
	}
}

// A body that makes no progress, or hardly any, is given up.
func TestStall(t *testing.T) {
	for name, pause := range map[string]time.Duration{"still": time.Hour, "a drop at a time": 20 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			pace := Pace{Stall: 300 * time.Millisecond}
			server, _ := answers(t, func(w http.ResponseWriter, _ *http.Request) {
				for {
					_, _ = w.Write([]byte("x"))
					w.(http.Flusher).Flush()
					select {
					case <-done:
						return
					case <-time.After(pause):
					}
				}
			})
			defer close(done)
			_, _, err := send(t.Context(), NewClient(Options{Pace: pace}), "GET", server.URL, nil)
			if !Temporary(err) || !errors.Is(err, ErrStalled) {
				t.Errorf("got %v, want a stall", err)
			}
		})
	}
}

// A body that makes progress may take longer than a stall.
func TestSlowBody(t *testing.T) {
	server, _ := answers(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 10 {
			_, _ = w.Write(bytes.Repeat([]byte("x"), 1000))
			w.(http.Flusher).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	})
	_, body, err := send(t.Context(), NewClient(Options{Pace: Pace{Stall: 250 * time.Millisecond}}), "GET", server.URL, nil)
	if len(body) != 10000 || err != nil {
		t.Errorf("got %d bytes, %v", len(body), err)
	}
}

func TestStalledUpload(t *testing.T) {
	done := make(chan struct{})
	server, _ := answers(t, func(http.ResponseWriter, *http.Request) { <-done })
	defer close(done)
	client := NewClient(Options{Pace: Pace{Stall: 50 * time.Millisecond}})
	_, _, err := send(t.Context(), client, "PATCH", server.URL, io.MultiReader(bytes.NewReader(make([]byte, 32<<20))))
	if !errors.Is(err, ErrStalled) {
		t.Errorf("got %v, want a stall", err)
	}
}

func TestTooLarge(t *testing.T) {
	endless := func(code int, kind string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(code)
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}
	}
	for name, handler := range map[string]http.HandlerFunc{
		"a token": endless(200, "application/json"),
		"a list":  endless(200, "application/vnd.oci.image.index.v1+json"),
	} {
		t.Run(name, func(t *testing.T) {
			server, _ := answers(t, handler)
			_, _, err := send(t.Context(), NewClient(Options{Small: 1 << 20}), "GET", server.URL, nil)
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("got %v, want an end", err)
			}
		})
	}
	server, _ := answers(t, endless(403, "text/html"))
	if code, body, err := send(t.Context(), NewClient(Options{}), "GET", server.URL, nil); code != 403 || len(body) != maxRefusal || err != nil {
		t.Errorf("a refusal: %d with %d bytes, %v", code, len(body), err)
	}
	server, _ = answers(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(make([]byte, 1<<20))
	})
	if _, body, err := send(t.Context(), NewClient(Options{Small: 1 << 20}), "GET", server.URL, nil); len(body) != 1<<20 || err != nil {
		t.Errorf("an answer of the limit: %d bytes, %v", len(body), err)
	}
}

// A response in JSON that breaks off is requested again.
func TestBrokenAnswer(t *testing.T) {
	var q quick
	server, asked := answers(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "11")
		_, _ = w.Write([]byte("{"))
	}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("{}"))
	})
	_, body, err := send(t.Context(), NewClient(Options{Small: 100, Pace: q.pace()}), "GET", server.URL, nil)
	if body != "{}" || err != nil || asked.Load() != 2 {
		t.Errorf("got %q, %v after %d requests", body, err, asked.Load())
	}
}

// The response to a HEAD has the length of the content, but no content.
func TestHead(t *testing.T) {
	server, _ := answers(t, status(200, "Content-Type", "application/json", "Content-Length", "4000"))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, server.URL, nil)
	require.NoError(t, err)
	response, err := NewClient(Options{Small: 100}).Do(request)
	require.NoError(t, err)
	_ = response.Body.Close()
	if response.ContentLength != 4000 {
		t.Errorf("the length is %d", response.ContentLength)
	}
}

func TestCancelled(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	server, asked := answers(t, func(http.ResponseWriter, *http.Request) {
		cancel(why)
		panic(http.ErrAbortHandler)
	})
	_, _, err := send(ctx, NewClient(Options{}), "GET", server.URL, nil)
	if err == nil || asked.Load() != 1 {
		t.Errorf("got %v after %d requests", err, asked.Load())
	}
}

// A list that is longer than expected is an error, and not cut.
func TestContent(t *testing.T) {
	server, _ := answers(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/none" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte("0123456789"))
	})
	if data, err := Content(t.Context(), server.Client(), server.URL+"/list", 10); err != nil || string(data) != "0123456789" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := Content(t.Context(), server.Client(), server.URL+"/list", 9); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	_, err := Content(t.Context(), server.Client(), server.URL+"/none", 10)
	if Refusal(err) != http.StatusNotFound || !strings.HasSuffix(err.Error(), "/none: the server answered 404 Not Found") {
		t.Error(err)
	}
}
