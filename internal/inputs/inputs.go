package inputs

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/tree"
)

// maxAnswers bounds each kind of remembered answers.
const maxAnswers = 4096

// Trees reads listings of trees, from wherever they are: internal/fabric.
type Trees interface {
	// Listing reads a tree. The caller must not change it.
	Listing(ctx context.Context, hints []pipeline.NodeID, d pipeline.Digest) (tree.Tree, error)
}

// CleanBlobs verifies blobs of this node.
type CleanBlobs interface {
	// Clean returns those of the digests whose blobs are here, undamaged.
	Clean(digests []pipeline.Digest) []pipeline.Digest
}

// Peers asks other nodes to verify theirs.
type Peers interface {
	// CleanAt is CleanBlobs.Clean on another node.
	CleanAt(ctx context.Context, node pipeline.NodeID, digests []pipeline.Digest) ([]pipeline.Digest, error)
	// Others lists the other nodes that are alive, those of preferred first.
	Others(preferred ...pipeline.NodeID) []pipeline.NodeID
}

// Config holds the neighbours of Inputs. All fields are required.
type Config struct {
	// Salt keys the digests of inputs: the same in the whole cluster.
	Salt  []byte
	Trees Trees
	Blobs CleanBlobs
	Peers Peers
}

// Inputs implements orchestrator.Results. It may be used concurrently.
type Inputs struct {
	cfg Config

	// The modules of a run often ask for the same.
	digests answers[string]
	changes answers[[]string]
}

var _ orchestrator.Results = (*Inputs)(nil)

// New makes an Inputs.
func New(cfg Config) *Inputs { return &Inputs{cfg: cfg} }

// answers remembers answers by question. All of them are for trees under their
// digests, so they never become wrong.
type answers[T any] struct {
	mu sync.Mutex // guards following
	by map[string]T
}

// get answers from memory, or asks and remembers the answer. Callers with the
// same question at the same time may each ask. An error is not remembered.
func (a *answers[T]) get(question string, ask func() (T, error)) (T, error) {
	a.mu.Lock()
	v, ok := a.by[question]
	a.mu.Unlock()
	if ok {
		return v, nil
	}

	v, err := ask()
	if err != nil {
		return v, err
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil || len(a.by) >= maxAnswers {
		a.by = map[string]T{}
	}
	a.by[question] = v
	return v, nil
}

// Salt keys the digests.
func (in *Inputs) Salt() []byte { return in.cfg.Salt }

// Files gives a digest of paths, contents and what can be executed.
func (in *Inputs) Files(ctx context.Context, f orchestrator.Files) (string, error) {
	return in.digests.get(questionOf(f), func() (string, error) {
		tree, err := in.tree(ctx, f)
		if err != nil {
			return "", err
		}
		return digestOf(tree), nil
	})
}

// Changed lists what differs between the files of two workspaces, in at most limit
// lines.
func (in *Inputs) Changed(ctx context.Context, old, now orchestrator.Files, limit int) ([]string, error) {
	question := fmt.Sprint(questionOf(old), "\x01", questionOf(now), "\x01", limit)
	return in.changes.get(question, func() ([]string, error) {
		was, err := in.tree(ctx, old)
		if err != nil {
			return nil, err
		}
		is, err := in.tree(ctx, now)
		if err != nil {
			return nil, err
		}
		return diff(was, is, limit), nil
	})
}

func questionOf(f orchestrator.Files) string {
	if f.All {
		return string(f.Workspace)
	}
	return string(f.Workspace) + "\x00" + strings.Join(f.Globs, "\x00") + "\x00"
}

// tree lists files of a workspace.
func (in *Inputs) tree(ctx context.Context, f orchestrator.Files) (tree.Tree, error) {
	if f.Workspace == "" {
		return nil, nil
	}
	tree, err := in.cfg.Trees.Listing(ctx, f.Holders, f.Workspace)
	if err != nil || f.All {
		return tree, err
	}
	return tree.Filter(f.Globs), nil
}
