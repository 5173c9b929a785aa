package source

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestLockForNobody has a fetch end before it takes a lock, so that no process holds the lock.
func TestLockForNobody(t *testing.T) {
	f := fetcher(t)
	p := place("upstream", nobody, content)
	fetching := &task{Fetcher: f, source: linux(p)}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fetching.lock(ended, p); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	unlock, err := fetching.lock(soon, p)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
