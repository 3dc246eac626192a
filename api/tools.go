package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

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
	// committed. A *NoRoomError if the disk is too full.
	PutTool(ctx context.Context, e pipeline.ToolEntry, r io.Reader) error
	// DeleteTool removes an entry; a missing one is no error.
	DeleteTool(ctx context.Context, k pipeline.ToolKey) error
	// ListTools lists the entries of a kind, or with "" of all kinds, behind the
	// key after: leader, or with stale any node that has the state.
	ListTools(ctx context.Context, kind string, limit int, after pipeline.ToolKey) (wire.ToolList, error)
}

// NoRoomError says that a node takes no more bytes, and why. Its kind is
// pipeline.Unavailable; it is answered with 507.
type NoRoomError struct{ Reason string }

// Error is the reason.
func (e *NoRoomError) Error() string { return e.Reason }

// Unwrap gives the error its kind.
func (e *NoRoomError) Unwrap() error {
	return &pipeline.Error{Kind: pipeline.Unavailable, Message: e.Reason}
}

const (
	// maxTurboEvents bounds a report of what Turborepo hit and missed.
	maxTurboEvents = 1 << 20
	// maxTurboHashes is how many artifacts one question may name.
	maxTurboHashes = 1000
	// Turborepo's headers beside an artifact.
	headerTurboTag  = "X-Artifact-Tag"
	headerTurboTook = "X-Artifact-Duration"
)

// toolRoutes are the faces that other tools' remote caches have: that of Bazel,
// which ccache speaks too, and that of Turborepo.
func toolRoutes() []Route {
	var all []Route
	for _, prefix := range [...]string{"", "/{team}"} {
		for _, face := range [...]struct {
			space pipeline.ToolSpace
			what  string
		}{{pipeline.ToolActions, "what a tool keeps under a key of its own"}, {pipeline.ToolContents, "what a tool keeps under its SHA-256"}} {
			pattern := prefix + "/" + string(face.space) + "/{key}"
			key := func(c *call) pipeline.ToolKey {
				return pipeline.ToolKey{Space: face.space, Team: c.r.PathValue("team"), Key: c.r.PathValue("key")}
			}
			all = append(all,
				Route{Method: "GET", Pattern: pattern, Summary: face.what, Role: RoleRead, Basic: true, Produces: mediaBytes,
					serve: func(s *Server, c *call) error { return s.toolGet(c, key(c)) }},
				Route{Method: "PUT", Pattern: pattern, Summary: "keep " + face.what, Role: RoleSubmit, Basic: true, Body: StreamBody,
					serve: func(s *Server, c *call) error { return s.toolPut(c, pipeline.ToolEntry{ToolKey: key(c)}) }},
				Route{Method: "DELETE", Pattern: pattern, Summary: "remove " + face.what, Role: RoleSubmit, Basic: true,
					serve: func(s *Server, c *call) error { return s.toolDelete(c, key(c)) }})
		}
	}
	teams := []string{"teamId", "slug"}
	return append(all,
		Route{Method: "GET", Pattern: "/v8/artifacts/{hash}", Summary: "an artifact of Turborepo", Role: RoleRead, Basic: true, Query: teams, Produces: mediaBytes,
			serve: (*Server).turboGet},
		Route{Method: "PUT", Pattern: "/v8/artifacts/{hash}", Summary: "keep an artifact of Turborepo", Role: RoleSubmit, Basic: true, Query: teams, Body: StreamBody,
			Response: doc[wire.TurboStored](), serve: (*Server).turboPut},
		Route{Method: "POST", Pattern: "/v8/artifacts", Summary: "which artifacts of Turborepo there are", Role: RoleRead, Basic: true, Query: teams, Body: LenientBody,
			Request: doc[wire.TurboQuery](), Response: doc[map[string]*wire.TurboArtifact](), serve: (*Server).turboQuery},
		Route{Method: "GET", Pattern: "/v8/artifacts/status", Summary: "whether Turborepo may use this cache", Role: RoleRead, Basic: true, Query: teams,
			Response: doc[wire.TurboStatus](), serve: func(s *Server, c *call) error { return s.ok(c, wire.TurboStatus{Status: "enabled"}) }},
		Route{Method: "POST", Pattern: "/v8/artifacts/events", Summary: "what Turborepo hit and missed; it is not kept", Role: RoleRead, Basic: true, Query: teams, Body: StreamBody,
			Response: doc[struct{}](), serve: (*Server).turboEvents},
		Route{Method: "GET", Pattern: "/api/v1/cache/tools", Summary: "what other tools keep", Role: RoleRead, Where: OnLeader, Stale: true,
			Query: []string{"kind", "limit", "cursor", "stale"}, Response: doc[wire.ToolList](), serve: (*Server).toolList})
}

// toolGet answers with the bytes, or for HEAD with their number. Whatever a tool
// said they are, they are sent as bytes: no browser shows them as a page.
func (s *Server) toolGet(c *call, k pipeline.ToolKey) error {
	if err := k.Check(); err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		found, err := s.cfg.RemoteCache.FindTools(c.r.Context(), []pipeline.ToolKey{k})
		switch {
		case err != nil:
			return err
		case found[0] == nil:
			return pipeline.Errorf(pipeline.NotFound, "nothing is kept under %s", k.Key)
		}
		toolHeaders(c, found[0])
		c.w.Header().Set("Content-Length", strconv.FormatInt(found[0].Size, 10))
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
	b, e, err := s.cfg.RemoteCache.OpenTool(c.r.Context(), k)
	if err != nil {
		return err
	}
	defer b.Close()
	toolHeaders(c, &e)
	etag := e.Digest
	if k.Space != pipeline.ToolContents {
		etag = "" // another put may follow: nothing between may keep the answer
	}
	return s.serveContent(c, b, b.Size(), etag)
}

func toolHeaders(c *call, e *pipeline.ToolEntry) {
	h := c.w.Header()
	h.Set("Content-Type", mediaBytes)
	if e.Tag != "" {
		h.Set(headerTurboTag, e.Tag)
	}
	if e.Space == pipeline.ToolTurbo {
		h.Set(headerTurboTook, strconv.FormatInt(e.Took.Milliseconds(), 10))
	}
}

// storeTool keeps a body. Bytes that are not those of their digest are a 422.
func (s *Server) storeTool(c *call, e pipeline.ToolEntry) error {
	if err := e.Check(); err != nil {
		return err
	}
	if c.r.Header.Get("Content-Range") != "" {
		return invalid("Content-Range: an entry is put whole")
	}
	body, done, err := openBody(c.r, s.cfg.MaxTool)
	if err != nil {
		return err
	}
	defer done()
	in := &bodyReader{r: body}
	err = s.cfg.RemoteCache.PutTool(c.r.Context(), e, in)
	switch {
	case in.err != nil: // what the store says of it is less exact
		return in.err
	case err != nil && kindOf(err) == pipeline.Invalid:
		return &statusError{http.StatusUnprocessableEntity, err}
	}
	return err
}

func (s *Server) toolPut(c *call, e pipeline.ToolEntry) error {
	if err := s.storeTool(c, e); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *Server) toolDelete(c *call, k pipeline.ToolKey) error {
	if err := k.Check(); err != nil {
		return err
	}
	if err := s.cfg.RemoteCache.DeleteTool(c.r.Context(), k); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// turboKey names an artifact. A team is known by its id or by its name in
// addresses; a client gives the same one each time.
func turboKey(q url.Values, hash string) pipeline.ToolKey {
	team := q.Get("teamId")
	if team == "" {
		team = q.Get("slug")
	}
	return pipeline.ToolKey{Space: pipeline.ToolTurbo, Team: team, Key: hash}
}

func (s *Server) turboGet(c *call) error {
	return s.toolGet(c, turboKey(c.r.URL.Query(), c.r.PathValue("hash")))
}

func (s *Server) turboPut(c *call) error {
	e := pipeline.ToolEntry{ToolKey: turboKey(c.r.URL.Query(), c.r.PathValue("hash")), Tag: c.r.Header.Get(headerTurboTag)}
	for i := range len(e.Tag) {
		if e.Tag[i] < 0x20 || e.Tag[i] > 0x7e {
			return invalid("%s: want ASCII", headerTurboTag)
		}
	}
	if len(e.Tag) > pipeline.MaxToolTag {
		return invalid("%s: %d bytes; at most %d are kept", headerTurboTag, len(e.Tag), pipeline.MaxToolTag)
	}
	if text := c.r.Header.Get(headerTurboTook); text != "" {
		ms, err := strconv.ParseUint(text, 10, 40)
		if err != nil {
			return invalid("%s: %.40q: want a whole number of milliseconds", headerTurboTook, text)
		}
		e.Took = time.Duration(ms) * time.Millisecond
	}
	if err := s.storeTool(c, e); err != nil {
		return err
	}
	s.writeJSON(c, http.StatusAccepted, "application/json", wire.TurboStored{URLs: []string{c.r.URL.RequestURI()}})
	return nil
}

func (s *Server) turboQuery(c *call) error {
	in, err := document[wire.TurboQuery](c)
	if err != nil {
		return err
	}
	if len(in.Hashes) > maxTurboHashes {
		return invalid("hashes: %d of them; at most %d are looked for at once", len(in.Hashes), maxTurboHashes)
	}
	keys := make([]pipeline.ToolKey, len(in.Hashes))
	for i, hash := range in.Hashes {
		keys[i] = turboKey(c.r.URL.Query(), hash)
		if err := keys[i].Check(); err != nil {
			return err
		}
	}
	found, err := s.cfg.RemoteCache.FindTools(c.r.Context(), keys)
	if err != nil {
		return err
	}
	out := make(map[string]*wire.TurboArtifact, len(found))
	for i, e := range found {
		out[keys[i].Key] = nil
		if e != nil {
			out[keys[i].Key] = &wire.TurboArtifact{Size: e.Size, TaskDurationMs: e.Took.Milliseconds(), Tag: e.Tag}
		}
	}
	return s.ok(c, out)
}

// turboEvents takes a report and forgets it.
func (s *Server) turboEvents(c *call) error {
	body, done, err := openBody(c.r, maxTurboEvents)
	if err != nil {
		return err
	}
	defer done()
	raw, err := io.ReadAll(body) // bounded by openBody
	if err != nil {
		return bodyError(err)
	}
	if !json.Valid(raw) {
		return invalid("events: want a JSON array")
	}
	return s.ok(c, struct{}{})
}

// toolKinds are those of which entries can be listed.
var toolKinds = []string{"", wire.KindBazel, wire.KindTurbo}

func (s *Server) toolList(c *call) error {
	q := c.r.URL.Query()
	limit, err := listLimit(q)
	if err != nil {
		return err
	}
	kind := q.Get("kind")
	if !slices.Contains(toolKinds, kind) {
		return invalid("kind=%.40q: want %s or %s", kind, wire.KindBazel, wire.KindTurbo)
	}
	var after pipeline.ToolKey
	if cursor := q.Get("cursor"); cursor != "" {
		if after, err = pipeline.ParseToolKey(cursor); err != nil {
			return invalid("cursor %.80q: use the one of the page before", cursor)
		}
	}
	out, err := s.cfg.RemoteCache.ListTools(c.r.Context(), kind, limit, after)
	if out.Entries == nil {
		out.Entries = []wire.ToolEntry{}
	}
	return okOr(s, c, out, err)
}
