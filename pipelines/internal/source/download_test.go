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
func seed(t *testing.T, f *Fetcher, data []byte) {
	t.Helper()
	partial := f.final(hashText(string(content))) + ".partial"
	if err := os.MkdirAll(filepath.Dir(partial), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(partial, data, 0o644); err != nil {
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
		}, []string{"", rangeFrom(half)}, []string{"broke off"}},
		"restarts without range support": {func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 0 {
				drop(w)
			}
			w.Header().Set("ETag", etag)
			_, _ = w.Write(content)
			return true
		}, []string{"", rangeFrom(half)}, []string{"broke off"}},
		"resumes without a validator": {func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 0 {
				w.Header().Set("Content-Length", fmt.Sprint(len(content)))
				_, _ = w.Write(content[:half])
				panic(http.ErrAbortHandler)
			}
			return false
		}, []string{"", rangeFrom(half)}, []string{"broke off"}},
		"restarts when the file changed": {func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 0 {
				w.Header().Set("ETag", `"v0"`)
				w.Header().Set("Content-Length", fmt.Sprint(len(content)))
				_, _ = w.Write(make([]byte, half))
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			return false
		}, []string{"", rangeFrom(half), ""}, []string{"broke off", "do not fit"}},
		"before an answer": {func(n int, _ http.ResponseWriter, _ *http.Request) bool {
			if n == 0 {
				panic(http.ErrAbortHandler)
			}
			return false
		}, []string{"", ""}, nil},
		"503 and 429": {func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n < 2 {
				w.WriteHeader([]int{503, 429}[n])
			}
			return n < 2
		}, []string{"", "", ""}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, f, n := serve(t, test.misbehave), fetcher(t), &notes{}
			got, err := f.Fetch(t.Context(), linux(place("upstream", s.URL, content)), n.stage())
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
	for name, test := range map[string]struct {
		partial []byte
		size    int64
		want    []string
		notes   []string
	}{
		"resumed":            {content[:half], 0, []string{rangeFrom(half)}, nil},
		"damaged":            {bytes.ToUpper(content[:half]), 0, []string{rangeFrom(half), ""}, []string{"do not fit"}},
		"complete":           {content, int64(len(content)), nil, nil},
		"complete, unsized":  {content, 0, []string{rangeFrom(len(content))}, nil},
		"complete, damaged":  {make([]byte, len(content)), int64(len(content)), []string{""}, []string{"do not fit"}},
		"longer than it may": {append(bytes.Clone(content), "more"...), int64(len(content)), []string{""}, nil},
		"too long, unsized":  {append(bytes.Clone(content), "more"...), 0, []string{rangeFrom(len(content) + 4), ""}, []string{"do not fit"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, f, n := serve(t, nil), fetcher(t), &notes{}
			seed(t, f, test.partial)
			upstream := place("upstream", s.URL, content)
			upstream.Size = test.size
			got, err := f.Fetch(t.Context(), linux(upstream), n.stage())
			wantFetched(t, f, got, err, "upstream")
			if asked := s.asked(); !slices.Equal(asked, test.want) {
				t.Errorf("asked for %q, want %q", asked, test.want)
			}
			n.want(t, test.notes...)
		})
	}
}

// A link in place of the partial leads to no file of somebody else.
func TestPartialThatIsALink(t *testing.T) {
	s, f := serve(t, nil), fetcher(t)
	seed(t, f, nil)
	partial, victim := f.final(hashText(string(content)))+".partial", filepath.Join(t.TempDir(), "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("mine"), 0o600), os.Remove(partial), os.Symlink(victim, partial)); err != nil {
		t.Fatal(err)
	}
	got, err := f.Fetch(t.Context(), linux(place("upstream", s.URL, content)), nil)
	wantFetched(t, f, got, err, "upstream")
	if data, err := os.ReadFile(victim); string(data) != "mine" {
		t.Errorf("the file has %d bytes, %v", len(data), err)
	}
}

func TestAlwaysDropped(t *testing.T) {
	bad := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) bool { drop(w); return true })
	good, f := serve(t, nil), fetcher(t)
	got, err := f.Fetch(t.Context(), linux(place("upstream", bad.URL, content), place("debian", good.URL, content)), nil)
	wantFetched(t, f, got, err, "debian")
	if asked := bad.asked(); len(asked) != resumptions+1 {
		t.Errorf("asked %d times, want %d", len(asked), resumptions+1)
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
			f.Pace.Stall, f.Pace.Answer = 50*time.Millisecond, 50*time.Millisecond
			got, err := f.Fetch(t.Context(), linux(place("upstream", bad.URL, content), place("debian", good.URL, content)), n.stage())
			wantFetched(t, f, got, err, "debian")
			n.want(t, map[bool]string{true: "the transfer stalled", false: "no answer for"}[before > 0])
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
	f.Pace.Stall = 300 * time.Millisecond
	got, err := f.Fetch(t.Context(), linux(place("upstream", s.URL, content)), nil)
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
	got, err := f.Fetch(t.Context(), linux(upstream), n.stage())
	wantFetched(t, f, got, err, "upstream")
	n.want(t, "broke off")
}

func TestCancel(t *testing.T) {
	over := make(chan struct{})
	f, n := fetcher(t), &notes{}
	hash := hashText(string(content))
	partial := f.final(hash) + ".partial"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n > 0 {
			return false
		}
		w.Header().Set("ETag", etag)
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:1000])
		w.(http.Flusher).Flush()
		for info, err := os.Stat(partial); err != nil || info.Size() < 1000; info, err = os.Stat(partial) {
			time.Sleep(time.Millisecond)
		}
		cancel()
		<-over
		return true
	})
	defer close(over)
	source := linux(place("upstream", s.URL, content), place("debian", s.URL, []byte("x")))
	_, err := f.Fetch(ctx, source, n.stage())
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want %v", err, context.Canceled)
	}
	n.want(t)
	wantFiles(t, f, hash+".partial")
	got, err := f.Fetch(t.Context(), source, nil)
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
	upstream := place("upstream", s.URL, content)
	upstream.Size = 1 << 60
	_, err := f.Fetch(t.Context(), linux(upstream, place("debian", s.URL, content)), nil)
	wantError(t, err, `place "upstream"`, "free", "1.0 EiB", "--cache-dir")
	wantFiles(t, f)
	if strings.Contains(err.Error(), "no place") {
		t.Errorf("a full disk led to the next place: %v", err)
	}
}
