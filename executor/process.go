package executor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Process is what to start. The caller has made Dir and WorkDir.
type Process struct {
	// ID is never used again (pipeline.AttemptID.String()): a runner never
	// starts the same ID twice.
	ID string `cbor:"1,keyasint"`
	// Dir is the attempt's directory. The runner creates output.log in it when
	// the first byte of output comes, never before.
	Dir string `cbor:"2,keyasint"`
	// WorkDir is the process's working directory.
	WorkDir string `cbor:"3,keyasint"`
	// Argv is the command. Without a slash its first word is looked up in the
	// PATH of Env; a relative path is relative to WorkDir.
	Argv []string `cbor:"4,keyasint"`
	// Env is the complete environment, as environ.Build makes it. The runner adds
	// its cookie (CookieVariable) and nothing else.
	Env []string `cbor:"5,keyasint,omitempty"`
	// Timeout stops the process so long after its start; 0 means never.
	Timeout time.Duration `cbor:"6,keyasint,omitempty"`
	// Grace is between TERM and KILL on a timeout and on Stop with a negative
	// grace; 0 means KILL at once.
	Grace time.Duration `cbor:"7,keyasint,omitempty"`
	// LogLimit bounds output.log in bytes: of longer output its beginning and its
	// end are kept, half of the limit each, and what is between is counted and
	// dropped; the end is written when the process has ended. 0 means no limit.
	LogLimit int64 `cbor:"8,keyasint,omitempty"`
	// KillOnLapse has the process stopped when the lease of the runner lapses
	// (see Runner.Renew), with a grace of at most MaxLapseGrace.
	KillOnLapse bool `cbor:"9,keyasint,omitempty"`
	// Meta is opaque; Status gives it back, also to a later daemon.
	Meta []byte `cbor:"10,keyasint,omitempty"`
	// IdleTimeout stops the process when it has written nothing for so long; 0
	// means never.
	IdleTimeout time.Duration `cbor:"11,keyasint,omitempty"`
	// Mask holds values that are hidden (mask.Output) in the output, in the
	// file Result and in the reasons that Status gives, before any of it reaches
	// the disk. A runner keeps them in memory only. Lines of the output may add to
	// them: see mask.Command.
	Mask []string `cbor:"12,keyasint,omitempty"`
	// Hooks run before and after the process; see Hook.
	Hooks []Hook `cbor:"13,keyasint,omitempty"`
	// Memory bounds what the process and all that it starts hold, in bytes, and
	// CPU how many processors they use on average; 0 means no bound. Each hook
	// has the same bounds. They have no effect if EnforcedLimits says so.
	Memory int64   `cbor:"14,keyasint,omitempty"`
	CPU    float64 `cbor:"15,keyasint,omitempty"`
	// Result is the file to which the module writes its result. If anything is to be
	// hidden it is masked when the process has ended; the runner never deletes it.
	Result string `cbor:"16,keyasint,omitempty"`
	// Cleanup is a command that runs once everything else has ended, however it
	// ended, if anything was started: it removes what belongs to the attempt and is
	// no process of the tree, such as a container. The exit is reported after it. It
	// has CleanupTime and no limits; nothing stops it earlier, and how it ends
	// changes nothing.
	Cleanup []string `cbor:"17,keyasint,omitempty"`
}

// CleanupTime bounds Process.Cleanup.
const CleanupTime = 30 * time.Second

// ReasonLapsed is the reason of what was stopped because the lease lapsed.
const ReasonLapsed = "lost contact with the cluster"

// MaxLapseGrace bounds the time between TERM and KILL when a lease lapses.
const MaxLapseGrace = 2 * time.Second

// State says whether a process runs.
type State int

// The states. StateUnknown is the zero value and never reported.
const (
	StateUnknown State = iota
	// Running is from acceptance until the whole tree is dead.
	Running
	// Exited is final.
	Exited
)

// String gives the state's name.
func (s State) String() string {
	switch s {
	case Running:
		return "running"
	case Exited:
		return "exited"
	}
	return "unknown"
}

// Status is how a process stands or ended.
type Status struct {
	ID    string `cbor:"1,keyasint"`
	Dir   string `cbor:"2,keyasint"`
	State State  `cbor:"3,keyasint"`
	// Incarnation is the life of the runner that started the process. It
	// differs from Runner.Incarnation for exits that an earlier keeper left.
	Incarnation string `cbor:"4,keyasint,omitempty"`
	// PID is that of the process that runs or ran last, a hook's included; 0
	// if none was started (yet).
	PID int `cbor:"5,keyasint,omitempty"`
	// StartedAt is the time of the first exec, ExitedAt that of the end of the
	// last process, be it a hook's; zero if there was none.
	StartedAt time.Time `cbor:"6,keyasint,omitzero"`
	ExitedAt  time.Time `cbor:"7,keyasint,omitzero"`
	// ExitCode is that of the main process; 128 and the signal's number if
	// a signal ended it; 127 or 126 with StartError, as shells have it; -1
	// if it was stopped before it was started.
	ExitCode int `cbor:"8,keyasint"`
	// Signal names the signal that ended the main process, as in "SIGKILL".
	Signal string `cbor:"9,keyasint,omitempty"`
	// HookFailed says which hook failed, and how, if that made the attempt
	// fail; ExitCode is that of the hook only if the main process was not
	// started for it.
	HookFailed string `cbor:"23,keyasint,omitempty"`
	// TimedOut says that a timeout ended it, Stopped that Stop or a lapsed
	// lease did; Reason says why.
	TimedOut bool   `cbor:"10,keyasint,omitempty"`
	Stopped  bool   `cbor:"11,keyasint,omitempty"`
	Reason   string `cbor:"12,keyasint,omitempty"`
	// StartError says why the main process, or a hook of a success, was not started,
	// for the user; MachineFault that the machine was the cause (no descriptors, no
	// memory).
	StartError   string `cbor:"13,keyasint,omitempty"`
	MachineFault bool   `cbor:"26,keyasint,omitempty"`
	// LogSize is the size of output.log, LogDropped the bytes that are not in
	// it. LogError says why they could not be written, if not for the limit.
	LogSize    int64  `cbor:"14,keyasint,omitempty"`
	LogDropped int64  `cbor:"15,keyasint,omitempty"`
	LogError   string `cbor:"16,keyasint,omitempty"`
	// Leftover counts processes that outlived the main one and were killed.
	Leftover int `cbor:"17,keyasint,omitempty"`
	// PipeHeld says that a process outside the tree kept the output open, so
	// that reading it was given up.
	PipeHeld bool `cbor:"18,keyasint,omitempty"`
	// CPU is user and system time of the main process, the hooks, and those of
	// their descendants that were waited for; MaxRSS the largest in bytes.
	CPU    time.Duration `cbor:"19,keyasint,omitempty"`
	MaxRSS int64         `cbor:"20,keyasint,omitempty"`
	Meta   []byte        `cbor:"21,keyasint,omitempty"`
	// Lapsed says that it was stopped because the lease lapsed; Stopped is set
	// too.
	Lapsed bool `cbor:"22,keyasint,omitempty"`
	// OutOfMemory says that the kernel killed a process of it for want of
	// memory, be it the limit's or the machine's.
	OutOfMemory bool `cbor:"24,keyasint,omitempty"`
	// ResultError says why the result cannot be relied upon: it is lost, or could
	// not be masked.
	ResultError string `cbor:"25,keyasint,omitempty"`
	// Added are the values that lines of the output added to Mask, AddedCount is
	// how many. A runner keeps the values in memory only: an exit that an earlier
	// keeper left has none.
	Added      []string `cbor:"27,keyasint,omitempty"`
	AddedCount int      `cbor:"28,keyasint,omitempty"`
}

// Runner runs processes. All methods may be called from many goroutines.
type Runner interface {
	// Incarnation names the life of whatever holds the processes: it changes
	// only when all of them are gone. It contains the machine's boot id.
	Incarnation() string
	// Start accepts processes and returns before they have started: each is
	// started exactly once, and its end, a failed start included, arrives over
	// Exits. Some may be refused: the error is then a *RefusedError, and all
	// others were accepted. Any other error means that none of them was
	// accepted, save one that wraps ErrUnknownStart.
	Start(ctx context.Context, processes []Process) error
	// Stop sends TERM to the tree of a process, and after grace KILL. A
	// negative grace means the process's own. It does not wait: the exit
	// arrives as usual. A second Stop can only shorten the grace; the first
	// reason stays. Stopping what has exited is no error; what the runner does
	// not know is ErrNotFound.
	Stop(ctx context.Context, id, reason string, grace time.Duration) error
	// List gives every process that runs and every exit not forgotten, by ID.
	List(ctx context.Context) ([]Status, error)
	// Exits delivers exits, each at least once until it is forgotten. After a
	// reconnection all that were not forgotten come again. Nothing waits for
	// the receiver. The channel is closed by Close.
	Exits() <-chan Status
	// Forget drops exits that the caller has put in a safe place. IDs that are
	// unknown or still running are left alone.
	Forget(ctx context.Context, ids ...string) error
	// Renew lets the lease end at a time of BootTime. It never shortens the lease,
	// and if that time has passed when the runner learns of it, it does nothing.
	// When the lease ends, processes with KillOnLapse are stopped, and such
	// processes are refused until the next Renew.
	Renew(ctx context.Context, until time.Duration) error
	// Close of a Local kills its processes and waits for them; of a Client it
	// disconnects and leaves everything running. It is idempotent.
	Close() error
}

var (
	// ErrSeen refuses the start of an ID that was accepted before.
	ErrSeen = &pipeline.Error{Kind: pipeline.Conflict, Message: "this attempt was started before"}
	// ErrNoLease refuses a process with KillOnLapse while no lease is in force.
	ErrNoLease = &pipeline.Error{Kind: pipeline.Unavailable, Message: "no lease is in force: the worker is cut off from its leader"}
	// ErrNotFound is returned by Stop for an ID that the runner does not know.
	ErrNotFound = &pipeline.Error{Kind: pipeline.NotFound, Message: "no such process"}
	// ErrClosed is returned by every call after Close.
	ErrClosed = &pipeline.Error{Kind: pipeline.Unavailable, Message: "the runner is closed"}
	// ErrReplaced is returned by a Client whose keeper serves a newer daemon.
	ErrReplaced = &pipeline.Error{Kind: pipeline.Conflict, Message: "another daemon has taken over the keeper"}
	// ErrUnknownStart is wrapped if a keeper was lost before it answered:
	// the processes may have been started in the former incarnation, and must
	// be taken for lost.
	ErrUnknownStart = &pipeline.Error{Kind: pipeline.Unknown, Message: "the keeper was lost before it answered: whether the processes were started is unknown"}
	// ErrUnsupported is returned on systems that cannot run modules.
	ErrUnsupported = errors.New("modules run on Linux only")
)

// RefusedError says which processes of a Start were not accepted, and why.
type RefusedError struct {
	// ByID holds the reason of each refusal.
	ByID map[string]error
}

// Error lists the refusals.
func (e *RefusedError) Error() string {
	ids := make([]string, 0, len(e.ByID))
	for id := range e.ByID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	parts := make([]string, 0, len(ids))
	for _, id := range ids {
		parts = append(parts, fmt.Sprintf("%s: %v", id, e.ByID[id]))
	}
	return "start refused: " + strings.Join(parts, "; ")
}

// Unwrap makes errors.Is find the reasons.
func (e *RefusedError) Unwrap() []error {
	errs := make([]error, 0, len(e.ByID))
	for _, err := range e.ByID {
		errs = append(errs, err)
	}
	return errs
}

// refuse adds a refusal to e, which may be nil, and returns it.
func (e *RefusedError) refuse(id string, err error) *RefusedError {
	if e == nil {
		e = &RefusedError{ByID: make(map[string]error)}
	}
	e.ByID[id] = err
	return e
}

// orNil avoids the typed nil.
func (e *RefusedError) orNil() error {
	if e == nil {
		return nil
	}
	return e
}

// validate finds what no start could make good.
func (p *Process) validate() error {
	switch {
	case p.ID == "":
		return pipeline.Errorf(pipeline.Invalid, "process without an id")
	case len(p.Argv) == 0 || p.Argv[0] == "":
		return pipeline.Errorf(pipeline.Invalid, "process %s: empty command", p.ID)
	case p.Dir == "" || p.WorkDir == "":
		return pipeline.Errorf(pipeline.Invalid, "process %s: no directory", p.ID)
	}
	for i := range p.Hooks {
		if h := &p.Hooks[i]; !h.When.valid() || len(h.Argv) == 0 || h.Argv[0] == "" || h.WorkDir == "" {
			return pipeline.Errorf(pipeline.Invalid, "process %s: hook %q cannot be started", p.ID, h.When)
		}
	}
	return nil
}
