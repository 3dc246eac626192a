package api

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// RemoteCache is what the API needs of a node for the remote caches of Bazel,
// ccache and Turborepo. All calls but ListTools are served by the node that was
// asked, whatever its role.
type RemoteCache interface {
	// OpenTool opens the entry of a key. Kind NotFound if there is none, or if no
	// node has its bytes; the entry is deleted then.
	OpenTool(ctx context.Context, k pipeline.ToolKey) (Blob, pipeline.ToolEntry, error)
	// FindTools looks for entries whose bytes are on some node. The answer has one
	// element per key; nil if there is no such entry.
	FindTools(ctx context.Context, keys []pipeline.ToolKey) ([]*pipeline.ToolEntry, error)
	// PutTool stores what r gives under the key of e, with its tag and duration. It
	// returns once the bytes are on two nodes, if there are two, and the entry is
	// committed. A *NoSpaceError if the disk is too full.
	PutTool(ctx context.Context, e pipeline.ToolEntry, r io.Reader) error
	// DeleteTool removes an entry; a missing one is no error.
	DeleteTool(ctx context.Context, k pipeline.ToolKey) error
	// ListTools lists the entries of a kind, or with "" of all kinds, behind the
	// key after: leader, or with stale any node that has the state.
	ListTools(ctx context.Context, kind string, limit int, after pipeline.ToolKey) (wire.ToolList, error)
}

// NoSpaceError says that a node accepts no more bytes, and why. Its kind is
// pipeline.Unavailable; it is answered with 507.
type NoSpaceError struct{ Reason string }

// Error is the reason.
func (e *NoSpaceError) Error() string { return e.Reason }

// Unwrap gives the error its kind.
func (e *NoSpaceError) Unwrap() error {
	return &pipeline.Error{Kind: pipeline.Unavailable, Message: e.Reason}
}

// remoteCacheHandler serves entries of remote caches, whatever tool they belong
// to.
type remoteCacheHandler struct {
	entries RemoteCache
	// maxEntry bounds an entry, in bytes.
	maxEntry int64
}

// routes are the list of entries, and the remote cache of Bazel, which ccache speaks too.
func (h *remoteCacheHandler) routes() []Route {
	spaces := [...]struct {
		name pipeline.ToolSpace
		what string
	}{
		{pipeline.ToolActions, "an entry of a remote cache under a key of its tool"},
		{pipeline.ToolContents, "an entry of a remote cache under its SHA-256"},
	}

	all := []Route{
		{Method: "GET", Pattern: "/api/v1/cache/tools", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "entries of remote caches",
			Query:   []string{"kind", "limit", "cursor", "stale"}, Response: doc[wire.ToolList](),
			serve: h.list},
	}
	for _, prefix := range [...]string{"", "/{team}"} {
		for _, space := range spaces {
			pattern, at := prefix+"/"+string(space.name)+"/{key}", h.in(space.name)
			all = append(all,
				Route{Method: "GET", Pattern: pattern, Role: RoleRead, Basic: true,
					Summary: space.what, Produces: mediaBytes, serve: at.get},
				Route{Method: "PUT", Pattern: pattern, Role: RoleSubmit, Basic: true, Shared: true,
					Summary: "store " + space.what, Body: StreamBody, serve: at.put},
				Route{Method: "DELETE", Pattern: pattern, Role: RoleSubmit, Basic: true, Shared: true,
					Summary: "remove " + space.what, serve: at.delete})
		}
	}

	return all
}

// spaceHandler serves the entries of one space by the key and team in the path,
// as Bazel and ccache ask for them.
type spaceHandler struct {
	remote *remoteCacheHandler
	space  pipeline.ToolSpace
}

func (h *remoteCacheHandler) in(space pipeline.ToolSpace) *spaceHandler {
	return &spaceHandler{remote: h, space: space}
}

func (h *spaceHandler) key(c *call) pipeline.ToolKey {
	return pipeline.ToolKey{Space: h.space, Team: c.r.PathValue("team"), Key: c.r.PathValue("key")}
}

func (h *spaceHandler) get(c *call) error { return h.remote.get(c, h.key(c)) }

func (h *spaceHandler) put(c *call) error {
	if err := h.remote.store(c, pipeline.ToolEntry{ToolKey: h.key(c)}); err != nil {
		return err
	}

	c.w.WriteHeader(http.StatusCreated)
	return nil
}

func (h *spaceHandler) delete(c *call) error {
	k := h.key(c)
	if err := k.Check(); err != nil {
		return err
	}
	if err := h.remote.entries.DeleteTool(c.r.Context(), k); err != nil {
		return err
	}

	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// get answers with the bytes of an entry, or for HEAD with their number. They
// have no type but bytes, so that no browser shows them as a page.
func (h *remoteCacheHandler) get(c *call, k pipeline.ToolKey) error {
	if err := k.Check(); err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		return h.head(c, k)
	}

	b, e, err := h.entries.OpenTool(c.r.Context(), k)
	if err != nil {
		return err
	}
	defer b.Close()

	entryHeaders(c, &e)
	etag := e.Digest
	if k.Space != pipeline.ToolContents {
		etag = "" // the key may be put again: no proxy may cache the answer
	}
	return c.serveContent(b, b.Size(), etag)
}

func (h *remoteCacheHandler) head(c *call, k pipeline.ToolKey) error {
	found, err := h.entries.FindTools(c.r.Context(), []pipeline.ToolKey{k})
	switch {
	case err != nil:
		return err
	case found[0] == nil:
		return pipeline.Errorf(pipeline.NotFound, "no entry under %s", k.Key)
	}

	entryHeaders(c, found[0])
	c.w.Header().Set("Content-Length", strconv.FormatInt(found[0].Size, 10))
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func entryHeaders(c *call, e *pipeline.ToolEntry) {
	h := c.w.Header()
	h.Set("Content-Type", mediaBytes)
	if e.Tag != "" {
		h.Set(headerTurboTag, e.Tag)
	}
	if e.Space == pipeline.ToolTurbo {
		h.Set(headerTurboTook, strconv.FormatInt(e.Took.Milliseconds(), 10))
	}
}

// store stores a body as an entry. Bytes that do not match their digest are a
// 422.
func (h *remoteCacheHandler) store(c *call, e pipeline.ToolEntry) error {
	if err := e.Check(); err != nil {
		return err
	}
	if c.r.Header.Get("Content-Range") != "" {
		return invalid("Content-Range: an entry is stored whole")
	}

	body, done, err := openBody(c.r, h.maxEntry)
	if err != nil {
		return err
	}
	defer done()

	in := &bodyReader{r: body}
	return in.failure(h.entries.PutTool(c.r.Context(), e, in))
}

// entryKinds are those of which entries can be listed.
var entryKinds = []string{"", wire.KindBazel, wire.KindTurbo}

func (h *remoteCacheHandler) list(c *call) error {
	q := c.r.URL.Query()
	limit, err := listLimit(q, 100, maxList)
	if err != nil {
		return err
	}
	kind := q.Get("kind")
	if !slices.Contains(entryKinds, kind) {
		return invalid("kind=%.40q: expected %s or %s", kind, wire.KindBazel, wire.KindTurbo)
	}
	var after pipeline.ToolKey
	if cursor := q.Get("cursor"); cursor != "" {
		if after, err = pipeline.ParseToolKey(cursor); err != nil {
			return badCursor(cursor)
		}
	}

	out, err := h.entries.ListTools(c.r.Context(), kind, limit, after)
	if out.Entries == nil {
		out.Entries = []wire.ToolEntry{}
	}
	return c.reply(out, err)
}
