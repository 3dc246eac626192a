package orchestrator

import (
	"slices"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

func TestUnmetBy(t *testing.T) {
	set := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	workers := func() []*scheduler.Worker {
		return []*scheduler.Worker{
			{Name: "n2", OS: "linux", Arch: "amd64", Tools: set("sh", "docker"), Tags: set("slow")},
			{Name: "n1", OS: "linux", Arch: "amd64", Tools: set("sh", "docker", "go"), Tags: set("fast", "gpus")},
		}
	}
	for _, c := range []struct {
		want string
		r    pipeline.Requires
	}{
		{"no worker has tool dokcer (the nearest is docker, on n1, n2), nor tag gpu (the nearest is gpus, on n1)",
			pipeline.Requires{OS: "Linux", Tools: []string{"sh", "dokcer"}, Tags: []string{"gpu"}}},
		{"no worker has os windows (available: linux)", pipeline.Requires{OS: "windows"}},
		{"no worker has tag eu (available: fast, gpus, slow)", pipeline.Requires{Tags: []string{"eu"}}},
		{"no worker has tool bazel", pipeline.Requires{Tools: []string{"bazel"}}},
		{"no worker has tool go, tag slow together: n1 lacks tag slow, n2 lacks tool go", pipeline.Requires{Tools: []string{"go"}, Tags: []string{"slow"}}},
		{"no worker has tag fast, tag gpus, tag slow together: n1 lacks tag slow, n2 lacks tag fast and tag gpus", pipeline.Requires{Tags: []string{"fast", "gpus", "slow"}}},
		// What is in the way is something else: a pin, or that it is external.
		{"no worker has os linux", pipeline.Requires{OS: "linux"}},
	} {
		if got := unmetBy(workers(), c.r); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	if got := unmetBy(nil, pipeline.Requires{OS: "linux"}); got != "the cluster has no worker" {
		t.Errorf("without workers: %s", got)
	}
}

func TestLossPause(t *testing.T) {
	var got []time.Duration
	for n := 1; n <= 6; n++ {
		got = append(got, lossPause(n)/time.Second)
	}
	if want := []time.Duration{0, 2, 8, 32, 32, 32}; !slices.Equal(got, want) {
		t.Errorf("pauses in seconds %v, want %v", got, want)
	}
}
