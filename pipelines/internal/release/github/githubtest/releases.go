package githubtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// releaseJSON is a release in an answer. Its assets are those that are whole.
type releaseJSON struct {
	ID          int64       `json:"id"`
	URL         string      `json:"url"`
	HTMLURL     string      `json:"html_url"`
	UploadURL   string      `json:"upload_url"`
	Tag         string      `json:"tag_name"`
	Target      string      `json:"target_commitish"`
	Name        string      `json:"name"`
	Body        string      `json:"body"`
	Draft       bool        `json:"draft"`
	Prerelease  bool        `json:"prerelease"`
	Immutable   bool        `json:"immutable"`
	CreatedAt   time.Time   `json:"created_at"`
	PublishedAt *time.Time  `json:"published_at"`
	Assets      []assetJSON `json:"assets"`
}

func (s *Server) show(r *Release) releaseJSON {
	api := fmt.Sprintf("%s/repos/%s/releases/%d", s.server.URL, s.Repository, r.ID)
	page := "tag/" + r.Tag
	if r.Draft {
		page = fmt.Sprintf("tag/untagged-%d", r.ID)
	}
	shown := releaseJSON{
		ID: r.ID, URL: api, UploadURL: api + "/assets{?name,label}", HTMLURL: fmt.Sprintf("%s/%s/releases/%s", s.server.URL, s.Repository, page),
		Tag: r.Tag, Target: r.Target, Name: r.Name, Body: r.Body, Draft: r.Draft, Prerelease: r.Prerelease, Immutable: r.Immutable,
		CreatedAt: r.Created, Assets: []assetJSON{},
	}
	if !r.Draft {
		shown.PublishedAt = &r.Published
	}
	for _, asset := range r.Assets {
		if asset.State == uploaded {
			shown.Assets = append(shown.Assets, s.showAsset(asset))
		}
	}
	return shown
}

// list lists the releases, the latest first; drafts for those who may write.
func (s *Server) list(w http.ResponseWriter, r *http.Request, access access) {
	var seen []*Release
	for _, release := range s.Releases {
		if !release.Draft || access == writes {
			seen = append(seen, release)
		}
	}
	slices.SortStableFunc(seen, func(a, b *Release) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID)) })
	shown := []releaseJSON{}
	for _, release := range page(s, w, r, seen) {
		shown = append(shown, s.show(release))
	}
	answer(w, http.StatusOK, shown)
}

// page returns a page of a list, and says where the next one is.
func page[T any](s *Server, w http.ResponseWriter, r *http.Request, all []T) []T {
	query := r.URL.Query()
	size, err := strconv.Atoi(query.Get("per_page"))
	if err != nil || size < 1 {
		size = 30
	}
	size = min(size, s.PageSize)
	number, err := strconv.Atoi(query.Get("page"))
	if err != nil || number < 1 {
		number = 1
	}
	begin, end := min((number-1)*size, len(all)), min(number*size, len(all))
	link := func(number int, relation string) string {
		query := url.Values{"per_page": {query.Get("per_page")}, "page": {strconv.Itoa(number)}}
		return fmt.Sprintf(`<%s%s?%s>; rel="%s"`, s.server.URL, r.URL.Path, query.Encode(), relation)
	}
	if end < len(all) {
		last := (len(all) + size - 1) / size
		w.Header().Set("Link", link(number+1, "next")+", "+link(last, "last"))
	} else if number > 1 {
		w.Header().Set("Link", link(number-1, "prev")+", "+link(1, "first"))
	}
	return all[begin:end]
}

// edit is the body of a request that makes or changes a release.
type edit struct {
	Tag        *string `json:"tag_name"`
	Target     *string `json:"target_commitish"`
	Name       *string `json:"name"`
	Body       *string `json:"body"`
	Draft      *bool   `json:"draft"`
	Prerelease *bool   `json:"prerelease"`
	Latest     string  `json:"make_latest"`
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
	case r.Method == http.MethodPatch:
		if s.change(w, r, release) {
			answer(w, http.StatusOK, s.show(release))
		}
	case r.Method == http.MethodDelete:
		s.Releases = slices.DeleteFunc(s.Releases, func(other *Release) bool { return other == release })
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, http.StatusOK, s.show(release))
	}
}

// change makes a change to a release, or answers why not.
func (s *Server) change(w http.ResponseWriter, r *http.Request, release *Release) bool {
	var edit edit
	if err := json.NewDecoder(r.Body).Decode(&edit); err != nil {
		problem(w, http.StatusBadRequest, "Problems parsing JSON")
		return false
	}
	changed := *release
	set(&changed.Tag, edit.Tag)
	set(&changed.Target, edit.Target)
	set(&changed.Name, edit.Name)
	set(&changed.Body, edit.Body)
	set(&changed.Draft, edit.Draft)
	set(&changed.Prerelease, edit.Prerelease)
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

func set[T any](to *T, value *T) {
	if value != nil {
		*to = *value
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

// tagged answers the published release of a tag: a draft has no tag yet.
func (s *Server) tagged(w http.ResponseWriter, tag string) {
	for _, release := range s.Releases {
		if release.Tag == tag && !release.Draft {
			answer(w, http.StatusOK, s.show(release))
			return
		}
	}
	problem(w, http.StatusNotFound, "Not Found")
}

func (s *Server) commit(w http.ResponseWriter, reference string) {
	sha := s.Tags[cut(reference, "tags/")]
	if slices.Contains(s.Commits, reference) {
		sha = reference
	}
	if sha == "" {
		problem(w, http.StatusUnprocessableEntity, "No commit found for SHA: "+reference)
		return
	}
	answer(w, http.StatusOK, map[string]string{"sha": sha})
}
