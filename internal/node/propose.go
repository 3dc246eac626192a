package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/pipeline"
)

// consensusLog makes the cluster the orchestrator's log.
type consensusLog struct{ c *cluster.Cluster }

// proposalTimeout bounds the wait for a commit; beyond it the outcome is
// unknown (reliability H1).
const proposalTimeout = 5 * time.Second

type pending struct {
	wait func(context.Context) (uint64, any, error)
}

// Propose hands a command to raft.
func (l consensusLog) Propose(cmd []byte) orchestrator.Pending {
	f := l.c.ApplyAsync(cmd)
	return pending{f.Wait}
}

// Barrier waits until everything committed before is applied here.
func (l consensusLog) Barrier(ctx context.Context) error { return l.c.Barrier(ctx) }

// Wait waits for the fate of the proposal.
func (p pending) Wait() (uint64, any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), proposalTimeout)
	defer cancel()
	return p.wait(ctx)
}

// reply is the answer of the state machine to a command that a node proposed
// through its leader.
type reply struct {
	Run      pipeline.Run `cbor:"1,keyasint"`
	Repeated bool         `cbor:"2,keyasint,omitempty"`
	// Kind and Message are of the refusal, where there is one.
	Refused bool   `cbor:"3,keyasint,omitempty"`
	Kind    string `cbor:"4,keyasint,omitempty"`
	Message string `cbor:"5,keyasint,omitempty"`
	// Schedule is what a schedule is then.
	Schedule *fsm.ScheduleRecord `cbor:"30,keyasint,omitempty"`
}

// Err is the refusal as an error.
func (r reply) Err() error {
	if !r.Refused {
		return nil
	}
	return pipeline.Errorf(pipeline.ParseKind(r.Kind), "%s", r.Message)
}

func replyOf(v any) reply {
	var out reply
	var err error
	switch v := v.(type) {
	case fsm.SubmitResult:
		out.Run, out.Repeated, err = v.Run, v.Repeated, v.Err
	case fsm.FireResult:
		out.Run, out.Repeated, out.Schedule, err = v.Run, v.Repeated, &v.Schedule, v.Err
	case fsm.Result:
		out.Run, err = v.Run, v.Err
	}
	if err != nil {
		out.Refused, out.Kind, out.Message = true, pipeline.KindOf(err).String(), err.Error()
	}
	return out
}

// propose commits a command through the leader, wherever it is. Rejected
// proposals are repeated until ctx ends, ten seconds at most; one whose
// outcome is unknown is repeated only where that is harmless: all commands
// that nodes propose are, since they name their ids.
func (n *Node) propose(ctx context.Context, c *fsm.Command) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	raw, err := fsm.Encode(c)
	if err != nil {
		return reply{}, err
	}
	pause := 10 * time.Millisecond
	for {
		r, err := n.proposeOnce(ctx, c, raw)
		if err == nil {
			return r, nil
		}
		if k := pipeline.KindOf(err); k != pipeline.Unavailable && k != pipeline.Unknown {
			return reply{}, err
		}
		select {
		case <-ctx.Done():
			return reply{}, err
		case <-time.After(pause):
		}
		pause = min(pause*2, 200*time.Millisecond)
	}
}

func (n *Node) proposeOnce(ctx context.Context, c *fsm.Command, raw []byte) (reply, error) {
	if n.orch.Leading() {
		v, err := n.orch.Propose(ctx, c)
		if err != nil {
			return reply{}, err
		}
		return replyOf(v), nil
	}
	leader, err := n.leaderID()
	if err != nil {
		return reply{}, err
	}
	if leader == n.id {
		return reply{}, pipeline.ErrNoLeader // elected, not ready yet
	}
	var out reply
	err = n.callRaw(ctx, leader, "/peer/propose", raw, &out)
	return out, err
}

// leaderID is the node that leads, as far as this node knows.
func (n *Node) leaderID() (pipeline.NodeID, error) {
	m, _, ok := n.cluster.Leader()
	if !ok {
		return "", pipeline.ErrNoLeader
	}
	return m.ID, nil
}

var (
	wireEnc, _ = cbor.EncOptions{Time: cbor.TimeUnixMicro}.EncMode()
	wireDec, _ = cbor.DecOptions{MaxNestedLevels: 16, MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 20}.DecMode()
)

// maxMessage bounds a message between nodes; blobs are streamed beside it.
const maxMessage = 64 << 20

// call sends a message to another node and reads its answer.
func (n *Node) call(ctx context.Context, to pipeline.NodeID, path string, in, out any) error {
	raw, err := wireEnc.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return n.callRaw(ctx, to, path, raw, out)
}

func (n *Node) callRaw(ctx context.Context, to pipeline.NodeID, path string, raw []byte, out any) error {
	res, err := n.request(ctx, to, http.MethodPost, path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxMessage))
	if err != nil {
		return unreachable(to, err)
	}
	if out == nil {
		return nil
	}
	if err := wireDec.Unmarshal(body, out); err != nil {
		return fmt.Errorf("decode answer of %s: %w", path, err)
	}
	return nil
}

// request makes one request to another node's peer port. The caller closes the
// body. A refusal comes back with its kind; a break as Unknown where the
// request may have been taken.
func (n *Node) request(ctx context.Context, to pipeline.NodeID, method, path string, body io.Reader) (*http.Response, error) {
	client, base, err := n.cluster.Client(to)
	if err != nil {
		return nil, err
	}
	return doRequest(ctx, client, base, to, method, path, body)
}

// bulk is request for files, which must not stand in the way of messages.
func (n *Node) bulk(ctx context.Context, to pipeline.NodeID, method, path string, body io.Reader) (*http.Response, error) {
	client, base, err := n.cluster.BulkClient(to)
	if err != nil {
		return nil, err
	}
	return doRequest(ctx, client, base, to, method, path, body)
}

func doRequest(ctx context.Context, client *http.Client, base string, to pipeline.NodeID, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, unreachable(to, err)
	}
	if res.StatusCode >= 300 && res.StatusCode != http.StatusPartialContent {
		defer res.Body.Close()
		msg, _ := io.ReadAll(io.LimitReader(res.Body, 8<<10)) // what arrived is enough for a message
		kind := pipeline.ParseKind(res.Header.Get(kindHeader))
		if res.StatusCode == http.StatusNotFound {
			kind = pipeline.NotFound
		}
		return nil, pipeline.Errorf(kind, "%s", bytes.TrimSpace(msg))
	}
	return res, nil
}

func unreachable(to pipeline.NodeID, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &pipeline.Error{Kind: pipeline.Unknown, Message: fmt.Sprintf("node %.8s does not answer: %v", to, err), Err: err}
}
