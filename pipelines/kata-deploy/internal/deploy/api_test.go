package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// api is as much of a Kubernetes API as the program uses.
type api struct {
	mu sync.Mutex
	// labels are the node's, daemonSets exist, classes and events were made, and removed are
	// the classes that no longer exist.
	labels     map[string]string
	runtime    string
	notReady   bool
	daemonSets []string
	classes    map[string]any
	removed    []string
	events     []string
	// fail are answers to give first, 0 for none at all, to requests of a method and path.
	fail map[string][]int
}

// daemons replaces the DaemonSets that exist.
func (a *api) daemons(names ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.daemonSets = names
}

// ServeHTTP answers the requests of the program.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if codes := a.fail[r.Method+" "+r.URL.Path]; len(codes) > 0 {
		a.fail[r.Method+" "+r.URL.Path] = codes[1:]
		if codes[0] == 0 {
			panic(http.ErrAbortHandler)
		}
		status(w, codes[0])
		return
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/api/v1/nodes/"):
		a.node(w, r)
	case strings.HasSuffix(r.URL.Path, "/events") && !strings.Contains(r.URL.Path, "/namespaces/default/"):
		status(w, http.StatusUnprocessableEntity) // Nodes have no namespace.
	case strings.HasSuffix(r.URL.Path, "/events"):
		var event struct{ Reason string }
		_ = json.NewDecoder(r.Body).Decode(&event)
		a.events = append(a.events, event.Reason)
		answer(w, map[string]any{"kind": "Event", "apiVersion": "v1"})
	case r.URL.Path == "/apis/apps/v1/daemonsets":
		var items []any
		for _, name := range a.daemonSets {
			items = append(items, map[string]any{"metadata": map[string]any{"name": name}})
		}
		answer(w, map[string]any{"kind": "DaemonSetList", "apiVersion": "apps/v1", "items": items})
	case strings.Contains(r.URL.Path, "/daemonsets/"):
		if name := filepath.Base(r.URL.Path); slices.Contains(a.daemonSets, name) {
			answer(w, map[string]any{"kind": "DaemonSet", "apiVersion": "apps/v1", "metadata": map[string]any{"name": name}})
			return
		}
		status(w, http.StatusNotFound)
	case strings.HasSuffix(r.URL.Path, "/runtimeclasses"):
		items := []any{class("chart", "helm")}
		for _, name := range slices.Sorted(maps.Keys(a.classes)) {
			items = append(items, class(name, "kata-deploy"))
		}
		answer(w, map[string]any{"kind": "RuntimeClassList", "apiVersion": "node.k8s.io/v1", "items": items})
	case r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/runtimeclasses/"):
		delete(a.classes, filepath.Base(r.URL.Path))
		a.removed = append(a.removed, filepath.Base(r.URL.Path))
		answer(w, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Success"})
	case strings.Contains(r.URL.Path, "/runtimeclasses/"):
		var class any
		_ = json.NewDecoder(r.Body).Decode(&class)
		a.classes[filepath.Base(r.URL.Path)] = class
		answer(w, class)
	default:
		status(w, http.StatusNotFound)
	}
}

func (a *api) node(w http.ResponseWriter, r *http.Request) {
	if filepath.Base(r.URL.Path) != "one" {
		status(w, http.StatusNotFound)
		return
	}
	if r.Method == http.MethodPatch {
		var patch struct {
			Metadata struct{ Labels map[string]*string }
		}
		_ = json.NewDecoder(r.Body).Decode(&patch)
		for name, value := range patch.Metadata.Labels {
			delete(a.labels, name)
			if value != nil {
				a.labels[name] = *value
			}
		}
	}
	ready := "True"
	if a.notReady {
		ready = "False"
	}
	answer(w, map[string]any{
		"kind": "Node", "apiVersion": "v1", "metadata": map[string]any{"name": "one", "labels": a.labels},
		"status": map[string]any{"nodeInfo": map[string]any{"containerRuntimeVersion": a.runtime}, "conditions": []any{map[string]any{"type": "Ready", "status": ready}}},
	})
}

// class is a RuntimeClass that a field manager applied.
func class(name, manager string) map[string]any {
	return map[string]any{"kind": "RuntimeClass", "apiVersion": "node.k8s.io/v1", "metadata": map[string]any{
		"name": name, "managedFields": []any{map[string]any{"manager": manager, "operation": "Apply"}},
	}}
}

func answer(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object)
}

func status(w http.ResponseWriter, code int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	reasons := map[int]string{404: "NotFound", 409: "Conflict", 429: "TooManyRequests", 500: "InternalError", 403: "Forbidden"}
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"message":"answer %d","code":%d}`, reasons[code], code, code)
}
