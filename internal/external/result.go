package external

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
	"github.com/pipelined/pipelined/storage/blob"
)

// Values of wire.ExecuteResponse.ExceptionType.
const (
	exceptionCancelled = "Cancelled"
	exceptionTimedOut  = "TimedOut"
	exceptionFailed    = "ModuleFailed"
)

const (
	// maxListing bounds the listing of an external worker's outputs, in bytes: some
	// 80,000 files.
	maxListing = 16 << 20
	// maxListings is how many of them are in memory at a time. A listing stays there
	// while its files are fetched, so one slow worker must not hold up the others.
	maxListings = 4
)

// Result takes the outcome of an execution from an external worker. Its blobs
// must be in the cluster. They are fetched, so that there is a second copy if the
// worker sent them to another node.
func (w *Workers) Result(ctx context.Context, by api.Subject, in wire.ExecuteResponse) (wire.ResultResponse, error) {
	id, err := pipeline.ParseAttemptID(in.ExecutionID)
	if err != nil {
		return wire.ResultResponse{}, pipeline.Errorf(pipeline.Invalid, "executionId: %w", err)
	}
	worker := clusterID(in.WorkerID)
	rec, ok := w.Lookup(worker)
	if !ok {
		return wire.ResultResponse{}, pipeline.Errorf(pipeline.NotFound, "no external worker %q: register first", in.WorkerID)
	}
	if err := checkOwner(by, rec); err != nil {
		return wire.ResultResponse{}, err
	}
	// Before anything of the result is read: only the worker that was given an
	// attempt may cost this node the memory for its outcome.
	if err := w.checkHolder(id, rec); err != nil {
		return wire.ResultResponse{}, err
	}

	outcome, err := w.outcome(ctx, id, worker, in)
	if err != nil {
		return wire.ResultResponse{}, err
	}
	out, err := w.cfg.Orchestrator.Report(ctx, peer.ReportRequest{Worker: worker, Reports: []peer.Report{{ID: id, Outcome: outcome}}})
	if err != nil {
		return wire.ResultResponse{}, err
	}
	return wire.ResultResponse{Committed: out.Acks[0].Done, Reason: out.Acks[0].Refused}, nil
}

// checkHolder refuses the result of an attempt that the worker was never given, or
// that another program was given under the same id. One that it was given and lost is
// taken: the state keeps its outcome as superseded.
func (w *Workers) checkHolder(id pipeline.AttemptID, rec fsm.WorkerRecord) error {
	var holder pipeline.NodeID
	var incarnation string
	err := w.cfg.State.View(func(v *fsm.View) error {
		m := v.Module(id.Run, id.Module)
		if n := id.Attempt; n >= 1 && n <= len(m.Attempts) {
			holder, incarnation = m.Attempts[n-1].Worker, m.Attempts[n-1].Incarnation
		}
		return nil
	})
	if err != nil {
		return err
	}
	if holder != rec.ID || tokenOf(incarnation) != rec.Token {
		return pipeline.Errorf(pipeline.Forbidden, "attempt %s was not given to worker %s", id, rec.Name)
	}
	return nil
}

// outcome translates a response of the protocol.
func (w *Workers) outcome(ctx context.Context, id pipeline.AttemptID, worker pipeline.NodeID, in wire.ExecuteResponse) (*pipeline.Outcome, error) {
	var res wire.SerializedResult
	if in.SerializedResult != "" {
		if err := json.Unmarshal([]byte(in.SerializedResult), &res); err != nil {
			return nil, pipeline.Errorf(pipeline.Invalid, "serializedResult: expected a JSON object with result, exitCode, outputs, log: %w", err)
		}
	}
	if len(res.Result) > pipeline.MaxResultBytes {
		return nil, pipeline.Errorf(pipeline.TooLarge, "result of %d bytes: at most %d", len(res.Result), pipeline.MaxResultBytes)
	}
	hidden, err := w.cfg.RunMask(id.Run)
	if err != nil {
		return nil, err
	}

	out := &pipeline.Outcome{ID: id, Worker: worker, State: stateOf(in), ExitCode: res.ExitCode,
		StartedAt: in.StartTime.UTC(), FinishedAt: in.EndTime.UTC(), Holders: []pipeline.NodeID{w.cfg.Self}, Log: res.Log, Outputs: res.Outputs}
	// The worker's clock may be wrong; a time in the future would outlast limits.
	if now := time.Now().UTC(); out.FinishedAt.IsZero() || out.FinishedAt.After(now) {
		out.FinishedAt = now
	}

	set, blobs, err := w.fetchBlobs(ctx, out, hidden)
	if err != nil {
		return nil, err
	}
	out.Result = set.JSON(res.Result)
	if !in.Success {
		out.Reason = set.String(in.ErrorMessage)
	}
	if second := w.cfg.SecondCopy(ctx, blobs); second != "" {
		out.Holders = append(out.Holders, second)
	}
	return out, nil
}

func stateOf(in wire.ExecuteResponse) pipeline.AttemptState {
	switch {
	case in.Success:
		return pipeline.AttemptSucceeded
	case in.ExceptionType == exceptionCancelled:
		return pipeline.AttemptCancelled
	case in.ExceptionType == exceptionTimedOut:
		return pipeline.AttemptTimedOut
	}
	return pipeline.AttemptFailed
}

// fetchBlobs fetches the log and the outputs of an outcome, fills in their sizes and
// lists the blobs. The set masks what is hidden in the run, and what the log names.
func (w *Workers) fetchBlobs(ctx context.Context, out *pipeline.Outcome, hidden []string) (*mask.Set, []pipeline.Digest, error) {
	set := mask.New(hidden)
	var want []pipeline.Digest
	for _, d := range []pipeline.Digest{out.Log, out.Outputs} {
		if d == "" {
			continue
		}
		if _, err := pipeline.ParseDigest(string(d)); err != nil {
			return nil, nil, pipeline.Errorf(pipeline.Invalid, "serializedResult: %w", err)
		}
		want = append(want, d)
	}
	if err := w.cfg.Down.Fetch(ctx, nil, want); err != nil {
		return nil, nil, notSent(err)
	}
	if out.Log != "" {
		var err error
		if set, err = w.storeLog(ctx, out, hidden); err != nil {
			return nil, nil, err
		}
		want[0] = out.Log // it was the first
	}
	if out.Outputs == "" {
		return set, want, nil
	}

	files, err := w.fetchOutputs(ctx, out)
	return set, append(want, files...), err
}

// fetchOutputs fetches the files of an outcome, whose listing is on this node, fills
// in their number, sizes and paths, and lists their blobs. At most maxListings are in
// memory at a time.
func (w *Workers) fetchOutputs(ctx context.Context, out *pipeline.Outcome) ([]pipeline.Digest, error) {
	if size, err := w.cfg.Blobs.Size(out.Outputs); err != nil {
		return nil, notSent(err)
	} else if size > maxListing {
		return nil, pipeline.Errorf(pipeline.TooLarge, "outputs: the listing has %d bytes, at most %d are accepted: hand in fewer files, or an archive of them", size, maxListing)
	}
	select {
	case w.listings <- struct{}{}:
		defer func() { <-w.listings }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}

	tree, err := w.cfg.Down.ReadTree(ctx, nil, out.Outputs)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "outputs: %w", err)
	}
	files := tree.Digests()
	if err := w.cfg.Down.Fetch(ctx, nil, files); err != nil {
		return nil, notSent(err)
	}

	for i := range tree {
		if err := w.checkSize(&tree[i]); err != nil {
			return nil, err
		}
		out.OutputCount++
		out.OutputBytes += tree[i].Size
		if len(out.OutputPaths) < pipeline.MaxOutputPaths {
			out.OutputPaths = append(out.OutputPaths, tree[i].Path)
		}
	}
	return files, nil
}

// checkSize compares the size that a listing gives a file with its blob. Limits on
// artifacts go by the sizes of listings, so a false one would have others deleted.
func (w *Workers) checkSize(e *pipeline.TreeEntry) error {
	if e.Digest == "" {
		return nil
	}
	size, err := w.cfg.Blobs.Size(e.Digest)
	if err != nil {
		return notSent(err)
	}
	if size != e.Size {
		return pipeline.Errorf(pipeline.Invalid, "outputs: %.200q has %d bytes by its listing, and %d by its blob", e.Path, e.Size, size)
	}
	return nil
}

// storeLog stores a log that was sent as a plain blob, which is on this node, masked and
// in the form that logs have, and enters it and its length into the outcome. The set has
// what was masked at its end.
func (w *Workers) storeLog(ctx context.Context, out *pipeline.Outcome, hidden []string) (*mask.Set, error) {
	opened, err := w.cfg.Blobs.Open(out.Log)
	if err != nil {
		return nil, notSent(err)
	}
	defer opened.Close()

	// The length must be known before. Only this pass surely reads the end.
	whole := mask.NewOutput(hidden)
	if out.LogSize, err = io.Copy(io.Discard, &maskedLog{in: opened, mask: whole}); err != nil {
		return nil, err
	}
	if _, err := opened.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}

	out.Log, err = blob.PutLog(ctx, w.cfg.Blobs, out.LogSize, &maskedLog{in: opened, mask: mask.NewOutput(hidden)}, strings.NewReader(""))
	return whole.Set(), err
}

// maskedLog reads a log and masks it.
type maskedLog struct {
	in   io.Reader
	mask *mask.Output

	buf    [32 << 10]byte
	masked bytes.Buffer // what was not read yet
	ended  bool         // nothing more comes into masked
}

func (l *maskedLog) Read(p []byte) (int, error) {
	take := func(text []byte) { l.masked.Write(text) }
	for l.masked.Len() == 0 && !l.ended {
		n, err := l.in.Read(l.buf[:])
		l.mask.Take(l.buf[:n], take)
		if err == io.EOF {
			l.mask.Close(take)
			l.ended = true
		} else if err != nil {
			return 0, err
		}
	}
	return l.masked.Read(p)
}

// notSent says what a worker has to do about a blob that is on no node.
func notSent(err error) error {
	if pipeline.KindOf(err) != pipeline.NotFound {
		return err
	}
	return pipeline.Errorf(pipeline.Invalid, "send log and outputs first (PUT /api/v1/blobs/DIGEST): %w", err)
}
