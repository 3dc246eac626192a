package nodereport_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/internal/nodereport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// While one caller asks the nodes, another waits no longer than its own call lasts; who
// comes next gets the same answer.
func TestCollector_Collect(t *testing.T) { synctest.Test(t, testCollect) }

func testCollect(t *testing.T) {
	asking, answer := make(chan struct{}), make(chan struct{})
	c := nodereport.New(nodereport.Config{Self: "id-n1", Name: "n1", StartedAt: time.Now(),
		Members: func() []cluster.Member {
			close(asking) // panics if the nodes are asked twice
			<-answer
			return []cluster.Member{{ID: "id-n1", Name: "n1", Status: cluster.StatusAlive}, {ID: "id-n2", Name: "n2", Status: cluster.StatusLeft}}
		},
		Sights: func() []cluster.Sight { return nil }, Lags: func() map[string]uint64 { return nil },
		Health: func() int { return 0 }, Disk: func() wire.DiskSpace { return wire.DiskSpace{FreeBytes: 1} },
		Commits: func() *wire.CommitTimes { return &wire.CommitTimes{Count: 3} }, UnderReplicated: func() int { return 2 }})

	first := make(chan error, 1)
	go func() {
		_, err := c.Collect(t.Context())
		first <- err
	}()
	<-asking
	gone := errors.New("the caller has gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, err := c.Collect(ctx); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	close(answer)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	got, err := c.Collect(t.Context())
	if err != nil || len(got.Nodes) != 1 || got.Nodes[0].Name != "n1" || got.Nodes[0].Disk.FreeBytes != 1 ||
		got.Nodes[0].Commits.Count != 3 || got.Nodes[0].UnderReplicated != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}
