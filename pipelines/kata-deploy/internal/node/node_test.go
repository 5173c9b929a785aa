package node

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// A node that cannot be read is not just late: the error says why, also when the limit ends
// a request that is being repeated.
func TestWaitReady(t *testing.T) {
	for reason, code := range map[string]int{"Forbidden": http.StatusForbidden, "InternalError": http.StatusInternalServerError} {
		t.Run(reason, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(code)
				fmt.Fprintf(w, `{"kind": "Status", "status": "Failure", "reason": %q, "code": %d, "message": "nodes are not for you"}`, reason, code)
			}))
			defer server.Close()
			client, err := New(&rest.Config{Host: server.URL}, "one", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			err = client.WaitReady(t.Context(), pause+pause/2)
			for _, want := range []string{"waiting for the node one: it is not ready after", "nodes are not for you"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}
