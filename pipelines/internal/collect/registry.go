package collect

import (
	"context"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// Registry removes the things of a registry that go.
func Registry(ctx context.Context, registry *store.Registry, shelves []store.Shelf, things []Thing) (removed Removed, err error) {
	gone := map[string][]store.Item{}
	for _, t := range things {
		if t.Keep == "" {
			gone[t.Name] = append(gone[t.Name], t.item)
		}
	}
	for _, shelf := range shelves {
		done, err := registry.Remove(ctx, shelf, gone[shelf.Name])
		for _, t := range things {
			switch {
			case t.Keep != "" || t.Name != shelf.Name:
			case slices.ContainsFunc(done, func(i store.Item) bool { return i.Manifest.Digest() == t.item.Manifest.Digest() }):
				removed.Freed += t.Size
			case err == nil:
				removed.InUse = append(removed.InUse, t)
			}
		}
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}
