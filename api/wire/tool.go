package wire

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Kinds of what the cluster keeps so that work is not done again.
const (
	// KindResults are the cached results of modules.
	KindResults = "results"
	// KindBazel is what Bazel and ccache keep, KindTurbo what Turborepo keeps.
	KindBazel = "bazel"
	KindTurbo = "turbo"
)

// KindOfTool says to which kind a space belongs.
func KindOfTool(s pipeline.ToolSpace) string {
	if s == pipeline.ToolTurbo {
		return KindTurbo
	}
	return KindBazel
}

// ToolEntry is what another tool keeps under a key.
type ToolEntry struct {
	Kind   string             `json:"kind"`
	Space  pipeline.ToolSpace `json:"space"`
	Team   string             `json:"team,omitempty"`
	Key    string             `json:"key"`
	Digest pipeline.Digest    `json:"digest"`
	Bytes  int64              `json:"bytes"`
	// StoredAt is exact to the second, TakenAt to an hour.
	StoredAt time.Time `json:"storedAt"`
	TakenAt  time.Time `json:"takenAt"`
}

// ToolList answers GET /api/v1/cache/tools?kind=K&limit=N&cursor=C, in the order
// of the keys. Cursor is empty on the last page.
type ToolList struct {
	Entries []ToolEntry `json:"entries"`
	Cursor  string      `json:"cursor,omitempty"`
}

// ToolCount counts what the tools of one kind keep; Bytes are those of all
// entries, each by itself.
type ToolCount struct {
	Kind    string `json:"kind"`
	Entries int    `json:"entries"`
	Bytes   int64  `json:"bytes"`
}

// TurboStatus answers GET /v8/artifacts/status.
type TurboStatus struct {
	Status string `json:"status"`
}

// TurboStored answers PUT /v8/artifacts/{hash}.
type TurboStored struct {
	URLs []string `json:"urls"`
}

// TurboQuery goes to POST /v8/artifacts.
type TurboQuery struct {
	Hashes []string `json:"hashes"`
}

// TurboArtifact is one answer to it: nothing if there is no such artifact.
type TurboArtifact struct {
	Size           int64  `json:"size"`
	TaskDurationMs int64  `json:"taskDurationMs"`
	Tag            string `json:"tag,omitempty"`
}
