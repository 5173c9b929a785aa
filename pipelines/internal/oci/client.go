package oci

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// Options configure a Client.
type Options struct {
	// Username and Password are for the host Registry. Other hosts, and this one
	// where both are empty, get those of the docker config and its helpers.
	Registry, Username, Password string
	// Report gets warnings and the progress of transfers. It may be nil.
	Report *progress.Reporter
	// Transport carries the requests; nil means one of package web.
	Transport http.RoundTripper
	// Pace is how patient the client is; the zero value is the default.
	Pace web.Pace
}

// Client talks to registries. It is safe for concurrent use.
type Client struct {
	options    Options
	credential auth.CredentialFunc

	notes reported
	mu    sync.Mutex
	// hosts are the registries used so far, by name.
	hosts map[string]*host
}

type host struct {
	*auth.Client
	name string

	mu sync.Mutex
	// plain is true if it does not speak TLS, known if that has been tested.
	plain, known bool
}

// NewClient returns a client. It opens no connection.
func NewClient(o Options) *Client {
	o.Pace.Tries = cmp.Or(o.Pace.Tries, 6)
	c := &Client{options: o, hosts: map[string]*host{}}
	c.credential = c.credentials()
	return c
}

// Repository returns the repository HOST[:PORT]/PATH.
func (c *Client) Repository(ref string) (*Repository, error) {
	parsed, err := registry.ParseReference(ref)
	if err != nil || parsed.Reference != "" {
		return nil, fmt.Errorf("repository %q: want HOST[:PORT]/PATH, in lower case, without https:// and without a tag", withoutUser(ref))
	}
	return &Repository{client: c, host: c.host(parsed.Host()), ref: parsed}, nil
}

// host returns the client of a registry. Credentials do not leave the registry's site.
func (c *Client) host(name string) *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hosts[name] == nil {
		transport := web.NewClient(web.Options{
			Report: c.options.Report, Subject: "registry", Host: name, Small: MaxDocument, Pace: c.options.Pace, Base: c.options.Transport,
		})
		// Oras-go handles redirects itself, and keeps credentials to their origin.
		transport.CheckRedirect = nil
		c.hosts[name] = &host{name: name, Client: &auth.Client{Client: transport, Cache: auth.NewCache(), Credential: c.credential}}
		c.hosts[name].SetUserAgent(web.UserAgent)
	}
	return c.hosts[name]
}

// withoutUser removes a possible user name and password.
func withoutUser(ref string) string {
	if at := strings.LastIndexByte(ref, '@'); at >= 0 {
		return "..." + ref[at:]
	}
	return ref
}

// Note reports a warning the first time.
func (c *Client) Note(text string) { c.notes.note(c.options.Report, "registry", text) }

// reported holds the warnings reported so far, so that each is reported once.
type reported struct{ texts sync.Map }

func (r *reported) note(report *progress.Reporter, subject, text string) {
	if _, before := r.texts.LoadOrStore(text, true); !before {
		report.Note(subject, text)
	}
}

// hub is the name of Docker's registry in references of go-containerregistry; its
// credentials are stored under hubHost.
const hub, hubHost = "index.docker.io", "registry-1.docker.io"

// credentials returns the function that looks up credentials. It opens the docker
// config and its helpers when a registry first requires credentials. A failure there
// is a warning, and the registry is used anonymously.
func (c *Client) credentials() auth.CredentialFunc {
	open := sync.OnceValues(func() (credentials.Store, error) {
		return credentials.NewStoreFromDocker(credentials.StoreOptions{})
	})
	own := auth.StaticCredential(c.options.Registry, auth.Credential{Username: c.options.Username, Password: c.options.Password})
	return func(ctx context.Context, host string) (auth.Credential, error) {
		if given, _ := own(ctx, host); given != auth.EmptyCredential {
			return given, nil
		}
		if host == hub {
			host = hubHost
		}
		docker, err := open()
		if err != nil {
			c.Note(fmt.Sprintf("cannot read the docker config (%v): continuing without credentials for %s", err, host))
			return auth.EmptyCredential, nil
		}
		found, err := credentials.Credential(docker)(ctx, host)
		if err != nil && ctx.Err() == nil {
			c.Note(fmt.Sprintf("cannot read the credentials for %s from the docker config (%v): continuing without", host, err))
			return auth.EmptyCredential, nil
		}
		return found, err
	}
}

// speaksPlain reports whether to use the registry without TLS: only one on this
// machine, and only if it does not speak TLS, which is tested once.
func (h *host) speaksPlain(ctx context.Context) bool {
	if !web.Loopback(h.name) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known {
		return h.plain
	}
	address := h.name
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), "443")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	// The certificate does not matter: nothing is sent over this connection.
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // #nosec G402
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err == nil {
		_ = connection.Close()
	}
	// If the registry is down, plain HTTP shows the error, and the next call tests again.
	var other tls.RecordHeaderError
	h.plain, h.known = err != nil, err == nil || errors.As(err, &other)
	return h.plain
}
