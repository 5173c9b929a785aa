package github

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github/githubtest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

func TestDraft(t *testing.T) {
	r := newRig(t)
	r.server.PageSize = 2
	for i := range 5 {
		r.server.AddRelease(githubtest.Release{Tag: fmt.Sprintf("3.2%d.0", i), Created: time.Now().Add(time.Hour), Published: time.Now()})
	}
	made := r.draft(t)
	if !made.Draft || made.Tag != "3.28.0" || made.Target != commitA || made.Body != "notes" {
		t.Errorf("made %+v", made)
	}
	// The draft is found again on the third page, and stays as it is.
	changes := r.server.Changes()
	if again := r.draft(t); again.ID != made.ID || r.server.Changes() != changes {
		t.Errorf("found %d with %d changes, want %d with none", again.ID, r.server.Changes()-changes, made.ID)
	}
	changed, err := r.Describe(t.Context(), made, made.Body+" and more")
	if err != nil || changed.ID != made.ID || changed.Body != "notes and more" || !changed.Draft || changed.Tag != "3.28.0" {
		t.Errorf("changed %+v, %v", changed, err)
	}
	published, err := r.Publish(t.Context(), changed, true)
	if err != nil || published.Draft || r.server.Tags["3.28.0"] != commitA || r.server.Release("3.28.0").Body != "notes and more" {
		t.Errorf("published %+v, %v", published, err)
	}
	changes = r.server.Changes()
	if _, err := r.Publish(t.Context(), published, true); err != nil || r.server.Changes() != changes {
		t.Errorf("publishing again: %v, %d changes, want none", err, r.server.Changes()-changes)
	}
	// A published release is not edited.
	if after, err := r.Describe(t.Context(), published, "new notes"); err != nil || after.Draft || r.server.Release("3.28.0").Body != "new notes" {
		t.Errorf("described: %+v, %v", after, err)
	}
	changes = r.server.Changes()
	if after, err := r.Draft(t.Context(), wanted("other")); err != nil || after.Draft || after.Body != "new notes" || r.server.Changes() != changes {
		t.Errorf("got %+v, %v, want the published one as it is", after, err)
	}
	if !r.server.Release("3.28.0").Latest {
		t.Error("it is not the latest release")
	}
}

// TestCreateFaults has the creation of a draft fail; in the end there is one.
func TestCreateFaults(t *testing.T) {
	for name, fault := range map[string]githubtest.Fault{
		"502":                 {Status: 502},
		"502 and made":        {Status: 502, Leave: githubtest.Done},
		"broken off":          {},
		"broken off and made": {Leave: githubtest.Done},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			fault.Request, fault.Times = "^POST ", 1
			r.server.Faults = []*githubtest.Fault{&fault}
			r.draft(t)
			if len(r.server.Releases) != 1 {
				t.Errorf("there are %d releases, want 1", len(r.server.Releases))
			}
			if n := r.server.Count("POST "); fault.Leave == githubtest.Done && n != 1 {
				t.Errorf("it was made with %d requests, want 1: it was there", n)
			}
		})
	}
}

// TestTwoDrafts has another process make a draft between the lookup and the creation.
func TestTwoDrafts(t *testing.T) {
	r := newRig(t)
	other := r.draft(t)
	mine, err := r.create(t.Context(), wanted("mine"))
	if err != nil || len(r.server.Releases) != 2 {
		t.Fatalf("%v with %d drafts, want 2", err, len(r.server.Releases))
	}
	// The order of the list is that of the commits' times.
	r.server.Do(func() { r.server.Releases[1].Created = time.Time{} })
	if found, err := r.Find(t.Context(), "3.28.0"); err != nil || found.ID != other.ID || !strings.Contains(r.notes.String(), "there are 2 drafts of 3.28.0") {
		t.Errorf("found %d, %v, notes %q, want the oldest and a note", found.ID, err, r.notes.String())
	}
	left, err := r.oldest(t.Context(), mine)
	if err != nil || left.ID != other.ID || len(r.server.Releases) != 1 || r.server.Releases[0].ID != other.ID {
		t.Errorf("continued with %d, %v, want the older draft", left.ID, err)
	}
}

// TestPublishedFirst has a draft next to the published release of its tag.
func TestPublishedFirst(t *testing.T) {
	r := newRig(t)
	draft := r.draft(t)
	published := r.server.AddRelease(githubtest.Release{Tag: "3.28.0", Published: time.Now()})
	if found, err := r.Find(t.Context(), "3.28.0"); err != nil || found.ID != published.ID {
		t.Errorf("found %d, %v, want the published one", found.ID, err)
	}
	_, err := r.Publish(t.Context(), draft, true)
	require.Error(t, err, "already_exists")
}

func TestNotFound(t *testing.T) {
	r := newRig(t)
	r.draft(t)
	if _, err := r.client(t, "").Find(t.Context(), "3.28.0"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want a draft not to be seen by anybody", err)
	}
	elsewhere, err := New(Options{API: r.server.URL(), Repository: "kata-containers/kata", Token: githubtest.Token})
	require.NoError(t, err)
	if _, err := elsewhere.Find(t.Context(), "3.28.0"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("got %v: a missing repository is not a missing release", err)
	}
}

func TestReleases(t *testing.T) {
	r := newRig(t)
	r.server.PageSize = 1
	r.server.AddRelease(githubtest.Release{Tag: "3.27.0", Published: time.Now()})
	r.draft(t)
	for token, want := range map[string]int{githubtest.Token: 2, "": 1} {
		if list, err := r.client(t, token).Releases(t.Context()); err != nil || len(list) != want {
			t.Errorf("with %q: %+v, %v, want %d", token, list, err, want)
		}
	}
}

func TestCommit(t *testing.T) {
	r := newRig(t)
	r.server.Tags["3.27.0"] = commitA
	for reference, want := range map[string]string{commitA: commitA, "tags/3.27.0": commitA, "tags/3.28.0": "", strings.Repeat("b", 40): ""} {
		got, err := r.Commit(t.Context(), reference)
		if got != want || (want == "") != errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %q, %v, want %q", reference, got, err, want)
		}
	}
}

func TestLongNotes(t *testing.T) {
	r := newRig(t)
	_, err := r.Draft(t.Context(), wanted(strings.Repeat("ä", maxBody+1)))
	if err == nil || !strings.Contains(err.Error(), "125001 characters and GitHub takes 125000") || r.server.Changes() != 0 {
		t.Errorf("got %v, want it to be refused before anything is sent", err)
	}
	r.draft(t)
	if _, err := r.Draft(t.Context(), wanted(strings.Repeat("ä", maxBody))); err != nil {
		t.Errorf("the longest text that fits: %v", err)
	}
}

// TestRenamed has a repository that was renamed: GitHub redirects reads, but not
// changes.
func TestRenamed(t *testing.T) {
	for _, code := range []int{301, 307} {
		r := newRig(t)
		if err := r.CheckName(t.Context()); err != nil {
			t.Errorf("its own name: %v", err)
		}
		r.server.FullName, r.server.Moved = "kata-containers/kata", code
		if err := r.CheckName(t.Context()); err == nil || !strings.Contains(err.Error(), "renamed to kata-containers/kata: use that name") {
			t.Errorf("%d: got %v, want the name of today", code, err)
		}
		_, err := r.Draft(t.Context(), wanted("notes"))
		if want := fmt.Sprintf("GitHub answers %d", code); err == nil || !strings.Contains(err.Error(), want) || r.server.Changes() > 0 {
			t.Errorf("got %v, want the redirection", err)
		}
	}
}
