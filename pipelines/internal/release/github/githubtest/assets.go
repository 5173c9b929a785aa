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

func (s *Server) assets(q question) (int, any) {
	release := s.find(q.id(1), q.access)
	if release == nil {
		return http.StatusNotFound, notFound
	}
	shown := []shownAsset{}
	for _, asset := range page(s, q, release.Assets) {
		shown = append(shown, s.showAsset(asset))
	}
	return http.StatusOK, shown
}

// asset answers, renames or deletes one. Its content is at an address of its own,
// which is signed, and takes no token.
func (s *Server) asset(q question) (int, any) {
	for _, release := range s.Releases {
		i := slices.IndexFunc(release.Assets, func(a *Asset) bool { return a.ID == q.id(2) })
		switch {
		case i < 0 || release.Draft && q.access != writes:
			continue
		case q.Method != http.MethodGet && release.Immutable:
			return http.StatusUnprocessableEntity, problem{Message: "Cannot change an asset of an immutable release."}
		case q.Method == http.MethodDelete:
			release.Assets = slices.Delete(slices.Clone(release.Assets), i, i+1)
			return http.StatusNoContent, nil
		case q.Method == http.MethodPatch:
			return s.rename(q, release, release.Assets[i])
		case q.Header.Get("Accept") == "application/octet-stream":
			// Another host than that of the API, so that clients leave the token behind.
			host := strings.Replace(s.server.URL, "127.0.0.1", "localhost", 1)
			q.head.Set("Location", fmt.Sprintf("%s/storage/%d?signature=secret", host, q.id(2)))
			return http.StatusFound, nil
		}
		return http.StatusOK, s.showAsset(release.Assets[i])
	}
	return http.StatusNotFound, notFound
}

// rename gives an asset a name that no other of the release may have.
func (s *Server) rename(q question, release *Release, asset *Asset) (int, any) {
	var edit struct{ Name string }
	err := json.NewDecoder(q.Body).Decode(&edit)
	switch there := release.Asset(edit.Name); {
	case err != nil || edit.Name == "":
		return http.StatusBadRequest, problem{Message: "Problems parsing JSON"}
	case there != nil && there != asset:
		return invalid(field{"ReleaseAsset", "name", "already_exists", ""})
	}
	asset.Name = edit.Name
	return http.StatusOK, s.showAsset(asset)
}

func (s *Server) storage(w http.ResponseWriter, r *http.Request) {
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
			if r.URL.Path == fmt.Sprintf("/storage/%d", asset.ID) {
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
	return http.StatusCreated, s.showAsset(asset)
}

// begin makes the asset that an upload fills, or returns why not.
func (s *Server) begin(q question) (begun *Asset, status int, refusal any) {
	release := s.find(q.id(1), writes)
	name := strings.Trim(special.ReplaceAllString(q.URL.Query().Get("name"), "."), ".")
	switch {
	case release == nil:
		return nil, http.StatusNotFound, notFound
	case q.ContentLength <= 0:
		return nil, http.StatusBadRequest, problem{Message: "Bad Content-Length: " + q.Header.Get("Content-Length")}
	case name == "":
		status, refusal = invalid(field{"ReleaseAsset", "name", "missing_field", ""})
	case q.ContentLength >= 2<<30:
		status, refusal = invalid(field{"ReleaseAsset", "size", "custom", "size must be less than 2147483648"})
	case release.Immutable:
		return nil, http.StatusUnprocessableEntity, problem{Message: "Cannot upload assets to an immutable release."}
	case release.Asset(name) != nil:
		status, refusal = invalid(field{"ReleaseAsset", "name", "already_exists", ""})
	default:
		s.lastID++
		begun = &Asset{ID: s.lastID, Name: name, State: starter, Type: q.Header.Get("Content-Type")}
		release.Assets = append(slices.Clone(release.Assets), begun)
	}
	return begun, status, refusal
}

func (a *Asset) finish(content []byte) {
	sum := sha256.Sum256(content)
	a.State, a.Content, a.Size, a.Digest = uploaded, bytes.Clone(content), int64(len(content)), "sha256:"+hex.EncodeToString(sum[:])
}
