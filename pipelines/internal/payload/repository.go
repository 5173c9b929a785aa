package payload

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// RemoteOptions say how to speak to registries.
type RemoteOptions struct {
	// Credentials gives a user name and a password for a registry, HOST[:PORT]. Where
	// it gives none, or is nil, those of the docker config and its helpers are used.
	Credentials func(registry string) (username, password string)
	// Note gets remarks, from one goroutine at a time; nil drops them.
	Note func(string)
	// Bytes is called when a layer begins to be pushed: progress then gets its
	// bytes, end its outcome. It may be nil.
	Bytes func(layer string) (progress func(done, total int64), end func(err error, detail string))
	// Parallel is how many layers are pushed at once; 0 is 3.
	Parallel int
	// MountFrom are further repositories of the same registry that may have layers:
	// they are taken from there, in place of being sent.
	MountFrom []string
	// Transport carries the requests; nil means one of this package.
	Transport http.RoundTripper

	pace pace
}

// noting keeps notes from being made at the same time.
var noting sync.Mutex

func (o RemoteOptions) say(text string) {
	if o.Note != nil {
		noting.Lock()
		defer noting.Unlock()
		o.Note(text)
	}
}

// Repository is one that images are pushed to. It is safe for concurrent use.
type Repository struct {
	options    RemoteOptions
	repository name.Repository
	pace       pace

	// mountFrom are paths of repositories of the same registry.
	mountFrom []string

	mu      sync.Mutex
	clients map[string]*http.Client
}

// OpenRepository returns a repository, [HOST[:PORT]/]PATH; it connects to nothing.
func OpenRepository(ref string, o RemoteOptions) (*Repository, error) {
	repository, err := name.NewRepository(ref)
	if err != nil || strings.Contains(ref, "//") {
		return nil, fmt.Errorf("repository %q: want HOST[:PORT]/PATH, without a tag and without https://", ref)
	}
	r := &Repository{options: o, repository: repository, pace: pushPace, clients: map[string]*http.Client{}}
	for _, other := range o.MountFrom {
		from, err := name.NewRepository(other)
		if err != nil || from.RegistryStr() != repository.RegistryStr() {
			return nil, fmt.Errorf("repository %q to take layers from: want one of %s: a registry takes none from elsewhere", other, repository.RegistryStr())
		}
		r.mountFrom = append(r.mountFrom, from.RepositoryStr())
	}
	if o.pace.tries > 0 {
		r.pace = o.pace
	}
	return r, nil
}

// String returns HOST[:PORT]/PATH.
func (r *Repository) String() string { return r.repository.Name() }

// login returns a client that may push, and pull from repositories that layers are
// taken from.
func (r *Repository) login(ctx context.Context, from []string) (*http.Client, error) {
	scopes := []string{r.repository.Scope(transport.PushScope)}
	for _, other := range from {
		scopes = append(scopes, r.repository.Repo(other).Scope(transport.PullScope))
	}
	return r.connected(ctx, r.pace, scopes...)
}

// connected returns a client for scopes. It logs in once for each list of them.
func (r *Repository) connected(ctx context.Context, pace pace, scopes ...string) (*http.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := strings.Join(scopes, " ")
	if client := r.clients[key]; client != nil {
		return client, nil
	}
	client, err := r.options.connect(ctx, r.repository, pace, scopes...)
	if err != nil {
		return nil, r.failed("logging in", err)
	}
	r.clients[key] = client
	return client, nil
}

// connect logs in to a registry.
func (o RemoteOptions) connect(ctx context.Context, repository name.Repository, pace pace, scopes ...string) (*http.Client, error) {
	carrier := o.Transport
	if carrier == nil {
		carrier = newTransport(pace)
	}
	carrier = retrying{base: secure{carrier}, pace: pace, note: o.say}
	logged, err := transport.NewWithContext(ctx, repository.Registry, o.authenticator(ctx, repository), transport.NewUserAgent(carrier, "kata-pipelines"), scopes)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return &http.Client{Transport: logged}, nil
}

func (o RemoteOptions) authenticator(ctx context.Context, repository name.Repository) authn.Authenticator {
	if o.Credentials != nil {
		if username, password := o.Credentials(repository.RegistryStr()); username != "" {
			return &authn.Basic{Username: username, Password: password}
		}
	}
	who, err := authn.Resolve(ctx, authn.DefaultKeychain, repository)
	if err != nil {
		// As without a docker config: what anybody may read needs none.
		o.say(fmt.Sprintf("the docker config gives no credentials for %s (%v): going on without", repository.RegistryStr(), err))
		return authn.Anonymous
	}
	return who
}

// newTransport has no limit for a whole request: a layer takes as long as it takes,
// and a registry may need long to take one in.
func newTransport(pace pace) http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 5 * pace.stall,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
		WriteBufferSize:       64 << 10,
	}
}

// errPlain is what a registry of another machine would have been asked without TLS.
var errPlain = errors.New("it is not spoken to without TLS: passwords would be read on the way")

// secure is a transport that speaks without TLS to this machine alone.
type secure struct{ base http.RoundTripper }

// RoundTrip performs one request.
func (s secure) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "https" && !loopback(request.URL.Hostname()) {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, fmt.Errorf("%s: %w", request.URL.Host, errPlain)
	}
	return s.base.RoundTrip(request)
}

func loopback(host string) bool {
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
