package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// seed leaves a partial download as an earlier process would have.
func seed(t *testing.T, f *Fetcher, url string, data []byte, validator string) {
	t.Helper()
	d := &transfer{task: &task{Fetcher: f}, place: place("upstream", url, content), url: url}
	d.partial = f.final(d.place.SHA256) + ".partial"
	if err := os.MkdirAll(filepath.Dir(d.partial), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(d.partial, data, 0o644), d.remember(validator)); err != nil {
		t.Fatal(err)
	}
}

func rangeFrom(offset int) string { return fmt.Sprintf("bytes=%d-", offset) }

func TestDroppedConnection(t *testing.T) {
	half := len(content) / 2
	for name, test := range map[string]struct {
		misbehave func(n int, w http.ResponseWriter, r *http.Request) bool
		want      []string
		notes     []string
	}{
		"resumes": {func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 0 {
				drop(w)
			}
			return false
		}, []string{"", rangeFrom(half)}, []string{"dropped"}},
		"restarts without range support": {func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 0 {
				drop(w)
			}
			w.Header().Set("ETag", etag)
			_, _ = w.Write(content)
			return true
		}, []string{"", rangeFrom(half)}, []string{"dropped"}},
		"restarts without a validator": {func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 0 {
				w.Header().Set("Content-Length", fmt.Sprint(len(content)))
				_, _ = w.Write(content[:half])
				panic(http.ErrAbortHandler)
			}
			return false
		}, []string{"", ""}, []string{"dropped"}},
		"restarts when the file changed": {func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 0 {
				w.Header().Set("ETag", `"v0"`)
				w.Header().Set("Content-Length", fmt.Sprint(len(content)))
				_, _ = w.Write(make([]byte, half))
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			return false
		}, []string{"", rangeFrom(half)}, []string{"dropped"}},
		"before an answer": {func(n int, _ http.ResponseWriter, _ *http.Request) bool {
			if n == 0 {
				panic(http.ErrAbortHandler)
			}
			return false
		}, []string{"", ""}, []string{"dropped"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, f, n := serve(t, test.misbehave), fetcher(t), &notes{}
			got, err := f.Fetch(t.Context(), linux(place("upstream", s.URL, content)), nil, n.add)
			wantFetched(t, f, got, err, "upstream")
			if asked := s.asked(); !slices.Equal(asked, test.want) {
				t.Errorf("asked for %q, want %q", asked, test.want)
			}
			n.want(t, test.notes...)
		})
	}
}

func TestPartialOfAnEarlierProcess(t *testing.T) {
	half := len(content) / 2
	damaged := bytes.ToUpper(content[:half])
	for name, test := range map[string]struct {
		partial   []byte
		validator string
		size      int64
		want      []string
		notes     []string
	}{
		"resumed":            {content[:half], etag, 0, []string{rangeFrom(half)}, nil},
		"other etag":         {content[:half], `"v0"`, 0, []string{rangeFrom(half)}, nil},
		"no validator":       {content[:half], "", 0, []string{""}, nil},
		"damaged":            {damaged, etag, 0, []string{rangeFrom(half), ""}, []string{"do not fit"}},
		"complete":           {content, etag, int64(len(content)), nil, nil},
		"complete, unsized":  {content, etag, 0, []string{rangeFrom(len(content)), ""}, []string{"cannot resume"}},
		"complete, damaged":  {make([]byte, len(content)), etag, int64(len(content)), []string{""}, []string{"do not fit"}},
		"longer than it may": {append(bytes.Clone(content), "more"...), etag, int64(len(content)), []string{""}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, f, n := serve(t, nil), fetcher(t), &notes{}
			seed(t, f, s.URL, test.partial, test.validator)
			upstream := place("upstream", s.URL, content)
			upstream.Size = test.size
			got, err := f.Fetch(t.Context(), linux(upstream), nil, n.add)
			wantFetched(t, f, got, err, "upstream")
			if asked := s.asked(); !slices.Equal(asked, test.want) {
				t.Errorf("asked for %q, want %q", asked, test.want)
			}
			n.want(t, test.notes...)
		})
	}
}

func TestPartialOfAnotherAddress(t *testing.T) {
	s, f := serve(t, nil), fetcher(t)
	seed(t, f, "http://elsewhere/", content[:100], etag)
	got, err := f.Fetch(t.Context(), linux(place("upstream", s.URL, content)), nil, nil)
	wantFetched(t, f, got, err, "upstream")
	if asked := s.asked(); !slices.Equal(asked, []string{""}) {
		t.Errorf("asked for %q, want all", asked)
	}
}

func TestAlwaysDropped(t *testing.T) {
	bad := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) bool { drop(w); return true })
	good, f := serve(t, nil), fetcher(t)
	got, err := f.Fetch(t.Context(), linux(place("upstream", bad.URL, content), place("debian", good.URL, content)), nil, nil)
	wantFetched(t, f, got, err, "debian")
	if asked := bad.asked(); len(asked) != retries+1 {
		t.Errorf("asked %d times, want %d", len(asked), retries+1)
	}
}

func TestStall(t *testing.T) {
	for name, before := range map[string]int{"before the answer": 0, "in the body": 1000} {
		t.Run(name, func(t *testing.T) {
			over := make(chan struct{})
			bad := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				if before > 0 {
					w.Header().Set("Content-Length", fmt.Sprint(len(content)))
					_, _ = w.Write(content[:before])
					w.(http.Flusher).Flush()
				}
				<-over
				return true
			})
			defer close(over)
			good, f, n := serve(t, nil), fetcher(t), &notes{}
			f.stall = 50 * time.Millisecond
			got, err := f.Fetch(t.Context(), linux(place("upstream", bad.URL, content), place("debian", good.URL, content)), nil, n.add)
			wantFetched(t, f, got, err, "debian")
			n.want(t, "stopped sending")
		})
	}
}

// A slow server that keeps sending is no stall, however long it takes.
func TestSlowIsNoStall(t *testing.T) {
	s := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		for rest := content; len(rest) > 0; rest = rest[len(content)/8:] {
			_, _ = w.Write(rest[:len(content)/8])
			w.(http.Flusher).Flush()
			time.Sleep(50 * time.Millisecond)
		}
		return true
	})
	f := fetcher(t)
	f.stall = 300 * time.Millisecond
	got, err := f.Fetch(t.Context(), linux(place("upstream", s.URL, content)), nil, nil)
	wantFetched(t, f, got, err, "upstream")
}

// A server that says no length and closes early has not sent everything.
func TestShortWithoutLength(t *testing.T) {
	s := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n == 0 {
			_, _ = w.Write(content[:len(content)/2])
			w.(http.Flusher).Flush()
		}
		return n == 0
	})
	f, n := fetcher(t), &notes{}
	upstream := place("upstream", s.URL, content)
	upstream.Size = int64(len(content))
	got, err := f.Fetch(t.Context(), linux(upstream), nil, n.add)
	wantFetched(t, f, got, err, "upstream")
	n.want(t, "dropped")
}

func TestCancel(t *testing.T) {
	over := make(chan struct{})
	s := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n > 0 {
			return false
		}
		w.Header().Set("ETag", etag)
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:1000])
		w.(http.Flusher).Flush()
		<-over
		return true
	})
	defer close(over)
	f, n := fetcher(t), &notes{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	source := linux(place("upstream", s.URL, content), place("debian", s.URL, []byte("x")))
	_, err := f.Fetch(ctx, source, func(done, _ int64) {
		if done == 1000 {
			cancel()
		}
	}, n.add)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want %v", err, context.Canceled)
	}
	n.want(t)
	hash := hashText(string(content))
	wantFiles(t, f, hash+".from", hash+".partial")
	got, err := f.Fetch(t.Context(), source, nil, nil)
	wantFetched(t, f, got, err, "upstream")
	if asked := s.asked(); !slices.Equal(asked, []string{"", rangeFrom(1000)}) {
		t.Errorf("asked for %q", asked)
	}
}

func TestDiskFull(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(int64(1)<<60))
	}))
	defer s.Close()
	f := fetcher(t)
	_, err := f.Fetch(t.Context(), linux(place("upstream", s.URL, content), place("debian", s.URL, content)), nil, nil)
	wantError(t, err, `place "upstream"`, "free", "1.0 EiB", "--cache-dir")
	wantFiles(t, f)
	if strings.Contains(err.Error(), "no place") {
		t.Errorf("a full disk led to the next place: %v", err)
	}
}
