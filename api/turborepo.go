package api

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxTurboEvents bounds Turborepo's report of hits and misses, in bytes.
	maxTurboEvents = 1 << 20
	// maxTurboHashes is how many artifacts one query may name.
	maxTurboHashes = 1000
	// Turborepo's headers beside an artifact.
	headerTurboTag  = "X-Artifact-Tag"
	headerTurboTook = "X-Artifact-Duration"
)

// turboHandler serves entries of remote caches the way Turborepo asks for them.
type turboHandler struct{ remote *remoteCacheHandler }

// routes are the calls of the remote cache of Turborepo.
func (h *turboHandler) routes() []Route {
	teams := []string{"teamId", "slug"}

	return []Route{
		{Method: "GET", Pattern: "/v8/artifacts/{hash}", Role: RoleRead, Basic: true,
			Summary: "an artifact of Turborepo",
			Query:   teams, Produces: mediaBytes, serve: h.get},
		{Method: "PUT", Pattern: "/v8/artifacts/{hash}", Role: RoleSubmit, Basic: true, Shared: true,
			Summary: "store an artifact of Turborepo",
			Body:    StreamBody, Query: teams, Response: doc[wire.TurboStored](), serve: h.put},
		{Method: "POST", Pattern: "/v8/artifacts", Role: RoleRead, Basic: true,
			Summary: "which artifacts of Turborepo exist",
			Body:    LenientBody, Query: teams, Request: doc[wire.TurboQuery](),
			Response: doc[map[string]*wire.TurboArtifact](), serve: h.query},
		{Method: "GET", Pattern: "/v8/artifacts/status", Role: RoleRead, Basic: true,
			Summary: "whether Turborepo may use this cache",
			Query:   teams, Response: doc[wire.TurboStatus](), serve: h.status},
		{Method: "POST", Pattern: "/v8/artifacts/events", Role: RoleRead, Basic: true,
			Summary: "hits and misses of Turborepo; they are not stored",
			Body:    StreamBody, Query: teams, Response: doc[struct{}](), serve: h.events},
	}
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

func (h *turboHandler) status(c *call) error { return c.ok(wire.TurboStatus{Status: "enabled"}) }

func (h *turboHandler) get(c *call) error {
	return h.remote.get(c, turboKey(c.r.URL.Query(), c.r.PathValue("hash")))
}

func (h *turboHandler) put(c *call) error {
	e := pipeline.ToolEntry{
		ToolKey: turboKey(c.r.URL.Query(), c.r.PathValue("hash")),
		Tag:     c.r.Header.Get(headerTurboTag),
	}

	for i := range len(e.Tag) {
		if e.Tag[i] < 0x20 || e.Tag[i] > 0x7e {
			return invalid("%s: expected ASCII", headerTurboTag)
		}
	}
	if len(e.Tag) > pipeline.MaxToolTag {
		return invalid("%s: %d bytes, at most %d are stored", headerTurboTag, len(e.Tag), pipeline.MaxToolTag)
	}

	if text := c.r.Header.Get(headerTurboTook); text != "" {
		ms, err := strconv.ParseUint(text, 10, 40)
		if err != nil {
			return invalid("%s: %.40q: expected a whole number of milliseconds", headerTurboTook, text)
		}
		e.Took = time.Duration(ms) * time.Millisecond
	}

	if err := h.remote.store(c, e); err != nil {
		return err
	}
	c.json(http.StatusAccepted, wire.TurboStored{URLs: []string{c.r.URL.RequestURI()}})
	return nil
}

func (h *turboHandler) query(c *call) error {
	in, err := document[wire.TurboQuery](c)
	if err != nil {
		return err
	}
	if len(in.Hashes) > maxTurboHashes {
		return invalid("hashes: got %d, at most %d can be looked up at once", len(in.Hashes), maxTurboHashes)
	}

	keys := make([]pipeline.ToolKey, len(in.Hashes))
	for i, hash := range in.Hashes {
		keys[i] = turboKey(c.r.URL.Query(), hash)
		if err := keys[i].Check(); err != nil {
			return err
		}
	}

	found, err := h.remote.entries.FindTools(c.r.Context(), keys)
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
	return c.ok(out)
}

// events accepts a report and discards it.
func (h *turboHandler) events(c *call) error {
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
		return invalid("events: expected a JSON array")
	}
	return c.ok(struct{}{})
}
