package githubtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
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
	Immutable  bool      `json:"immutable"`
	Created    time.Time `json:"created_at"`
	Latest     bool      `json:"-"`
	Published  time.Time `json:"-"`
	Assets     []*Asset  `json:"-"`
}

// Release returns a copy of the first release of a tag, with its assets, or nil.
func (s *Server) Release(tag string) *Release {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.Releases, func(r *Release) bool { return r.Tag == tag })
	if i < 0 {
		return nil
	}
	copied := *s.Releases[i]
	copied.Assets = nil
	for _, asset := range s.Releases[i].Assets {
		copied.Assets = append(copied.Assets, new(*asset))
	}
	return &copied
}

// AddRelease adds a release to the server, and gives it an id.
func (s *Server) AddRelease(release Release) *Release {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	release.ID = s.lastID
	s.Releases = append(s.Releases, &release)
	return &release
}

// show returns a release as an answer has it: with its addresses, and the assets
// that are whole.
func (s *Server) show(r *Release) any {
	page := "tag/" + r.Tag
	if r.Draft {
		page = fmt.Sprintf("tag/untagged-%d", r.ID)
	}
	assets := []shownAsset{}
	for _, asset := range r.Assets {
		if asset.State == uploaded {
			assets = append(assets, s.showAsset(asset))
		}
	}
	return struct {
		*Release
		HTMLURL   string       `json:"html_url"`
		UploadURL string       `json:"upload_url"`
		Assets    []shownAsset `json:"assets"`
	}{
		r, fmt.Sprintf("%s/%s/releases/%s", s.server.URL, s.Repository, page),
		fmt.Sprintf("%s/repos/%s/releases/%d/assets{?name,label}", s.server.URL, s.Repository, r.ID), assets,
	}
}

// list lists the releases, the latest first; drafts for those who may write.
func (s *Server) list(q question) (int, any) {
	seen := slices.DeleteFunc(slices.Clone(s.Releases), func(release *Release) bool { return release.Draft && q.access != writes })
	slices.SortStableFunc(seen, func(a, b *Release) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID)) })
	shown := []any{}
	for _, release := range page(s, q, seen) {
		shown = append(shown, s.show(release))
	}
	return http.StatusOK, shown
}

// page returns a page of a list, and says where the next one is.
func page[T any](s *Server, q question, all []T) []T {
	size := min(queried(q.Request, "per_page", 30), s.PageSize)
	number := queried(q.Request, "page", 1)
	begin, end := min((number-1)*size, len(all)), min(number*size, len(all))
	if end < len(all) {
		at := fmt.Sprintf("%s%s?per_page=%d&page=", s.server.URL, q.URL.Path, size)
		q.head.Set("Link", fmt.Sprintf(`<%s1>; rel="first", <%s%d>; rel="next"`, at, at, number+1))
	}
	return all[begin:end]
}

func queried(r *http.Request, name string, otherwise int) int {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil || n < 1 {
		return otherwise
	}
	return n
}

func (s *Server) create(q question) (int, any) {
	s.lastID++
	release := &Release{ID: s.lastID, Target: "main", Created: time.Now()}
	status, value := s.change(q, release)
	if status == http.StatusOK {
		s.Releases, status = append(s.Releases, release), http.StatusCreated
	}
	return status, value
}

// release answers, changes or deletes one.
func (s *Server) release(q question) (int, any) {
	release := s.find(q.id(1), q.access)
	switch {
	case release == nil:
		return http.StatusNotFound, notFound
	case q.Method == http.MethodDelete:
		s.Releases = slices.DeleteFunc(s.Releases, func(other *Release) bool { return other == release })
		return http.StatusNoContent, nil
	case q.Method == http.MethodPatch:
		return s.change(q, release)
	}
	return http.StatusOK, s.show(release)
}

// change makes a change to a release.
func (s *Server) change(q question, release *Release) (int, any) {
	changed := *release
	edit := struct {
		*Release
		Latest string `json:"make_latest"`
	}{Release: &changed}
	if err := json.NewDecoder(q.Body).Decode(&edit); err != nil {
		return http.StatusBadRequest, problem{Message: "Problems parsing JSON"}
	}
	publish := !changed.Draft && changed.Published.IsZero()
	_, tagged := s.Tags[changed.Tag]
	switch {
	case changed.Tag == "":
		return invalid(field{"Release", "tag_name", "missing_field", ""})
	case utf8.RuneCountInString(changed.Body) > 125_000:
		return invalid(field{"Release", "body", "custom", "body is too long (maximum is 125000 characters)"})
	case publish && slices.ContainsFunc(s.Releases, func(other *Release) bool {
		return !other.Draft && other.ID != release.ID && other.Tag == changed.Tag
	}):
		return invalid(field{"Release", "tag_name", "already_exists", ""})
	case publish && !tagged && changed.Target != "main" && !slices.Contains(s.Commits, changed.Target):
		return invalid(field{"Release", "target_commitish", "invalid", ""})
	}
	if publish {
		s.publish(&changed, edit.Latest != "false" && !changed.Prerelease)
	}
	*release = changed
	return http.StatusOK, s.show(release)
}

func (s *Server) publish(release *Release, latest bool) {
	release.Published, release.Immutable = time.Now(), s.Immutable
	if _, ok := s.Tags[release.Tag]; !ok {
		s.Tags[release.Tag] = release.Target
	}
	if release.Latest = latest; latest {
		for _, other := range s.Releases {
			other.Latest = false
		}
	}
}

// find returns the release of an id that a request may see.
func (s *Server) find(id int64, access access) *Release {
	for _, release := range s.Releases {
		if release.ID == id && (!release.Draft || access == writes) {
			return release
		}
	}
	return nil
}

func (s *Server) commit(reference string) (int, any) {
	sha := s.Tags[strings.TrimPrefix(reference, "tags/")]
	if slices.Contains(s.Commits, reference) {
		sha = reference
	}
	if sha == "" {
		return http.StatusUnprocessableEntity, problem{Message: "No commit found for SHA: " + reference}
	}
	return http.StatusOK, map[string]string{"sha": sha}
}
