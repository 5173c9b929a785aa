package payload

import (
	"maps"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Labels describe an image: they are in its configuration and, as annotations, in
// its manifest. Empty ones are left out.
type Labels struct {
	// Version is the release, Revision the commit it is of.
	Version, Revision string
	// Created is the time of the commit: that of the build would make each image
	// another one.
	Created time.Time
	// Source is the address of the repository.
	Source string
}

// componentKey is an annotation of Kata's own.
const componentKey = "io.katacontainers.component"

// annotation is how the names of the standard annotations begin.
const annotation = "org.opencontainers.image."

// time is when the image says that it was made, to the second.
func (l Labels) time() v1.Time { return v1.Time{Time: l.Created.UTC().Truncate(time.Second)} }

// of returns the labels of what begins with a base, "" for none.
func (l Labels) of(base string) map[string]string {
	labels := map[string]string{
		annotation + "title":       "kata-deploy",
		annotation + "description": "Components of Kata Containers, and what installs them on a node",
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
