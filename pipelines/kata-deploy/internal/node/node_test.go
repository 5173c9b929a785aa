package node

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// A node that cannot be read is not just late: the error says why.
func TestWaitReady(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "nodes are not for you"}`))
	}))
	defer server.Close()
	client, err := New(&rest.Config{Host: server.URL}, "one", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	err = client.WaitReady(t.Context(), pause+pause/2)
	for _, want := range []string{"waiting for the node one: it is not ready after", "reading the node one: nodes are not for you"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
