package fsm

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// The buckets. Keys: runs, defs and active by run id; order by number; modules
// by run id, a zero byte and the module's name; the rest by their own ids.
var (
	bMeta    = []byte("meta")
	bRuns    = []byte("runs")
	bOrder   = []byte("order")
	bDefs    = []byte("defs")
	bModules = []byte("modules")
	bActive  = []byte("active")
	bKeys    = []byte("keys")
	bWorkers = []byte("workers")
	bTokens  = []byte("tokens")
	bLocks   = []byte("locks")
	bSecrets = []byte("secrets")

	// Cached results: by key; their use by key; the keys of a module's newest
	// by pipeline, a zero byte and the module's name.
	bCache      = []byte("cache")
	bCacheUse   = []byte("cacheuse")
	bCacheNames = []byte("cachenames")

	// Schedules by name, what they run and what that was compiled from by name, and the
	// queues that runs wait in (queue.go).
	bSchedules       = []byte("schedules")
	bScheduleDefs    = []byte("scheduledefs")
	bScheduleSources = []byte("schedulesources")
	bQueues          = []byte("queues")

	// Runs by the tick of a schedule that they are for (backfill.go).
	bTicks = []byte("ticks")

	// Histories of modules, by pipeline, a zero byte and the module's name.
	bHistory = []byte("history")

	// What happened, in chunks by the index of their last entry (events.go), and the
	// nodes of which it was said, by id (nodes.go).
	bEvents = []byte("events")
	bNodes  = []byte("nodes")

	// Entries of other tools, by space, team and key with zero bytes between; and
	// these keys behind the time at which each was hit last.
	bTools    = []byte("tools")
	bToolAges = []byte("toolages")

	// Webhooks by name, and the events that wait for them (outbox.go).
	bHooks  = []byte("hooks")
	bOutbox = []byte("outbox")
	// Pipelines whose last run that ended has failed: its id (notify.go).
	bFailing = []byte("failing")

	allBuckets = [][]byte{bMeta, bRuns, bOrder, bDefs, bModules, bActive, bKeys, bWorkers, bTokens, bLocks, bCache, bCacheUse, bCacheNames, bSecrets, bHistory,
		bSchedules, bScheduleDefs, bQueues, bTools, bToolAges, bEvents, bNodes, bHooks, bOutbox, bTicks, bScheduleSources, bFailing}

	kIndex  = []byte("index")
	kTerm   = []byte("term")
	kNumber = []byte("number")
	kSteps  = []byte("steps") // how often idempotency keys were aged
	kSwept  = []byte("swept") // the first idempotency key that the next Forget looks at
)

func makeBuckets(tx *bolt.Tx) error {
	for _, b := range allBuckets {
		if _, err := tx.CreateBucketIfNotExists(b); err != nil {
			return err
		}
	}
	return nil
}

func u64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func be64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func moduleKey(run pipeline.RunID, module string) []byte {
	k := make([]byte, 0, len(run)+1+len(module))
	k = append(k, run...)
	k = append(k, 0)
	return append(k, module...)
}

// keyRecord is what an idempotency key leads to.
type keyRecord struct {
	Run         pipeline.RunID  `cbor:"1,keyasint"`
	Fingerprint pipeline.Digest `cbor:"2,keyasint,omitempty"`
	// Step is how many steps all keys had been aged when this one came.
	Step uint64 `cbor:"3,keyasint,omitempty"`
}

// state applies commands to the replicated state, in one transaction per batch.
// Its parts own what they write; they share the transaction. It keeps the rules
// that concern a run and its modules.
type state struct {
	*writer
	runs      *runTable
	queues    *queues
	locks     *locks
	cache     *resultCache
	remote    *remoteCache
	history   *history
	events    *events
	hooks     *hooks
	schedules *schedules
	registry  *registry
	retention *retention
}

func newState(tx *bolt.Tx) *state {
	w := &writer{tx: tx}
	runs := &runTable{writer: w, byID: map[pipeline.RunID]*pipeline.Run{}, dirty: map[pipeline.RunID]bool{}}
	q := &queues{writer: w, runs: runs}
	g := &registry{w}
	h := &hooks{writer: w, runs: runs}
	return &state{
		writer: w, runs: runs, queues: q, locks: &locks{w},
		cache: &resultCache{writer: w}, remote: &remoteCache{writer: w}, history: &history{w}, events: &events{writer: w}, hooks: h,
		schedules: &schedules{writer: w, runs: runs, queues: q, registry: g, hooks: h}, registry: g,
		retention: &retention{writer: w, runs: runs},
	}
}

// flush writes what the parts have kept in memory: runs and counters. It must
// come after the last command of the transaction.
func (st *state) flush() {
	st.cache.flush()
	st.remote.flush()
	st.events.flush()
	st.hooks.flush()
	st.runs.flush()
}

func mustUnmarshal(b []byte, v any) {
	if err := decMode.Unmarshal(b, v); err != nil {
		panic(fmt.Sprintf("fsm: the state holds a record that cannot be read: %v", err))
	}
}
