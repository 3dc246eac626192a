package wire

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// CacheEntry is a cached result.
type CacheEntry struct {
	Key      pipeline.Digest `json:"key"`
	Pipeline string          `json:"pipeline"`
	// Module, Run and Attempt are what made it, on Worker, in DurationSeconds.
	Module          string         `json:"module"`
	Run             pipeline.RunID `json:"run"`
	Attempt         int            `json:"attempt"`
	Worker          string         `json:"worker,omitempty"`
	MadeAt          time.Time      `json:"madeAt"`
	DurationSeconds float64        `json:"durationSeconds"`
	// UsedAt is when it was taken last, or made; Hits how often it was taken.
	UsedAt time.Time `json:"usedAt"`
	Hits   int       `json:"hits"`
	// Bytes are those of output files, log and result.
	Bytes int64 `json:"bytes"`
	Files int   `json:"files"`
}

// CacheList answers GET /api/v1/cache?pipeline=P&limit=N&cursor=C, in the order
// of the keys. Cursor is empty on the last page.
type CacheList struct {
	Entries []CacheEntry `json:"entries"`
	Cursor  string       `json:"cursor,omitempty"`
}

// CacheStats answers GET /api/v1/cache/stats. Hits, misses and what was saved
// count since the cluster began; Bytes are those of all entries, each by itself.
type CacheStats struct {
	Entries      int     `json:"entries"`
	Bytes        int64   `json:"bytes"`
	StateBytes   int64   `json:"stateBytes"`
	Hits         int64   `json:"hits"`
	Misses       int64   `json:"misses"`
	SavedSeconds float64 `json:"savedSeconds"`
	Evicted      int64   `json:"evicted"`
	// Tools counts what other tools keep, by kind; ToolsEvicted those of their
	// entries that went because there were too many.
	Tools        []ToolCount `json:"tools"`
	ToolsEvicted int64       `json:"toolsEvicted"`
}

// CachePrune goes to POST /api/v1/cache/prune and says which cached results
// go: those that were not used for UnusedSeconds, the least recently used beyond
// MaxBytes, or with All every one; of Pipeline only, if that is given. Kind says
// of what: "" is KindResults.
type CachePrune struct {
	Kind          string  `json:"kind,omitempty"`
	Pipeline      string  `json:"pipeline,omitempty"`
	UnusedSeconds float64 `json:"unusedSeconds,omitempty"`
	MaxBytes      *int64  `json:"maxBytes,omitempty"`
	All           bool    `json:"all,omitempty"`
	// DryRun removes nothing.
	DryRun bool `json:"dryRun,omitempty"`
}

// CachePruned says what went.
type CachePruned struct {
	Removed int   `json:"removed"`
	Bytes   int64 `json:"bytes"`
}

// CacheForecast answers POST /api/v1/cache/lookup, whose body is a
// SubmitRequest: what the result cache would do for its modules.
type (
	CacheForecast  = pipeline.CacheForecast
	ModuleForecast = pipeline.ModuleForecast
)
