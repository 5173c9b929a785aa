package githubtest

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	api "github.com/google/go-github/v82/github"
	digest "github.com/opencontainers/go-digest"
)

// Release is a release of a Server.
type Release struct {
	ID         int64     `json:"id"`
	Tag        string    `json:"tag_name"`
	Target     string    `json:"target_commitish"`
	Name       string    `json:"name"`
	Body       string    `json:"body"`
	Draft      bool      `json:"draft"`
	Prerelease bool      `json:"prerelease"`
	HTMLURL    string    `json:"html_url"`
	UploadURL  string    `json:"upload_url"`
	Created    time.Time `json:"-"`
	Latest     bool      `json:"-"`
	Published  time.Time `json:"-"`
	Assets     []*Asset  `json:"-"`
}

// Asset is a file of a release. An upload that broke off leaves one in state "starter".
type Asset struct {
	ID      int64  `json:"id"`
	Name    string `json:"name"`
	State   string `json:"state"`
	Type    string `json:"content_type"`
	Size    int64  `json:"size"`
	Digest  string `json:"digest,omitempty"`
	Content []byte `json:"-"`
}

// Asset returns the asset of a name, or nil.
func (r *Release) Asset(name string) *Asset {
	if i := slices.IndexFunc(r.Assets, func(asset *Asset) bool { return asset.Name == name }); i >= 0 {
		return r.Assets[i]
	}
	return nil
}

// Release returns a copy of the first release of a tag, with its assets, or nil.
func (s *Server) Release(tag string) (copied *Release) {
	s.Do(func() {
		i := slices.IndexFunc(s.Releases, func(r *Release) bool { return r.Tag == tag })
		if i < 0 {
			return
		}
		copied = new(*s.Releases[i])
		copied.Assets = nil
		for _, asset := range s.Releases[i].Assets {
			copied.Assets = append(copied.Assets, new(*asset))
		}
	})
	return copied
}

// AddRelease adds a release to the server, and gives it an id.
func (s *Server) AddRelease(release Release) *Release {
	s.Do(func() { s.add(&release) })
	return &release
}

func (s *Server) add(release *Release) {
	s.lastID++
	release.ID = s.lastID
	s.Releases = append(s.Releases, release)
}

// Add adds an asset to a release of the server, whole.
func (s *Server) Add(release *Release, name string, content []byte) (asset *Asset) {
	s.Do(func() {
		asset = s.addAsset(release, name, "application/octet-stream")
		asset.finish(content)
	})
	return asset
}

func (s *Server) addAsset(release *Release, name, contentType string) *Asset {
	s.lastID++
	asset := &Asset{ID: s.lastID, Name: name, State: "starter", Type: contentType}
	release.Assets = append(slices.Clone(release.Assets), asset)
	return asset
}

func (a *Asset) finish(content []byte) {
	a.State, a.Content, a.Size, a.Digest = "uploaded", bytes.Clone(content), int64(len(content)), digest.FromBytes(content).String()
}

func (s *Server) commit(reference string) (int, any) {
	sha := s.Tags[strings.TrimPrefix(reference, "tags/")]
	if slices.Contains(s.Commits, reference) {
		sha = reference
	}
	if sha == "" {
		return http.StatusUnprocessableEntity, api.ErrorResponse{Message: "No commit found for SHA: " + reference}
	}
	return http.StatusOK, map[string]string{"sha": sha}
}

// show returns a release as an answer has it.
func (s *Server) show(r Release) Release {
	page := "tag/" + r.Tag
	if r.Draft {
		page = fmt.Sprintf("tag/untagged-%d", r.ID)
	}
	r.HTMLURL = fmt.Sprintf("%s/%s/releases/%s", s.server.URL, s.Repository, page)
	r.UploadURL = fmt.Sprintf("%s/repos/%s/releases/%d/assets{?name,label}", s.server.URL, s.Repository, r.ID)
	return r
}

// list lists the releases, the latest first; drafts for those who may write.
func (s *Server) list(q question) (int, any) {
	seen := slices.DeleteFunc(slices.Clone(s.Releases), func(release *Release) bool { return release.Draft && !q.writes })
	slices.SortStableFunc(seen, func(a, b *Release) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID)) })
	shown := []Release{}
	for _, release := range page(s, q, seen) {
		shown = append(shown, s.show(*release))
	}
	return http.StatusOK, shown
}

// page returns a page of a list, never nil, and links to the next one.
func page[T any](s *Server, q question, all []T) []T {
	size, _ := strconv.Atoi(q.URL.Query().Get("per_page"))
	number, _ := strconv.Atoi(q.URL.Query().Get("page"))
	size = min(size, s.PageSize)
	begin, end := min((number-1)*size, len(all)), min(number*size, len(all))
	if end < len(all) {
		q.head.Set("Link", fmt.Sprintf(`<%s%s?per_page=%d&page=%d>; rel="next"`, s.server.URL, q.URL.Path, size, number+1))
	}
	return append([]T{}, all[begin:end]...)
}

// find returns the release of the request, an empty one if there is none.
func (s *Server) find(q question) *Release {
	for _, release := range s.Releases {
		if release.ID == q.id {
			return release
		}
	}
	return &Release{}
}

func (s *Server) create(q question) (int, any) {
	release := &Release{Target: "main", Created: time.Now()}
	status, value := s.edit(q, release)
	if status == http.StatusOK {
		s.add(release)
		status, value = http.StatusCreated, s.show(*release)
	}
	return status, value
}

// change changes or deletes a release.
func (s *Server) change(q question) (int, any) {
	if q.Method == http.MethodDelete {
		s.Releases = slices.DeleteFunc(s.Releases, func(other *Release) bool { return other.ID == q.id })
		return http.StatusNoContent, nil
	}
	return s.edit(q, s.find(q))
}

func (s *Server) edit(q question, release *Release) (int, any) {
	changed := *release
	edit := struct {
		*Release
		Latest string `json:"make_latest"`
	}{Release: &changed}
	q.into(&edit)
	if changed.Draft || !changed.Published.IsZero() {
		*release = changed
		return http.StatusOK, s.show(changed)
	}
	_, tagged := s.Tags[changed.Tag]
	switch {
	case slices.ContainsFunc(s.Releases, func(other *Release) bool {
		return !other.Draft && other.ID != release.ID && other.Tag == changed.Tag
	}):
		return invalid("Release", "tag_name", "already_exists")
	case !tagged && changed.Target != "main" && !slices.Contains(s.Commits, changed.Target):
		return invalid("Release", "target_commitish", "invalid")
	case !tagged:
		s.Tags[changed.Tag] = changed.Target
	}
	if changed.Latest = edit.Latest != "false" && !changed.Prerelease; changed.Latest {
		for _, other := range s.Releases {
			other.Latest = false
		}
	}
	changed.Published = time.Now()
	*release = changed
	return http.StatusOK, s.show(changed)
}

// owner returns the release that has an asset, and its place there, -1 for none.
func (s *Server) owner(id int64) (*Release, int) {
	for _, release := range s.Releases {
		if i := slices.IndexFunc(release.Assets, func(a *Asset) bool { return a.ID == id }); i >= 0 {
			return release, i
		}
	}
	return nil, -1
}

// asset serves, renames or deletes an asset. Its content is at a signed address on
// another host than the API, which must not get the token.
func (s *Server) asset(q question) (int, any) {
	release, i := s.owner(q.id)
	switch {
	case i < 0:
		return http.StatusNotFound, notFound
	case q.Method == http.MethodDelete:
		release.Assets = slices.Delete(slices.Clone(release.Assets), i, i+1)
		return http.StatusNoContent, nil
	case q.Method == http.MethodPatch:
		return rename(q, release, release.Assets[i])
	}
	q.head.Set("Location", fmt.Sprintf("%s/storage/%d?signature=secret", strings.Replace(s.server.URL, "127.0.0.1", "localhost", 1), q.id))
	return http.StatusFound, nil
}

// rename gives an asset a name that no other of the release may have.
func rename(q question, release *Release, asset *Asset) (int, any) {
	var edit struct{ Name string }
	q.into(&edit)
	if there := release.Asset(edit.Name); there != nil && there != asset {
		return invalid("ReleaseAsset", "name", "already_exists")
	}
	asset.Name = edit.Name
	return http.StatusOK, asset
}

func (s *Server) storage(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.ParseInt(strings.TrimPrefix(r.URL.Path, "/storage/"), 10, 64)
	release, i := s.owner(id)
	if i < 0 || r.URL.Query().Get("signature") != "secret" || r.Header.Get("Authorization") != "" {
		http.Error(w, "Only one auth mechanism allowed", http.StatusBadRequest)
		return
	}
	_, _ = w.Write(release.Assets[i].Content) // A client that went away has no use for the error.
}

// upload receives an asset. One that breaks off stays a starter.
func (s *Server) upload(q question) (int, any) {
	asset, status, refusal := s.begin(q)
	if asset == nil {
		return status, refusal
	}
	s.mu.Unlock() // Others are served while the body comes.
	content, err := io.ReadAll(q.Body)
	s.mu.Lock()
	if err != nil || int64(len(content)) != q.ContentLength {
		panic(http.ErrAbortHandler) // The client has gone.
	}
	asset.finish(content)
	return http.StatusCreated, asset
}

// begin makes the asset that an upload fills, or returns why not.
func (s *Server) begin(q question) (begun *Asset, status int, refusal any) {
	release, name := s.find(q), q.URL.Query().Get("name")
	if q.ContentLength <= 0 {
		return nil, http.StatusBadRequest, api.ErrorResponse{Message: "Bad Content-Length"}
	}
	if release.Asset(name) != nil {
		status, refusal = invalid("ReleaseAsset", "name", "already_exists")
		return nil, status, refusal
	}
	return s.addAsset(release, name, q.Header.Get("Content-Type")), 0, nil
}
