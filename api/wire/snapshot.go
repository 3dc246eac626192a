package wire

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// SnapshotRestore asks for the state of a snapshot file.
type SnapshotRestore struct {
	// File is the digest of the snapshot file, which was stored as a blob before.
	File pipeline.Digest `json:"file"`
}

// SnapshotRestored says what was restored.
type SnapshotRestored struct {
	// ClusterID is the cluster's own id, From that of the snapshot's.
	ClusterID string    `json:"clusterId"`
	From      string    `json:"fromClusterId"`
	TakenAt   time.Time `json:"takenAt"`
	Runs      int       `json:"runs"`
	Active    int       `json:"activeRuns"`
	Schedules int       `json:"schedules"`
	Secrets   int       `json:"secrets"`
	Tokens    int       `json:"tokens"`
}
