package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// Sending is how a blob is pushed.
type Sending struct {
	// Title names it in messages: "a layer of qemu".
	Title string
	// From are paths of repositories of the same registry that may have the blob.
	From []string
	// Known sends the blob even if the registry says that it has it.
	Known bool
	// Subject names the blob in the report.
	Subject string
}

// Sent is the cost of pushing a blob. Bytes counts what was sent, including what was lost
// with a connection. Mounted is true if the registry took the blob from another of its
// repositories, There if it had the blob.
type Sent struct {
	Bytes          int64
	Mounted, There bool
}

// Push makes sure that the repository has a blob: it mounts or sends a missing one. It
// retries temporary failures, from the offset that the registry names, or else from the
// start.
func (r *Repository) Push(ctx context.Context, b Blob, s Sending) (Sent, error) {
	u := &upload{repository: r, blob: b, sending: s}
	ctx = auth.AppendRepositoryScope(ctx, r.ref, auth.ActionPull, auth.ActionPush)
	for _, from := range s.From {
		ctx = auth.AppendRepositoryScope(ctx, registry.Reference{Registry: r.ref.Registry, Repository: from}, auth.ActionPull)
	}
	doing := "pushing " + s.Title
	if !s.Known {
		// Some registries deny access to blobs that they lack: then the blob is sent.
		there, err := r.Has(ctx, b.Descriptor)
		if err != nil && !Refused(err) {
			return Sent{}, r.failed(ctx, doing, err)
		}
		if there {
			return Sent{There: true}, nil
		}
	}
	mounted, err := u.mount(ctx)
	if err != nil || mounted {
		return Sent{Mounted: mounted}, err
	}
	u.stage = r.client.stage(s.Subject, "push", b.Descriptor)
	err = u.send(ctx)
	u.stage.End(err, "pushed")
	if err != nil && !IsDamage(err) {
		err = r.failed(ctx, doing, err)
	}
	return Sent{Bytes: u.sent.Load()}, err
}

type upload struct {
	repository *Repository
	blob       Blob
	sending    Sending
	// location is the URL for the next request, "" before the registry named one; offset
	// is how many bytes the registry has.
	location string
	offset   int64
	sent     atomic.Int64
	stage    *progress.Stage
	// damage is the damage of the blob itself, found while it was sent.
	damage atomic.Pointer[Damage]
}

// answer is a response without its body; location is "" if it named none.
type answer struct {
	code     int
	header   http.Header
	location string
}

// do sends a request without content. Codes are the wanted statuses.
func (u *upload) do(ctx context.Context, method, address string, codes ...int) (answer, error) {
	if method != http.MethodGet {
		ctx = web.Once(ctx) // A request that failed may still have begun or ended the upload.
	}
	request, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	return u.perform(request, codes...)
}

// perform sends a request, and reads a little of the response's body so that the
// connection can be reused.
func (u *upload) perform(request *http.Request, codes ...int) (answer, error) {
	response, err := u.repository.host.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	if !slices.Contains(codes, response.StatusCode) {
		return answer{}, answered(response)
	}
	said := answer{code: response.StatusCode, header: response.Header}
	if location, err := response.Location(); err == nil {
		said.location = location.String()
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxError))
	return said, err
}

// mount asks the registry to take the blob from another of its repositories.
func (u *upload) mount(ctx context.Context) (bool, error) {
	for _, from := range u.sending.From {
		query := url.Values{"mount": {u.blob.Digest.String()}, "from": {from}}
		response, err := u.do(ctx, http.MethodPost, u.repository.url(ctx, "blobs/uploads/?"+query.Encode()), http.StatusCreated, http.StatusAccepted)
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case err != nil:
			continue // For example, a repository without access: then the blob is sent.
		case response.code == http.StatusCreated:
			return true, nil
		}
		// The repository lacks the blob, and the registry has begun an upload instead.
		if err := u.moved(response); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (u *upload) send(ctx context.Context) error {
	client := u.repository.client
	for failures := 1; ; failures++ {
		err := u.try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// During an upload, 404 and 416 mean that the registry has lost it; before one, 404
		// means that the repository does not exist. A 400 without a reason may come from
		// bytes that changed on the way.
		if IsDamage(err) {
			return err
		}
		code := Status(err)
		again := temporary(err) || code == http.StatusBadRequest && !explained(err) ||
			u.location != "" && (code == http.StatusNotFound || code == http.StatusRequestedRangeNotSatisfiable)
		if failures >= client.options.Pace.Tries || !again {
			return err
		}
		u.repository.retrying("pushing "+u.sending.Title, err)
		if err := client.Rest(ctx, failures); err != nil {
			return err
		}
		before := u.offset
		done, err := u.resume(ctx)
		if err != nil || done {
			return err
		}
		if u.offset > before {
			failures = 0 // The upload makes progress, if slowly.
		}
	}
}

// try sends the part that the registry lacks, and ends the upload.
func (u *upload) try(ctx context.Context) error {
	if u.location == "" {
		response, err := u.do(ctx, http.MethodPost, u.repository.url(ctx, "blobs/uploads/"), http.StatusAccepted)
		if err != nil {
			return err
		}
		if err := u.moved(response); err != nil {
			return err
		}
		u.offset = 0
	}
	if u.offset < u.blob.Size {
		if err := u.patch(ctx); err != nil {
			return err
		}
	}
	end, err := url.Parse(u.location)
	if err != nil {
		return err
	}
	values := end.Query()
	values.Set("digest", u.blob.Digest.String())
	end.RawQuery = values.Encode()
	_, err = u.do(ctx, http.MethodPut, end.String(), http.StatusCreated)
	return err
}

// patch sends the rest of the blob in one request.
func (u *upload) patch(ctx context.Context) error {
	body, err := u.body()
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(web.Once(ctx), http.MethodPatch, u.location, body)
	if err != nil {
		return errors.Join(err, body.Close())
	}
	request.GetBody = u.body
	request.ContentLength = u.blob.Size - u.offset
	request.Header.Set("Content-Type", "application/octet-stream")
	if u.offset > 0 {
		request.Header.Set("Content-Range", fmt.Sprintf("%d-%d", u.offset, u.blob.Size-1))
	}
	response, err := u.perform(request, http.StatusAccepted, http.StatusNoContent, http.StatusCreated)
	if damage := u.damage.Load(); damage != nil {
		return damage
	}
	if err != nil {
		return err
	}
	u.offset = u.blob.Size
	return u.moved(response)
}

// resume asks the registry how much it has; if it cannot tell, the upload starts again.
// Done is true if only the last response was lost.
func (u *upload) resume(ctx context.Context) (done bool, err error) {
	if !u.sending.Known {
		there, err := u.repository.Has(ctx, u.blob.Descriptor)
		if there || err != nil && temporary(err) {
			return there, err
		}
	}
	location := u.location
	u.location, u.offset = "", 0
	if location == "" {
		return false, nil
	}
	response, err := u.do(ctx, http.MethodGet, location, http.StatusNoContent)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	// Not every registry keeps an unfinished upload and reports its size.
	if end := lastByte(response.header.Get("Range")); err == nil && end > 0 && end < u.blob.Size {
		u.offset, u.location = end+1, cmp.Or(response.location, location)
	}
	return false, nil
}

// lastByte parses a header such as "0-1023"; that of an empty upload is "0-0".
func lastByte(header string) int64 {
	_, last, _ := strings.Cut(header, "-")
	end, err := strconv.ParseInt(last, 10, 64)
	if err != nil {
		return 0
	}
	return end
}

func (u *upload) moved(response answer) error {
	if response.location == "" {
		return errors.New("the registry does not say where to send a blob: its answer has no Location")
	}
	u.location = response.location
	return nil
}
