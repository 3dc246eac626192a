package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

// maxListedPaths bounds the paths of outputs in an outcome, in bytes.
const maxListedPaths = 16 << 10

// capturer turns what an ended process left into an outcome and blobs.
type capturer struct {
	self  pipeline.NodeID
	blobs *blob.Store
	// restore makes the attempt's directory visible, if it is an overlay.
	restore func(a *attempt) error
	// copy sends blobs to another node and returns which; "" if none took them.
	copy   func(ctx context.Context, blobs []pipeline.Digest) pipeline.NodeID
	faults *faults
	// containers knows what processes in containers say of themselves.
	containers *containers
	log        hclog.Logger
	// passThrough names variables of this machine that modules see.
	passThrough []string
}

// captured is what capture found.
type captured struct {
	outcome *pipeline.Outcome
	// blobs are those that the outcome names.
	blobs []pipeline.Digest
	// added are the values that the module masked by its output; addedLost says that
	// they are gone, with the keeper that had them.
	added     []string
	addedLost bool
}

// capture captures log, result and outputs, in this order: the log is there for
// the user even if the outputs cannot be kept. nil means that ctx has ended: the
// attempt stays in the journal, and the next daemon captures it.
func (c *capturer) capture(ctx context.Context, a *attempt, st executor.Status) *captured {
	got := &captured{outcome: &pipeline.Outcome{StartedAt: st.StartedAt.UTC(), FinishedAt: st.ExitedAt.UTC()},
		added: st.Added, addedLost: st.AddedCount > len(st.Added)}
	o := got.outcome
	if o.FinishedAt.IsZero() {
		o.FinishedAt = time.Now().UTC()
	}
	c.containers.reported(a, &st, o)
	judge(st, a.spec.Resources.Memory, o)

	err := patiently(ctx, func() error { return c.captureLog(ctx, a, got) })
	if errors.As(err, new(*disk.FullError)) {
		// The module itself may have filled the disk.
		a.dir.Empty(len(a.spec.Outputs)+len(a.spec.OutputsOptional) == 0)
		err = c.captureLog(ctx, a, got)
	}
	if err != nil {
		c.failed(o, "log", err)
		return got.unless(ctx)
	}
	c.keepResult(ctx, a, st.ResultError, o)
	if err := patiently(ctx, func() error { return c.captureOutputs(ctx, a, got) }); err != nil {
		c.failed(o, "outputs", err)
	}
	c.captureTests(ctx, a, got)

	return got.unless(ctx)
}

// unless gives nil if ctx has ended: an error may then come of that alone.
func (got *captured) unless(ctx context.Context) *captured {
	if ctx.Err() != nil {
		return nil
	}
	return got
}

// failed makes an attempt that succeeded fail because what it left could not be
// kept. If this machine is the cause, the attempt is lost, so that it is repeated
// on another node.
func (c *capturer) failed(o *pipeline.Outcome, what string, err error) {
	switch {
	case pipeline.KindOf(err) == pipeline.Unavailable || executor.IsMachineFault(err):
		c.faults.look()
		o.State, o.Reason = pipeline.AttemptLost, what+": "+err.Error()
	case o.State == pipeline.AttemptSucceeded:
		o.State, o.Reason = pipeline.AttemptFailed, what+": "+err.Error()
	}
}

// judge sets state, reason and exit code from how the process ended. The order
// of the cases is that of blame: why it was ended comes before how. memory is
// its limit, 0 if it has none.
func judge(st executor.Status, memory int64, o *pipeline.Outcome) {
	code := st.ExitCode

	switch {
	case st.MachineFault:
		o.State, o.Reason, o.NeverBegun = pipeline.AttemptLost, st.StartError, st.StartedAt.IsZero()
		return
	case st.StartError != "":
		o.State, o.Reason = pipeline.AttemptFailed, st.StartError
		return
	case st.TimedOut:
		o.State, o.Reason = pipeline.AttemptTimedOut, st.Reason
	case st.Lapsed:
		// No user asked for its end: the cluster runs it again.
		o.State, o.Reason = pipeline.AttemptLost, st.Reason
	case st.Stopped:
		o.State, o.Reason = pipeline.AttemptCancelled, st.Reason
	case st.HookFailed != "":
		o.State, o.Reason = pipeline.AttemptFailed, st.HookFailed
	case st.Signal != "":
		o.State, o.Reason = pipeline.AttemptFailed, "killed by "+st.Signal
	case code == 0:
		o.State = pipeline.AttemptSucceeded
	default:
		o.State, o.Reason = pipeline.AttemptFailed, fmt.Sprintf("exit code %d", code)
	}

	if st.OutOfMemory && o.State == pipeline.AttemptFailed {
		o.Reason += ": out of memory"
		if memory > 0 {
			o.Reason += fmt.Sprintf(" (resources: memory = %d bytes)", memory)
		}
	}
	o.ExitCode = &code
}

// captureLog stores the output, and behind it in the same blob when it was
// written: a second blob for each attempt would cost more than it is worth.
func (c *capturer) captureLog(ctx context.Context, a *attempt, got *captured) error {
	o := got.outcome
	f, err := os.Open(a.dir.Log())
	if os.IsNotExist(err) {
		o.Log = pipeline.EmptyDigest
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()

	st, err := f.Stat()
	if err != nil {
		return err
	}
	o.LogSize = st.Size()
	times, err := os.ReadFile(a.dir.Times())
	if err != nil {
		times = nil // there is none if all output was written at once
	}

	o.Log, err = blob.PutLog(ctx, c.blobs, o.LogSize, f, bytes.NewReader(times))
	if err == nil && o.LogSize > 0 {
		got.blobs = append(got.blobs, o.Log)
	}
	return err
}

// keepResult captures the result. If that fails, an attempt that succeeded has
// failed, or is lost if this machine is the cause.
func (c *capturer) keepResult(ctx context.Context, a *attempt, lost string, o *pipeline.Outcome) {
	err := patiently(ctx, func() error { return captureResult(a, lost, o) })
	switch {
	case err == nil || o.State != pipeline.AttemptSucceeded:
	case executor.IsExhausted(err):
		c.failed(o, "$PIPELINED_OUTPUT", err)
	default:
		o.State, o.Reason = pipeline.AttemptFailed, "$PIPELINED_OUTPUT: "+err.Error()
	}
}

// captureResult reads the result, unless the runner says that it was lost; that
// of an attempt which was ended early counts for nothing.
func captureResult(a *attempt, lost string, o *pipeline.Outcome) error {
	if lost != "" {
		return errors.New(lost)
	}
	res, err := a.dir.ReadResult()
	if err != nil {
		return err
	}
	if o.State == pipeline.AttemptSucceeded || o.State == pipeline.AttemptFailed {
		o.Result = res
	}
	return nil
}

// captureOutputs stores the files that the globs name. Nothing is required of a
// module that did not succeed.
func (c *capturer) captureOutputs(ctx context.Context, a *attempt, got *captured) error {
	o, required, optional := got.outcome, a.spec.Outputs, a.spec.OutputsOptional
	if len(required)+len(optional) == 0 {
		return nil
	}

	if err := c.restore(a); err != nil {
		return err
	}
	outputs, notes, err := layout.Capture(ctx, a.dir.Work(), required, optional, c.blobs)
	if err != nil {
		return err
	}
	if o.State == pipeline.AttemptSucceeded {
		switch {
		case len(notes.Missing) > 0:
			o.State, o.Reason = pipeline.AttemptFailed, missingOutputs(ctx, a, notes.Missing)
		case len(notes.LeftOut) > 0:
			o.Reason = "left out of its outputs: " + strings.Join(notes.LeftOut[:min(5, len(notes.LeftOut))], ", ")
		}
	}
	if len(outputs) == 0 {
		return nil
	}

	raw, err := tree.Encode(outputs)
	if err != nil {
		return err
	}
	if o.Outputs, err = c.blobs.PutBytes(ctx, raw); err != nil {
		return err
	}
	got.blobs = append(got.blobs, o.Outputs)
	got.blobs = append(got.blobs, outputs.Digests()...)
	listOutputs(o, outputs)
	return nil
}

// maxNamedFiles bounds the files that a reason names in the place of missing outputs.
const maxNamedFiles = 10

// missingOutputs says which globs of outputs match nothing, and what the module left
// instead.
func missingOutputs(ctx context.Context, a *attempt, globs []string) string {
	reason := "no file matches outputs " + strings.Join(globs, ", ")
	if slices.ContainsFunc(a.spec.Outputs, func(g string) bool { _, negated := tree.Negated(g); return negated }) {
		reason += ", or its patterns with ! leave nothing"
	}
	files, more := layout.Written(ctx, a.dir.Work(), maxNamedFiles)
	if len(files) == 0 {
		return reason + "; the module left no new or changed file in its directory"
	}

	// The usual mistake beside a wrong name.
	if dir := a.spec.WorkingDir; dir != "" {
		for _, g := range globs {
			whole := path.Join(dir, tree.CleanGlob(g))
			if slices.ContainsFunc(files, tree.NewFilter([]string{whole}).Matches) {
				reason += fmt.Sprintf("; paths of outputs do not begin in working_dir: write %q", whole)
				break
			}
		}
	}
	reason += "; the module left " + strings.Join(files, ", ")
	if more {
		reason += " and more"
	}
	return reason
}

// listOutputs counts the files of a tree and lists the first of them.
func listOutputs(o *pipeline.Outcome, tree tree.Tree) {
	listed := 0
	for i := range tree {
		if tree[i].Dir {
			continue
		}
		o.OutputCount++
		o.OutputBytes += tree[i].Size
		if listed += len(tree[i].Path); len(o.OutputPaths) < pipeline.MaxOutputPaths && listed < maxListedPaths {
			o.OutputPaths = append(o.OutputPaths, tree[i].Path)
		}
	}
}

// secure gets log and outputs a second copy before the outcome is reported:
// small blobs go inside the report and are returned, larger ones to another node
// now. If no node takes them, the outcome has one holder, and the replicator
// makes the second copy later.
func (c *capturer) secure(ctx context.Context, a *attempt, got *captured) (inline [][]byte) {
	got.outcome.Holders = []pipeline.NodeID{c.self}

	var total int64
	for _, d := range got.blobs {
		n, err := c.blobs.Size(d)
		if err != nil {
			c.log.Error("size of blob", a.spec.LogFields("error", err)...)
			continue
		}
		total += n
	}

	if total > peer.MaxInlineBlob {
		if n := c.copy(ctx, got.blobs); n != "" {
			got.outcome.Holders = append(got.outcome.Holders, n)
		}
		return nil
	}

	for _, d := range got.blobs {
		b, err := c.blobs.ReadAll(d, peer.MaxInlineBlob)
		if err != nil {
			c.log.Error("read blob", a.spec.LogFields("error", err)...)
			continue
		}
		inline = append(inline, b)
	}
	return inline
}
