package store

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// guarded is a registry that only one user has access to.
func guarded(t *testing.T) string {
	t.Helper()
	behind, err := url.Parse("http://" + registrytest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != registrytest.User || password != registrytest.Password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestCredentials(t *testing.T) { credentialsWork(t, guarded(t)) }

func credentialsWork(t *testing.T, host string) {
	p := sample(t, "qemu", "x86_64", 1)
	s, _ := open(t)
	put(t, s, p)
	helper := "#!/bin/sh\ncat >/dev/null\necho '{\"Username\":\"" + registrytest.User + "\",\"Secret\":\"" + registrytest.Password + "\"}'\n"
	for _, test := range []struct {
		name           string
		config, helper string
		user, password string
		works          bool
		notes          []string
	}{
		{name: "given", user: registrytest.User, password: registrytest.Password, works: true},
		{name: "given and wrong", user: registrytest.User, password: "hunter2"},
		{name: "docker config", config: `{"auths":{"HOST":{"auth":"a2F0YTpjb250YWluZXJz"}}}`, works: true},
		{name: "helper", config: `{"credHelpers":{"HOST":"storetest"}}`, helper: helper, works: true},
		{name: "helper fails", config: `{"credHelpers":{"HOST":"storetest"}}`, helper: "#!/bin/sh\nexit 3\n", notes: []string{"cannot read the credentials for HOST from the docker config"}},
		{name: "no helper", config: `{"credsStore":"storetest-none"}`, notes: []string{"cannot read the credentials for HOST from the docker config"}},
		{name: "broken config", config: `{`, notes: []string{"cannot read the docker config"}},
		{name: "no config"},
	} {
		t.Run(test.name, func(t *testing.T) {
			folder := t.TempDir()
			t.Setenv("DOCKER_CONFIG", folder)
			t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
			for name, text := range map[string]string{"config.json": test.config, "docker-credential-storetest": test.helper} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(folder, name), []byte(strings.ReplaceAll(text, "HOST", host)), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			n := newNotes()
			r, err := OpenRegistry(host+"/kata/cache", oci.Options{Username: test.user, Password: test.password, Report: n.report, Pace: quick})
			if err != nil {
				t.Fatal(err)
			}
			err = r.Push(t.Context(), p.Ref, s, nil)
			got, lookupErr := r.Lookup(t.Context(), p.Ref)
			if test.works {
				if err != nil || lookupErr != nil || got.Key != p.Key {
					t.Errorf("Push: %v; Lookup: %v", err, lookupErr)
				}
				n.want(t)
				return
			}
			if err == nil || !strings.Contains(err.Error(), "401 Unauthorized: ") || !strings.Contains(err.Error(), "docker login "+host) {
				t.Errorf("Push: %v, want what to do", err)
			}
			if !IsNotFound(lookupErr) {
				t.Errorf("Lookup: %v, want a miss", lookupErr)
			}
			var want []string
			for _, text := range append(test.notes, "denied access (401 Unauthorized") {
				want = append(want, strings.ReplaceAll(text, "HOST", host))
			}
			n.want(t, want...)
			for _, text := range append(n.texts(), err.Error()) {
				if strings.Contains(text, registrytest.Password) || strings.Contains(text, "hunter2") || strings.Contains(text, "a2F0YTpjb250YWluZXJz") {
					t.Errorf("noted: %s", text)
				}
			}
		})
	}
}
