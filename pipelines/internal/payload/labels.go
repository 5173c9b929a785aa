package payload

import (
	"cmp"
	"maps"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Labels describe an image: they are in its configuration and, as annotations, in
// its manifest. Empty ones are left out.
type Labels struct {
	// Title and Description are those of kata-deploy if they are "".
	Title, Description string
	// Version is the release, Revision its commit.
	Version, Revision string
	// Created is the time of the commit: with that of the build, no two images would be
	// equal.
	Created time.Time
	// Source is the address of the repository.
	Source string
}

// componentKey is Kata's own annotation.
const componentKey = "io.katacontainers.component"

// annotation is the prefix of the standard annotations.
const annotation = "org.opencontainers.image."

// time returns the creation time of the image, to the second.
func (l Labels) time() v1.Time { return v1.Time{Time: l.Created.UTC().Truncate(time.Second)} }

// of returns the labels of an image or index on a base, "" for none.
func (l Labels) of(base string) map[string]string {
	labels := map[string]string{
		annotation + "title":       cmp.Or(l.Title, "kata-deploy"),
		annotation + "description": cmp.Or(l.Description, "Components of Kata Containers, and what installs them on a node"),
		annotation + "vendor":      "Kata Containers",
		annotation + "licenses":    "Apache-2.0",
		annotation + "url":         "https://katacontainers.io",
		annotation + "source":      l.Source,
		annotation + "version":     l.Version,
		annotation + "revision":    l.Revision,
		annotation + "created":     l.Created.UTC().Format(time.RFC3339),
	}
	labels[annotation+"base.name"], labels[annotation+"base.digest"], _ = strings.Cut(base, "@")
	maps.DeleteFunc(labels, func(_, value string) bool { return value == "" })
	return labels
}
