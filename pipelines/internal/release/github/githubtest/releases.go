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
func (s *Server) list(w http.ResponseWriter, r *http.Request, access access) {
	seen := slices.DeleteFunc(slices.Clone(s.Releases), func(release *Release) bool { return release.Draft && access != writes })
	slices.SortStableFunc(seen, func(a, b *Release) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID)) })
	shown := []any{}
	for _, release := range page(s, w, r, seen) {
		shown = append(shown, s.show(release))
	}
	answer(w, http.StatusOK, shown)
}

// page returns a page of a list, and says where the next one is.
func page[T any](s *Server, w http.ResponseWriter, r *http.Request, all []T) []T {
	size := min(queried(r, "per_page", 30), s.PageSize)
	number := queried(r, "page", 1)
	begin, end := min((number-1)*size, len(all)), min(number*size, len(all))
	if end < len(all) {
		at := fmt.Sprintf("%s%s?per_page=%d&page=", s.server.URL, r.URL.Path, size)
		w.Header().Set("Link", fmt.Sprintf(`<%s1>; rel="first", <%s%d>; rel="next"`, at, at, number+1))
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

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	s.lastID++
	release := &Release{ID: s.lastID, Target: "main", Created: time.Now()}
	if s.change(w, r, release) {
		s.Releases = append(s.Releases, release)
		answer(w, http.StatusCreated, s.show(release))
	}
}

// release answers, changes or deletes one.
func (s *Server) release(w http.ResponseWriter, r *http.Request, access access, id int64) {
	release := s.find(id, access)
	switch {
	case release == nil:
		problem(w, http.StatusNotFound, "Not Found")
	case r.Method == http.MethodDelete:
		s.Releases = slices.DeleteFunc(s.Releases, func(other *Release) bool { return other == release })
		w.WriteHeader(http.StatusNoContent)
	case r.Method != http.MethodPatch || s.change(w, r, release):
		answer(w, http.StatusOK, s.show(release))
	}
}

// change makes a change to a release, or answers why not.
func (s *Server) change(w http.ResponseWriter, r *http.Request, release *Release) bool {
	changed := *release
	edit := struct {
		*Release
		Latest string `json:"make_latest"`
	}{Release: &changed}
	if err := json.NewDecoder(r.Body).Decode(&edit); err != nil {
		problem(w, http.StatusBadRequest, "Problems parsing JSON")
		return false
	}
	publish := !changed.Draft && changed.Published.IsZero()
	_, tagged := s.Tags[changed.Tag]
	switch {
	case changed.Tag == "":
		invalid(w, "Release", "tag_name", "missing_field", "")
	case utf8.RuneCountInString(changed.Body) > 125_000:
		invalid(w, "Release", "body", "custom", "body is too long (maximum is 125000 characters)")
	case publish && slices.ContainsFunc(s.Releases, func(other *Release) bool {
		return !other.Draft && other.ID != release.ID && other.Tag == changed.Tag
	}):
		invalid(w, "Release", "tag_name", "already_exists", "")
	case publish && !tagged && changed.Target != "main" && !slices.Contains(s.Commits, changed.Target):
		invalid(w, "Release", "target_commitish", "invalid", "")
	default:
		if publish {
			s.publish(&changed, edit.Latest != "false" && !changed.Prerelease)
		}
		*release = changed
		return true
	}
	return false
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

func (s *Server) latest(w http.ResponseWriter) {
	for _, release := range s.Releases {
		if release.Latest && !release.Draft {
			answer(w, http.StatusOK, s.show(release))
			return
		}
	}
	problem(w, http.StatusNotFound, "Not Found")
}

func (s *Server) commit(w http.ResponseWriter, reference string) {
	sha := s.Tags[strings.TrimPrefix(reference, "tags/")]
	if slices.Contains(s.Commits, reference) {
		sha = reference
	}
	if sha == "" {
		problem(w, http.StatusUnprocessableEntity, "No commit found for SHA: "+reference)
		return
	}
	answer(w, http.StatusOK, map[string]string{"sha": sha})
}
