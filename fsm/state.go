package fsm

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

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

	// Recorded results: by key; their use by key; the keys of a module's newest
	// by pipeline, a zero byte and the module's name.
	bCache      = []byte("cache")
	bCacheUse   = []byte("cacheuse")
	bCacheNames = []byte("cachenames")

	// Schedules by name, what they run by name, and the lines that runs wait in
	// (queue.go).
	bSchedules    = []byte("schedules")
	bScheduleDefs = []byte("scheduledefs")
	bQueues       = []byte("lines")

	// Histories of modules, by pipeline, a zero byte and the module's name.
	bHistory = []byte("history")

	// Entries of other tools, by space, team and key with zero bytes between; and
	// these keys behind the time at which each was taken last.
	bTools    = []byte("tools")
	bToolAges = []byte("toolages")

	allBuckets = [][]byte{bMeta, bRuns, bOrder, bDefs, bModules, bActive, bKeys, bWorkers, bTokens, bLocks, bCache, bCacheUse, bCacheNames, bSecrets, bHistory,
		bSchedules, bScheduleDefs, bQueues, bTools, bToolAges}

	kIndex  = []byte("index")
	kTerm   = []byte("term")
	kNumber = []byte("number")
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
	At          time.Time       `cbor:"3,keyasint"`
}

// state is a write transaction with what it has read, so that a batch reads
// and writes each run once.
type state struct {
	tx    *bolt.Tx
	index uint64
	at    time.Time // of the command that is applied
	runs  map[pipeline.RunID]*pipeline.Run
	dirty map[pipeline.RunID]bool
	// changes lists the records that were written.
	changes []moduleChange
	// cache holds the counters of the recorded results, once something asked for
	// them.
	cache *pipeline.CacheStats
	// tools holds those of other tools' entries likewise.
	tools *pipeline.ToolStats
}

func newState(tx *bolt.Tx) *state {
	return &state{tx: tx, runs: map[pipeline.RunID]*pipeline.Run{}, dirty: map[pipeline.RunID]bool{}}
}

// run gives a run for change; nil where there is none. Call touch after it.
func (s *state) run(id pipeline.RunID) *pipeline.Run {
	if r, ok := s.runs[id]; ok {
		return r
	}
	var r *pipeline.Run
	if b := s.tx.Bucket(bRuns).Get([]byte(id)); b != nil {
		r = new(pipeline.Run)
		mustUnmarshal(b, r)
	}
	s.runs[id] = r
	return r
}

func (s *state) touch(r *pipeline.Run) {
	r.Index = s.index
	s.runs[r.ID] = r
	s.dirty[r.ID] = true
}

// module gives the record of a module; one that nothing has happened to yet
// waits and has no record in the file.
func (s *state) module(run pipeline.RunID, name string) *pipeline.ModuleRecord {
	m := &pipeline.ModuleRecord{Name: name, State: pipeline.ModuleWaiting}
	if b := s.tx.Bucket(bModules).Get(moduleKey(run, name)); b != nil {
		mustUnmarshal(b, m)
	}
	return m
}

func (s *state) putModule(run pipeline.RunID, m *pipeline.ModuleRecord) {
	m.Index = s.index
	s.put(bModules, moduleKey(run, m.Name), m)
	s.changes = append(s.changes, moduleChange{run: run, module: m.Name, index: s.index})
}

// flush writes the runs and the counters that changed.
func (s *state) flush() {
	if s.cache != nil {
		s.put(bMeta, kCache, s.cache)
	}
	if s.tools != nil {
		s.put(bMeta, kTools, s.tools)
	}
	// Sorted: every replica makes the same writes in the same order.
	for _, id := range slices.Sorted(maps.Keys(s.dirty)) {
		r := s.runs[id]
		s.put(bRuns, []byte(id), r)
		if r.State.Final() {
			s.del(bActive, []byte(id))
		}
	}
}

// put and del panic on an error of the file: a replica that cannot apply must
// stop.
func (s *state) put(bucket, key []byte, v any) {
	b, err := encMode.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("fsm: encode %s record: %v", bucket, err))
	}
	s.putRaw(bucket, key, b)
}

func (s *state) putRaw(bucket, key, b []byte) {
	if err := s.tx.Bucket(bucket).Put(key, b); err != nil {
		panic(fmt.Sprintf("fsm: write %s at index %d: %v", bucket, s.index, err))
	}
}

func (s *state) del(bucket, key []byte) {
	if err := s.tx.Bucket(bucket).Delete(key); err != nil {
		panic(fmt.Sprintf("fsm: delete from %s at index %d: %v", bucket, s.index, err))
	}
}

func mustUnmarshal(b []byte, v any) {
	if err := decMode.Unmarshal(b, v); err != nil {
		panic(fmt.Sprintf("fsm: the state holds a record that cannot be read: %v", err))
	}
}
