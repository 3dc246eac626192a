package worker

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/worker/attemptdir"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// attemptDir names the folder of an attempt: readable where the module's name
// allows, unique always.
func attemptDir(root string, id pipeline.AttemptID) attemptdir.Dir {
	sum := sha256.Sum256([]byte(id.String()))
	return attemptdir.Dir(filepath.Join(root, string(id.Run)+"-"+hex.EncodeToString(sum[:6])))
}

// capture turns the end of a process into an outcome and the blobs it needs.
// nil where the daemon stops meanwhile: the attempt stays in the journal.
func (w *Worker) capture(a *attempt, st executor.Status) (*pipeline.Outcome, []pipeline.Digest) {
	o := &pipeline.Outcome{StartedAt: st.StartedAt.UTC(), FinishedAt: st.ExitedAt.UTC()}
	if o.FinishedAt.IsZero() {
		o.FinishedAt = time.Now().UTC()
	}
	judge(st, a.spec.Resources.Memory, o)
	var blobs []pipeline.Digest
	if err := w.captureLog(a, o, &blobs); err != nil {
		return w.captureFailed(o, "log", err), blobs
	}
	if err := w.captureResult(a, o); err != nil {
		if o.State == pipeline.AttemptSucceeded {
			o.State, o.Reason = pipeline.AttemptFailed, "$PIPELINED_OUTPUT: "+err.Error()
		}
	}
	if err := w.captureOutputs(a, o, &blobs); err != nil {
		return w.captureFailed(o, "outputs", err), blobs
	}
	if w.life.Err() != nil {
		return nil, nil
	}
	return o, blobs
}

// captureFailed makes an attempt that succeeded fail because what it left
// could not be kept; one that the disk is at fault for is repeated elsewhere.
func (w *Worker) captureFailed(o *pipeline.Outcome, what string, err error) *pipeline.Outcome {
	if w.life.Err() != nil {
		return nil
	}
	if pipeline.KindOf(err) == pipeline.Unavailable {
		if w.cfg.Filled != nil {
			w.cfg.Filled()
		}
		o.State, o.Reason = pipeline.AttemptLost, what+": "+err.Error()
	} else if o.State == pipeline.AttemptSucceeded {
		o.State, o.Reason = pipeline.AttemptFailed, what+": "+err.Error()
	}
	return o
}

// judge sets state, reason and exit code from how the process ended; limit is
// that of its memory.
func judge(st executor.Status, limit int64, o *pipeline.Outcome) {
	code := st.ExitCode
	switch {
	case st.StartError != "":
		o.State, o.Reason = pipeline.AttemptFailed, st.StartError
		return
	case st.TimedOut:
		o.State, o.Reason = pipeline.AttemptTimedOut, st.Reason
	case st.Lapsed:
		// Nobody asked for its end: it is for the cluster to run it again.
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
		if limit > 0 {
			o.Reason += fmt.Sprintf(" (resources: memory = %d bytes)", limit)
		}
	}
	o.ExitCode = &code
}

func (w *Worker) captureLog(a *attempt, o *pipeline.Outcome, blobs *[]pipeline.Digest) error {
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
	all := io.Reader(io.LimitReader(f, o.LogSize))
	// When it was written stands in the same blob, behind it: a second one for
	// each attempt would cost more than it tells.
	if times, err := os.ReadFile(a.dir.Times()); err == nil {
		all = io.MultiReader(all, bytes.NewReader(times))
	}
	o.Log, _, err = w.cfg.Blobs.Put(w.life, all)
	if err == nil && o.LogSize > 0 {
		*blobs = append(*blobs, o.Log)
	}
	return err
}

func (w *Worker) captureResult(a *attempt, o *pipeline.Outcome) error {
	res, err := a.dir.ReadResult()
	if err != nil {
		return err
	}
	if o.State == pipeline.AttemptSucceeded || o.State == pipeline.AttemptFailed {
		o.Result = res
	}
	return nil
}

// captureOutputs keeps what the globs name. Of a module that did not succeed
// nothing is required.
func (w *Worker) captureOutputs(a *attempt, o *pipeline.Outcome, blobs *[]pipeline.Digest) error {
	required, optional := a.spec.Outputs, a.spec.OutputsOptional
	if len(required)+len(optional) == 0 {
		return nil
	}
	if err := w.restore(a); err != nil {
		return err
	}
	tree, missing, err := storage.Capture(w.life, a.dir.Work(), required, optional, w.cfg.Blobs)
	if err != nil {
		return err
	}
	if len(missing) > 0 && o.State == pipeline.AttemptSucceeded {
		o.State, o.Reason = pipeline.AttemptFailed, "no file matches outputs "+strings.Join(missing, ", ")
	}
	if len(tree) == 0 {
		return nil
	}
	raw, err := storage.EncodeTree(tree)
	if err != nil {
		return err
	}
	if o.Outputs, err = w.cfg.Blobs.PutBytes(w.life, raw); err != nil {
		return err
	}
	*blobs = append(*blobs, o.Outputs)
	*blobs = append(*blobs, tree.Digests()...)
	listed := 0
	for i := range tree {
		if tree[i].Dir {
			continue
		}
		o.OutputCount++
		o.OutputBytes += tree[i].Size
		if listed += len(tree[i].Path); len(o.OutputPaths) < pipeline.MaxOutputPaths && listed < 16<<10 {
			o.OutputPaths = append(o.OutputPaths, tree[i].Path)
		}
	}
	return nil
}
