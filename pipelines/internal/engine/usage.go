package engine

import (
	"context"
	"fmt"
	"strings"

	"dagger.io/dagger"
)

// CacheUse is what the build cache of an engine uses, in bytes. Compilers is the part of
// the caches of compilers, Limit is what the engine keeps at most when no build runs.
type CacheUse struct {
	Size      int64 `json:"size"`
	InUse     int64 `json:"inUse"`
	Compilers int64 `json:"compilers"`
	Limit     int64 `json:"limit"`
}

// compilers begins the descriptions of the caches that steps mount for ccache.
const compilers = "cached mount /ccache "

// CacheUse asks the engine what its build cache uses.
func (s *Session) CacheUse(ctx context.Context) (use CacheUse, err error) {
	var data struct {
		Engine struct {
			LocalCache struct {
				MaxUsedSpace int64
				EntrySet     struct {
					Entries []struct {
						Description    string
						DiskSpaceBytes int64
						ActivelyUsed   bool
					}
				}
			}
		}
	}
	// One request: the SDK's own calls need one for each field of each entry.
	err = s.client.Do(ctx, &dagger.Request{
		Query: `{engine{localCache{maxUsedSpace entrySet{entries{description diskSpaceBytes activelyUsed}}}}}`,
	}, &dagger.Response{Data: &data})
	if err != nil {
		return use, fmt.Errorf("asking the engine for its cache: %w", err)
	}
	use.Limit = data.Engine.LocalCache.MaxUsedSpace
	for _, entry := range data.Engine.LocalCache.EntrySet.Entries {
		use.Size += entry.DiskSpaceBytes
		if entry.ActivelyUsed {
			use.InUse += entry.DiskSpaceBytes
		}
		if strings.HasPrefix(entry.Description, compilers) {
			use.Compilers += entry.DiskSpaceBytes
		}
	}
	return use, nil
}

// Prune removes everything from the build cache of the engine that no build uses, and
// returns what it used before and after.
func (s *Session) Prune(ctx context.Context) (before, after CacheUse, err error) {
	if before, err = s.CacheUse(ctx); err != nil {
		return before, after, err
	}
	if err := s.client.Engine().LocalCache().Prune(ctx); err != nil {
		return before, after, fmt.Errorf("pruning the cache of the engine: %w", err)
	}
	after, err = s.CacheUse(ctx)
	return before, after, err
}
