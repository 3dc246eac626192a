package fsm

import (
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/pipelined/pipelined/pipeline"
)

// Version is the newest version of the command encoding that this binary
// writes and reads.
const Version = 4

// MaxCommandBytes bounds one encoded command (reliability P17).
const MaxCommandBytes = 256 << 10

// Command is one entry of the log. Exactly one of the pointers is set.
type Command struct {
	Version uint8     `cbor:"1,keyasint"`
	At      time.Time `cbor:"2,keyasint"` // the proposer's clock
	Submit  *Submit   `cbor:"3,keyasint,omitempty"`
	Batch   *Batch    `cbor:"4,keyasint,omitempty"`
	Cancel  *Cancel   `cbor:"5,keyasint,omitempty"`
	Worker  *Worker   `cbor:"6,keyasint,omitempty"`
	Token   *Token    `cbor:"7,keyasint,omitempty"`
	Forget  *Forget   `cbor:"8,keyasint,omitempty"`
	Retry   *Retry    `cbor:"9,keyasint,omitempty"`

	Schedule *ScheduleChange `cbor:"30,keyasint,omitempty"`
	Fire     *Fire           `cbor:"31,keyasint,omitempty"`
	Decide   *Decide         `cbor:"22,keyasint,omitempty"`
	// Spawn makes a run for a module.
	Spawn  *Spawn  `cbor:"25,keyasint,omitempty"`
	Secret *Secret `cbor:"21,keyasint,omitempty"`
	// CacheDelete removes cached results.
	CacheDelete *CacheDelete `cbor:"20,keyasint,omitempty"`
	// Expire deletes bytes of runs, Pin keeps a run whole.
	Expire *Expire `cbor:"23,keyasint,omitempty"`
	Pin    *Pin    `cbor:"24,keyasint,omitempty"`
	// Tools changes the cache of other tools.
	Tools *Tools `cbor:"40,keyasint,omitempty"`
	// Lead begins a term of a leader.
	Lead *Lead `cbor:"41,keyasint,omitempty"`
	// Nodes says how members of the cluster are.
	Nodes *Nodes `cbor:"44,keyasint,omitempty"`
	// Damage says what a node found damaged and repaired.
	Damage *Damage `cbor:"45,keyasint,omitempty"`
	// Hook changes a webhook, Deliver records what came of sending events.
	Hook    *Hook    `cbor:"42,keyasint,omitempty"`
	Deliver *Deliver `cbor:"43,keyasint,omitempty"`
	// By is who asked for it; "" is the cluster itself.
	By string `cbor:"50,keyasint,omitempty"`

	// Use is the id of a token with a number of uses, of which a Submit, Retry, Fire or
	// Worker takes one if it is accepted and no repeat; "" takes none.
	Use string `cbor:"60,keyasint,omitempty"`
}

// Submit makes a run exist. A key that is known answers with the run it made.
type Submit struct {
	Run pipeline.Run `cbor:"1,keyasint"`
	// Definition is the pipeline as EncodeDefinition makes it.
	Definition []byte `cbor:"2,keyasint"`
	// Fingerprint is the digest of the request: the same key with another
	// fingerprint is a conflict.
	Fingerprint pipeline.Digest `cbor:"3,keyasint,omitempty"`
	// Take names modules and instances of the run of Run.RetryOf, all of which have
	// succeeded: their results are taken over. Tries is that run's, so that it is
	// refused if the run was retried meanwhile.
	Take  []string `cbor:"4,keyasint,omitempty"`
	Tries int      `cbor:"5,keyasint,omitempty"`
}

// Batch is what the orchestrator decided at one moment: outcomes that came in
// and what follows from them. What modules became is applied before what it makes
// possible (state.applyBatch); each part is accepted or refused by itself.
type Batch struct {
	Starts   []Start   `cbor:"1,keyasint,omitempty"`
	Outcomes []Outcome `cbor:"2,keyasint,omitempty"`
	Ends     []End     `cbor:"3,keyasint,omitempty"`
	Assigns  []Assign  `cbor:"4,keyasint,omitempty"`
	Runs     []RunEnd  `cbor:"5,keyasint,omitempty"`
	Copies   []Copies  `cbor:"6,keyasint,omitempty"`
	Reopens  []Reopen  `cbor:"7,keyasint,omitempty"`
	// Expands come before Ends and Assigns.
	Expands []Expand `cbor:"8,keyasint,omitempty"`
	// Awaits and Decides are of approvals. Decides come before Ends, and Awaits, which
	// may need both, before Assigns.
	Awaits  []Await  `cbor:"20,keyasint,omitempty"`
	Decides []Decide `cbor:"21,keyasint,omitempty"`
}

// Expand ends a module with a deferred for_each by replacing it with its
// instances: each instance is a module of the run from then on. Refused unless
// the module waits and every module of Needs has ended.
type Expand struct {
	Run       pipeline.RunID      `cbor:"1,keyasint"`
	Module    string              `cbor:"2,keyasint"`
	Instances []pipeline.Instance `cbor:"3,keyasint,omitempty"`
	Needs     []string            `cbor:"4,keyasint,omitempty"`
}

// Start records that an attempt's process runs.
type Start struct {
	ID pipeline.AttemptID `cbor:"1,keyasint"`
	At time.Time          `cbor:"2,keyasint"`
}

// Outcome ends an attempt. Next is what becomes of its module: a final state,
// or waiting, not before NotBefore.
type Outcome struct {
	Outcome   pipeline.Outcome     `cbor:"1,keyasint"`
	Next      pipeline.ModuleState `cbor:"2,keyasint"`
	Reason    string               `cbor:"3,keyasint,omitempty"`
	NotBefore time.Time            `cbor:"4,keyasint,omitempty"`
	// Ignored marks a failure that leaves its run succeeded with warnings.
	Ignored bool `cbor:"5,keyasint,omitempty"`
}

// End ends a module that has no live attempt: skipped, cancelled, failed or
// cached.
type End struct {
	Run    pipeline.RunID       `cbor:"1,keyasint"`
	Module string               `cbor:"2,keyasint"`
	State  pipeline.ModuleState `cbor:"3,keyasint"`
	Reason string               `cbor:"4,keyasint,omitempty"`
	// Ignored marks a failure that leaves its run succeeded with warnings.
	Ignored bool `cbor:"5,keyasint,omitempty"`
	// Blocked marks one that is skipped because another failed or was cancelled.
	Blocked bool `cbor:"6,keyasint,omitempty"`
	// Cache names the cached result that a module hit. Refused if
	// that is gone or another by then.
	Cache *CacheHit `cbor:"16,keyasint,omitempty"`
}

// CacheHit names a cached result: its key, and the attempt that produced it.
type CacheHit struct {
	Key  pipeline.Digest    `cbor:"1,keyasint"`
	From pipeline.AttemptID `cbor:"2,keyasint"`
	// Needs are modules that must have succeeded, as those of Assign.
	Needs []string `cbor:"3,keyasint,omitempty"`
}

// Assign creates a module's next attempt on a worker. It is refused unless
// Attempt is the next number, the module waits, the run is live, and every
// module of Needs has succeeded (those whose outcome was not yet applied when
// this was proposed: if the outcome is refused, so is the assignment).
type Assign struct {
	ID          pipeline.AttemptID  `cbor:"1,keyasint"`
	Worker      pipeline.NodeID     `cbor:"2,keyasint"`
	WorkerName  string              `cbor:"3,keyasint"`
	Incarnation string              `cbor:"4,keyasint,omitempty"`
	Evaluated   *pipeline.Evaluated `cbor:"5,keyasint,omitempty"`
	Needs       []string            `cbor:"6,keyasint,omitempty"`
	// Predecessor is the attempt behind which the worker queues this one.
	Predecessor *pipeline.AttemptID `cbor:"7,keyasint,omitempty"`
	// Locks are keys that the attempt holds until it ends. The assignment is refused
	// if one of them has as many holders as one of these, or this one, allows:
	// LockHolders, or 1 for a key that it does not have.
	Locks       []string       `cbor:"8,keyasint,omitempty"`
	LockHolders map[string]int `cbor:"11,keyasint,omitempty"`
	// Always marks a module that runs although its run is being cancelled.
	Always bool `cbor:"9,keyasint,omitempty"`
	// NotFailed marks a module for which those of Needs need not have succeeded: that
	// they were skipped, or failed with a failure that is ignored, is enough.
	NotFailed bool `cbor:"10,keyasint,omitempty"`
	// Cache is set if the result should be cached when it succeeds.
	Cache *pipeline.CacheLookup `cbor:"16,keyasint,omitempty"`
	// LocalBytes is how many bytes more of its inputs the worker has than a less
	// busy one, if that decided the placement.
	LocalBytes int64 `cbor:"17,keyasint,omitempty"`
	// Waited is what the module waited for until now; "" if it did not.
	Waited string `cbor:"18,keyasint,omitempty"`
}

// RunEnd ends a run; refused while a module of it is not final.
type RunEnd struct {
	Run    pipeline.RunID    `cbor:"1,keyasint"`
	State  pipeline.RunState `cbor:"2,keyasint"`
	Reason string            `cbor:"3,keyasint,omitempty"`
}

// Reopen makes a module that succeeded wait again, because what it left is
// gone everywhere. Its attempts stay in the history. Attempt is the one whose
// outputs are gone: if another has succeeded since, nothing is lost and the
// reopening is refused. 0 means whichever was last.
type Reopen struct {
	Run     pipeline.RunID `cbor:"1,keyasint"`
	Module  string         `cbor:"2,keyasint"`
	Reason  string         `cbor:"3,keyasint"`
	Attempt int            `cbor:"4,keyasint,omitempty"`
}

// Copies records which nodes have the log and outputs of an attempt (repair).
type Copies struct {
	ID      pipeline.AttemptID `cbor:"1,keyasint"`
	Holders []pipeline.NodeID  `cbor:"2,keyasint"`
}

// Cancel requests the end of a run. The orchestrator carries it out. A second
// one, of a run that is being cancelled, forces it: modules that always run are
// stopped too.
type Cancel struct {
	Run    pipeline.RunID `cbor:"1,keyasint"`
	Reason string         `cbor:"2,keyasint,omitempty"`
	// TimedOut says that the run's time limit has passed: it ends as failed. Refused if
	// Tries is not the run's, and without effect on one that is being cancelled.
	TimedOut bool `cbor:"3,keyasint,omitempty"`
	Tries    int  `cbor:"4,keyasint,omitempty"`
	// Request is the id of the caller's request, so that a repeat of it does not
	// count as a second cancellation; "" forces nothing.
	Request string `cbor:"5,keyasint,omitempty"`
	// Parent says that the run of the module that made the run asks for it.
	Parent bool `cbor:"6,keyasint,omitempty"`
}

// Retry resumes a finished run: the modules that are named wait again,
// with fresh budgets; what they did stays in their history. Refused if the
// run is not over, or a name is a module that has not ended. Tries is the run's
// before, so that a repeat changes nothing.
type Retry struct {
	Run     pipeline.RunID `cbor:"1,keyasint"`
	Modules []string       `cbor:"2,keyasint"`
	Tries   int            `cbor:"3,keyasint"`
	// Request is the id of the caller's request: one that is known changes
	// nothing. "" is none.
	Request string `cbor:"4,keyasint,omitempty"`
}

// maxRetryKeys is how many requests a run remembers.
const maxRetryKeys = 8

// Worker sets or removes the record of a node or an external worker.
type Worker struct {
	Record WorkerRecord `cbor:"1,keyasint"`
	Delete bool         `cbor:"2,keyasint,omitempty"`
	// Only names what is changed of an existing record: "drain" and "away" set their
	// fields; "stop" drains until "back", unless an operator does already, and sets the
	// deadline if it has one; "evacuated" notes that of a node that drains; "back" ends
	// what "stop", "away" and "evacuated" began; "" sets all of it.
	Only string `cbor:"3,keyasint,omitempty"`
}

// WorkerRecord is the record of a worker: for a member what its operator asked
// for, for an external worker all of it.
type WorkerRecord struct {
	ID   pipeline.NodeID `cbor:"1,keyasint"`
	Name string          `cbor:"2,keyasint,omitempty"`
	// Draining workers get nothing new.
	Draining bool `cbor:"3,keyasint,omitempty"`
	// DrainDeadline is when what still runs is stopped; zero: never.
	DrainDeadline time.Time `cbor:"4,keyasint,omitempty"`
	// UntilBack says that the node began the drain because it stops or leaves: it ends when
	// the node is back or stays, also if the node was killed meanwhile.
	UntilBack bool `cbor:"16,keyasint,omitempty"`
	// Evacuated says that the node leaves, and that the others have enough copies of all
	// that it has: its own count no more.
	Evacuated bool `cbor:"17,keyasint,omitempty"`
	// AwayUntil lengthens lease and grace of a daemon that restarts.
	AwayUntil time.Time `cbor:"5,keyasint,omitempty"`
	// The rest is of outside workers.
	External     bool                  `cbor:"6,keyasint,omitempty"`
	Endpoint     string                `cbor:"7,keyasint,omitempty"`
	Secret       string                `cbor:"8,keyasint,omitempty"`
	Token        string                `cbor:"9,keyasint,omitempty"`
	Capabilities pipeline.Capabilities `cbor:"10,keyasint,omitempty"`
	Since        time.Time             `cbor:"11,keyasint,omitempty"`
	Incarnation  string                `cbor:"12,keyasint,omitempty"`
	// NoSecrets and Pipelines are its token's (TokenRecord).
	NoSecrets bool     `cbor:"13,keyasint,omitempty"`
	Pipelines []string `cbor:"14,keyasint,omitempty"`
	// Loopback allows an endpoint on loopback: the worker registered from there.
	Loopback bool `cbor:"15,keyasint,omitempty"`
}

// Token adds or removes a token. The token itself is never here. Adding one
// that is there with the same hash changes nothing. With a token go the external
// workers that registered with it.
type Token struct {
	Record TokenRecord `cbor:"1,keyasint"`
	Delete bool        `cbor:"2,keyasint,omitempty"`
	// Exchange is the id of the code that the token is made for. It is removed, and
	// refused if it is not there or has expired.
	Exchange string `cbor:"3,keyasint,omitempty"`
}

// TokenRecord is the record of a token. Hash is the SHA-256 of the whole token.
type TokenRecord struct {
	ID        string    `cbor:"1,keyasint"`
	Name      string    `cbor:"2,keyasint,omitempty"`
	Role      string    `cbor:"3,keyasint"`
	Hash      []byte    `cbor:"4,keyasint"`
	CreatedAt time.Time `cbor:"5,keyasint"`
	ExpiresAt time.Time `cbor:"6,keyasint,omitempty"`
	CreatedBy string    `cbor:"7,keyasint,omitempty"`
	// Untrusted submissions leave nothing in caches that others read.
	Untrusted bool `cbor:"20,keyasint,omitempty"`
	// Uses is how many runs the token may begin, or workers may register with it; 0 is
	// any number. Used of them are taken.
	Uses int `cbor:"21,keyasint,omitempty"`
	Used int `cbor:"22,keyasint,omitempty"`
	// The rest is of the role worker. Tags are what its workers may claim, Pipelines
	// are patterns of whose modules they get; nil is any. Secrets allows modules that
	// have secrets.
	Tags      []string `cbor:"8,keyasint,omitempty"`
	Pipelines []string `cbor:"9,keyasint,omitempty"`
	Secrets   bool     `cbor:"10,keyasint,omitempty"`
	// SignIn marks what a browser signs in with: with Code the code, which is valid
	// once and is no token, else the token. Parent is the token of who made the code,
	// with which it is revoked; "" for a caller who had none.
	SignIn bool   `cbor:"11,keyasint,omitempty"`
	Code   bool   `cbor:"12,keyasint,omitempty"`
	Parent string `cbor:"13,keyasint,omitempty"`
}

// Secret sets or removes a secret of the cluster. Its value is sealed before it
// comes here, by the node that took it. Setting one that is there replaces it.
type Secret struct {
	Record SecretRecord `cbor:"1,keyasint"`
	Delete bool         `cbor:"2,keyasint,omitempty"`
}

// SecretRecord is the record of a secret.
type SecretRecord struct {
	Name string `cbor:"1,keyasint"`
	// Sealed is the value under a key that follows from the cluster key.
	Sealed []byte    `cbor:"2,keyasint,omitempty"`
	SetAt  time.Time `cbor:"3,keyasint"`
	SetBy  string    `cbor:"4,keyasint,omitempty"`
	// Unmasked says that the value is too short to be masked.
	Unmasked bool `cbor:"5,keyasint,omitempty"`
}

// Forget removes finished runs with all that hangs on them. The proposer keeps the
// list of runs short.
//
// With KeyLife it also ages the idempotency keys by one step, and removes those that
// have seen so many steps. Their age is counted, not read from clocks: they may
// differ from one leader to the next. One command looks at a part of the keys and
// the next one continues from there.
type Forget struct {
	Runs    []pipeline.RunID `cbor:"1,keyasint,omitempty"`
	KeyLife uint64           `cbor:"2,keyasint,omitempty"`
}

// SubmitResult answers Submit.
type SubmitResult struct {
	Run      pipeline.Run
	Repeated bool
	Err      error
}

// BatchResult answers Batch: refusals only, by part and position.
type BatchResult struct {
	Refused []Refusal
}

// Part names a field of Batch.
type Part uint8

// The parts of a batch.
const (
	PartStart Part = iota
	PartOutcome
	PartEnd
	PartAssign
	PartRun
	PartCopies
	PartReopen
	PartExpand
	PartAwait
	PartDecide
)

// Refusal says that one element of a batch did not take effect and why.
// Duplicate marks one that had taken effect before.
type Refusal struct {
	Part      Part
	At        int
	Reason    string
	Duplicate bool
}

// Result answers the other commands; Err is a *pipeline.Error or nil.
type Result struct {
	Run pipeline.Run
	Err error
}

// Times are texts in UTC, so that they decode to the same value on every
// machine. Strings are bytes: a reason or a path that is not UTF-8 was written
// without an error and must not stop its readers.
var (
	encMode = mustEnc(cbor.EncOptions{Sort: cbor.SortBytewiseLexical, Time: cbor.TimeRFC3339NanoUTC, TimeTag: cbor.EncTagNone})
	decMode = mustDec(cbor.DecOptions{MaxNestedLevels: 16, MaxArrayElements: 1 << 16, MaxMapPairs: 1 << 16,
		DupMapKey: cbor.DupMapKeyEnforcedAPF, UTF8: cbor.UTF8DecodeInvalid})
)

func mustEnc(o cbor.EncOptions) cbor.EncMode {
	m, err := o.EncMode()
	if err != nil {
		panic(err)
	}
	return m
}

func mustDec(o cbor.DecOptions) cbor.DecMode {
	m, err := o.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}

// Encode returns the bytes of a command for the log. The caller sets all fields
// but Version. A time beyond the years 0 to 9999, which no text can hold,
// becomes the zero time in c too. The error has kind TooLarge beyond
// MaxCommandBytes, and kind Invalid unless exactly one of the pointers is set.
func Encode(c *Command) ([]byte, error) {
	if n := c.parts(); n != 1 {
		return nil, pipeline.Errorf(pipeline.Invalid, "a command of %d parts: expected one", n)
	}
	c.Version = Version
	c.eachTime(keepable)
	b, err := encMode.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode command: %w", err)
	}
	if len(b) > MaxCommandBytes {
		return nil, pipeline.Errorf(pipeline.TooLarge, "command of %d bytes: at most %d", len(b), MaxCommandBytes)
	}
	return b, nil
}

// Decode reads a command. An error means that this version must stop.
func Decode(b []byte) (*Command, error) {
	var c Command
	if err := decMode.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("decode command: %w", err)
	}
	if c.Version == 0 || c.Version > Version {
		return nil, fmt.Errorf("command version %d: this binary knows up to %d; upgrade this node", c.Version, Version)
	}
	c.eachTime(keepable)
	return &c, nil
}

func (c *Command) parts() int {
	n := 0
	for _, set := range [...]bool{c.Submit != nil, c.Batch != nil, c.Cancel != nil, c.Worker != nil, c.Token != nil, c.Forget != nil, c.Retry != nil, c.CacheDelete != nil, c.Secret != nil, c.Decide != nil, c.Schedule != nil, c.Fire != nil, c.Expire != nil, c.Pin != nil, c.Tools != nil, c.Lead != nil, c.Nodes != nil, c.Damage != nil,
		c.Hook != nil, c.Deliver != nil, c.Spawn != nil} {
		if set {
			n++
		}
	}
	return n
}

// keepable drops a time that cannot be written. Every time of a command passes
// through it on the way in and on the way out, so that no record of the state
// can fail to be written.
func keepable(t *time.Time) {
	if y := t.UTC().Year(); y < 0 || y > 9999 {
		*t = time.Time{}
	}
}

// eachTime calls fn with every time of the command.
func (c *Command) eachTime(fn func(*time.Time)) {
	fn(&c.At)
	if s := c.Submit; s != nil {
		eachTimeOf(&s.Run, fn)
	}

	if b := c.Batch; b != nil {
		for i := range b.Starts {
			fn(&b.Starts[i].At)
		}
		for i := range b.Outcomes {
			o := &b.Outcomes[i]
			fn(&o.NotBefore)
			fn(&o.Outcome.StartedAt)
			fn(&o.Outcome.FinishedAt)
		}
		for i := range b.Awaits {
			fn(&b.Awaits[i].Deadline)
		}
	}

	if w := c.Worker; w != nil {
		fn(&w.Record.DrainDeadline)
		fn(&w.Record.AwayUntil)
		fn(&w.Record.Since)
	}

	if t := c.Token; t != nil {
		fn(&t.Record.CreatedAt)
		fn(&t.Record.ExpiresAt)
	}

	if s := c.Schedule; s != nil {
		fn(&s.Record.RegisteredAt)
		fn(&s.Record.Next)
		fn(&s.Record.Last)
		for i := range s.Record.Ticks {
			fn(&s.Record.Ticks[i].Tick)
			fn(&s.Record.Ticks[i].At)
		}
	}

	if s := c.Spawn; s != nil {
		eachTimeOf(&s.Child, fn)
	}

	if f := c.Fire; f != nil {
		fn(&f.Due)
		fn(&f.Tick)
		fn(&f.Next)
	}

	if x := c.Secret; x != nil {
		fn(&x.Record.SetAt)
	}

	if h := c.Hook; h != nil {
		fn(&h.Record.CreatedAt)
		fn(&h.Record.OldUntil)
	}
	if d := c.Deliver; d != nil {
		for i := range d.Results {
			fn(&d.Results[i].At)
			fn(&d.Results[i].Next)
		}
	}
}

func eachTimeOf(r *pipeline.Run, fn func(*time.Time)) {
	fn(&r.SubmittedAt)
	fn(&r.StartedAt)
	fn(&r.FinishedAt)
	fn(&r.RetriedAt)
	fn(&r.Tick)
}
