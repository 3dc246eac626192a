package top

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxRuns is how many runs are listed.
	maxRuns = 50
	// callLimit bounds a question, so that what is shown is never older without a
	// notice.
	callLimit = 5 * time.Second
	// memberLimit bounds the question to one member what is wrong with it.
	memberLimit = time.Second
	// askedAtOnce is how many members are asked at the same time.
	askedAtOnce = 16
)

// Cluster answers the questions of the view and carries out its actions. Its methods
// are called from several goroutines, and end with ctx.
type Cluster interface {
	// State describes the nodes, Runs lists the newest runs.
	State(ctx context.Context) (State, error)
	Runs(ctx context.Context) ([]wire.RunSummary, error)
	// Usual is how long a run of each pipeline takes: the median of the newest ones.
	Usual(ctx context.Context) (map[string]time.Duration, error)
	// Run gives a run with the reasons for which modules wait.
	Run(ctx context.Context, id pipeline.RunID) (wire.Run, error)
	// Watch gives a run to fn now and after each change, until it has ended.
	Watch(ctx context.Context, id pipeline.RunID, fn func(wire.Run) error) error
	// Follow gives output to fn, from the last lines of each module on.
	Follow(ctx context.Context, id pipeline.RunID, module string, lines int, fn func(wire.LogEvent) error) error
	Why(ctx context.Context, id pipeline.RunID, module string) (wire.Why, error)
	Cancel(ctx context.Context, id pipeline.RunID) error
	Retry(ctx context.Context, id pipeline.RunID) error
	Drain(ctx context.Context, node string, off bool) error
}

// Client makes a Cluster of a client.
func Client(api *client.Client) Cluster { return remote{api} }

type remote struct{ api *client.Client }

func (r remote) State(ctx context.Context) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	reader := stateReader{api: r.api}
	err := reader.read(ctx)
	return reader.state, err
}

func (r remote) Usual(ctx context.Context) (map[string]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	list, err := r.api.Histories().Pipelines(ctx)
	if err != nil {
		return nil, err
	}
	usual := map[string]time.Duration{}
	for i := range list.Pipelines {
		if p := &list.Pipelines[i]; p.P50Seconds != nil {
			usual[p.Name] = terminal.Seconds(*p.P50Seconds)
		}
	}
	return usual, nil
}

func (r remote) Runs(ctx context.Context) ([]wire.RunSummary, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	list, err := r.api.Runs().List(ctx, client.ListOptions{Limit: maxRuns})
	return list.Runs, err
}

func (r remote) Run(ctx context.Context, id pipeline.RunID) (wire.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return r.api.Runs().Get(ctx, id)
}

func (r remote) Watch(ctx context.Context, id pipeline.RunID, fn func(wire.Run) error) error {
	return r.api.Runs().Watch(ctx, id, fn)
}

func (r remote) Follow(ctx context.Context, id pipeline.RunID, module string, lines int, fn func(wire.LogEvent) error) error {
	o := client.FollowOptions{Lines: lines}
	if module != "" {
		o.Modules = []string{module}
	}
	return r.api.Runs().Follow(ctx, id, o, fn)
}

func (r remote) Why(ctx context.Context, id pipeline.RunID, module string) (wire.Why, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return r.api.Runs().Why(ctx, id, module)
}

func (r remote) Cancel(ctx context.Context, id pipeline.RunID) error {
	_, err := r.api.Runs().Cancel(ctx, id, "cancelled from pipelined top")
	return err
}

func (r remote) Retry(ctx context.Context, id pipeline.RunID) error {
	_, err := r.api.Runs().Retry(ctx, id, wire.RetryRequest{})
	return err
}

func (r remote) Drain(ctx context.Context, node string, off bool) error {
	return r.api.Cluster().Drain(ctx, node, wire.DrainRequest{Off: off})
}
