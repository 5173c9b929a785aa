package githubtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The states of assets.
const (
	uploaded = "uploaded"
	starter  = "starter"
)

// Asset is a file of a release.
type Asset struct {
	ID      int64  `json:"id"`
	Name    string `json:"name"`
	State   string `json:"state"`
	Type    string `json:"content_type"`
	Size    int64  `json:"size"`
	Digest  string `json:"-"`
	Content []byte `json:"-"`
}

// Asset returns the asset of a name, or nil.
func (r *Release) Asset(name string) *Asset {
	for _, asset := range r.Assets {
		if asset.Name == name {
			return asset
		}
	}
	return nil
}

// Add adds an asset to a release of the server, whole.
func (s *Server) Add(release *Release, name string, content []byte) *Asset {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	asset := &Asset{ID: s.lastID, Name: name, Type: "application/octet-stream"}
	asset.finish(content)
	release.Assets = append(slices.Clone(release.Assets), asset)
	return asset
}

// shownAsset is an asset as an answer has it.
type shownAsset struct {
	*Asset
	Digest *string `json:"digest"`
}

func (s *Server) showAsset(a *Asset) shownAsset {
	if a.Digest == "" || s.NoDigests {
		return shownAsset{a, nil}
	}
	return shownAsset{a, &a.Digest}
}

func (s *Server) assets(w http.ResponseWriter, r *http.Request, access access, id int64) {
	release := s.find(id, access)
	if release == nil {
		problem(w, http.StatusNotFound, "Not Found")
		return
	}
	shown := []shownAsset{}
	for _, asset := range page(s, w, r, release.Assets) {
		shown = append(shown, s.showAsset(asset))
	}
	answer(w, http.StatusOK, shown)
}

// asset answers or deletes one. Its content is at an address of its own, which
// is signed, and takes no token.
func (s *Server) asset(w http.ResponseWriter, r *http.Request, access access, id int64) {
	for _, release := range s.Releases {
		i := slices.IndexFunc(release.Assets, func(a *Asset) bool { return a.ID == id })
		if i < 0 || release.Draft && access != writes {
			continue
		}
		switch {
		case r.Method == http.MethodDelete && release.Immutable:
			problem(w, http.StatusUnprocessableEntity, "Cannot delete asset from an immutable release.")
		case r.Method == http.MethodDelete:
			release.Assets = slices.Delete(slices.Clone(release.Assets), i, i+1)
			w.WriteHeader(http.StatusNoContent)
		case r.Method == http.MethodPatch:
			s.rename(w, r, release, release.Assets[i])
		case r.Header.Get("Accept") == "application/octet-stream":
			// Another host than that of the API, so that clients leave the token behind.
			host := strings.Replace(s.server.URL, "127.0.0.1", "localhost", 1)
			http.Redirect(w, r, fmt.Sprintf("%s/storage/%d?signature=secret", host, id), http.StatusFound)
		default:
			answer(w, http.StatusOK, s.showAsset(release.Assets[i]))
		}
		return
	}
	problem(w, http.StatusNotFound, "Not Found")
}

// rename changes an asset, whose name no other of the release may have.
func (s *Server) rename(w http.ResponseWriter, r *http.Request, release *Release, asset *Asset) {
	var edit struct{ Name string }
	err := json.NewDecoder(r.Body).Decode(&edit)
	there := release.Asset(edit.Name)
	switch {
	case err != nil || edit.Name == "":
		problem(w, http.StatusBadRequest, "Problems parsing JSON")
	case release.Immutable:
		problem(w, http.StatusUnprocessableEntity, "Cannot edit asset of an immutable release.")
	case there != nil && there != asset:
		invalid(w, "ReleaseAsset", "name", "already_exists", "")
	default:
		asset.Name = edit.Name
		answer(w, http.StatusOK, s.showAsset(asset))
	}
}

func (s *Server) storage(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := number(strings.TrimPrefix(r.URL.Path, "/storage/"))
	switch {
	case r.URL.Query().Get("signature") != "secret":
		http.Error(w, "no signature", http.StatusForbidden)
		return
	case r.Header.Get("Authorization") != "":
		http.Error(w, "Only one auth mechanism allowed", http.StatusBadRequest)
		return
	}
	for _, release := range s.Releases {
		for _, asset := range release.Assets {
			if asset.ID == id {
				w.Header().Set("Content-Length", strconv.FormatInt(asset.Size, 10))
				_, _ = w.Write(asset.Content) // A client that went away has no use for the error.
				return
			}
		}
	}
	http.NotFound(w, r)
}

var special = regexp.MustCompile(`[^A-Za-z0-9._+@-]`)

// upload takes an asset in. One that breaks off stays a starter.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, id int64) {
	asset, ok := s.begin(w, r, id)
	if !ok {
		return
	}
	content, err := io.ReadAll(r.Body)
	if err != nil || int64(len(content)) != r.ContentLength {
		panic(http.ErrAbortHandler) // Nobody is there to be answered.
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	asset.finish(content)
	answer(w, http.StatusCreated, s.showAsset(asset))
}

// begin makes the asset that an upload fills.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, id int64) (*Asset, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	release := s.find(id, writes)
	name := strings.Trim(special.ReplaceAllString(r.URL.Query().Get("name"), "."), ".")
	switch {
	case release == nil:
		problem(w, http.StatusNotFound, "Not Found")
	case r.ContentLength <= 0:
		problem(w, http.StatusBadRequest, "Bad Content-Length: "+r.Header.Get("Content-Length"))
	case name == "":
		invalid(w, "ReleaseAsset", "name", "missing_field", "")
	case r.ContentLength >= 2<<30:
		invalid(w, "ReleaseAsset", "size", "custom", "size must be less than 2147483648")
	case release.Immutable:
		problem(w, http.StatusUnprocessableEntity, "Cannot upload assets to an immutable release.")
	case release.Asset(name) != nil:
		invalid(w, "ReleaseAsset", "name", "already_exists", "")
	default:
		s.changes++
		s.lastID++
		asset := &Asset{ID: s.lastID, Name: name, State: starter, Type: r.Header.Get("Content-Type")}
		release.Assets = append(slices.Clone(release.Assets), asset)
		return asset, true
	}
	return nil, false
}

func (a *Asset) finish(content []byte) {
	sum := sha256.Sum256(content)
	a.State, a.Content, a.Size, a.Digest = uploaded, bytes.Clone(content), int64(len(content)), "sha256:"+hex.EncodeToString(sum[:])
}
