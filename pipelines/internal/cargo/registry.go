package cargo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// maxIndex limits a file of an index, in bytes: those of the crates with the most versions
// have a few MiB.
const maxIndex = 32 << 20

// Registry is a registry with a sparse index.
type Registry struct {
	endpoint
	client *http.Client
	// download is the address of a crate, with markers.
	download string
	// authorize sends the token with every request, as the registry wants.
	authorize bool
}

// Open returns the registry that has the crates of a source in a Cargo.lock. The client
// carries the requests.
func (c Config) Open(ctx context.Context, source string, client *http.Client) (*Registry, error) {
	found, err := c.endpoint(source)
	if err != nil {
		return nil, err
	}
	r := &Registry{endpoint: found, client: client}
	data, err := r.get(ctx, "config.json")
	if unauthorized(err) && r.token != "" {
		r.authorize = true
		data, err = r.get(ctx, "config.json")
	}
	if err != nil {
		return nil, err
	}
	var config struct {
		DL string `json:"dl"`
	}
	if err := json.Unmarshal(data, &config); err != nil || config.DL == "" {
		return nil, fmt.Errorf("%sconfig.json is not the configuration of a registry", web.Shown(r.index))
	}
	if !strings.Contains(config.DL, "{") {
		config.DL = strings.TrimSuffix(config.DL, "/") + "/{crate}/{version}/download"
	}
	r.download = config.DL
	return r, nil
}

// URL returns the address of the file of a crate.
func (r *Registry) URL(crate Crate) string {
	lower := strings.ToLower(crate.Name)
	return strings.NewReplacer(
		"{crate}", crate.Name, "{version}", url.PathEscape(crate.Version), "{sha256-checksum}", crate.SHA256,
		"{prefix}", prefix(crate.Name), "{lowerprefix}", prefix(lower),
	).Replace(r.download)
}

// prefix is the folder of a crate in an index.
func prefix(name string) string {
	switch len(name) {
	case 1, 2:
		return fmt.Sprint(len(name))
	case 3:
		return "3/" + name[:1]
	}
	return name[:2] + "/" + name[2:4]
}

// Version is a version of a crate in an index.
type Version struct {
	Version string `json:"vers"`
	SHA256  string `json:"cksum"`
	Yanked  bool   `json:"yanked"`
}

// Versions returns the versions of a crate in the order of their publication.
func (r *Registry) Versions(ctx context.Context, name string) ([]Version, error) {
	lower := strings.ToLower(name)
	data, err := r.get(ctx, prefix(lower)+"/"+lower)
	if err != nil {
		return nil, err
	}
	var versions []Version
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxIndex)
	for lines.Scan() {
		var v Version
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return nil, fmt.Errorf("reading the index entry of %s: %w", name, err)
		}
		versions = append(versions, v)
	}
	return versions, lines.Err()
}

// Do sends a request, with the token if the registry wants one. It makes a Registry the
// client of downloads.
func (r *Registry) Do(request *http.Request) (*http.Response, error) {
	if r.authorize {
		request.Header.Set("Authorization", r.token)
	}
	return r.client.Do(request)
}

func (r *Registry) get(ctx context.Context, name string) ([]byte, error) {
	data, err := web.Content(ctx, r, r.index+name, maxIndex)
	if unauthorized(err) {
		err = fmt.Errorf("%w: log in with `cargo login`, or set CARGO_REGISTRIES_<NAME>_TOKEN", err)
	}
	return data, err
}

func unauthorized(err error) bool { return web.Refusal(err) == http.StatusUnauthorized }
