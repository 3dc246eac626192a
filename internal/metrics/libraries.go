package metrics

import (
	"strings"
	"sync"

	gometrics "github.com/hashicorp/go-metrics"
	sink "github.com/hashicorp/go-metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"
)

// kept are the measures of raft and memberlist that go onto the page, for a closer
// look. Those of each entry and of each peer are left out: the page has its own, in
// seconds and in buckets, which can be added up.
var kept = []string{
	"raft.fsm.restore", "raft.fsm.snapshot", "raft.leader.lastContact", "raft.snapshot", "raft.state", "raft.transition",
	"memberlist.degraded", "memberlist.gossip", "memberlist.msg", "memberlist.probeNode", "memberlist.pushPullNode", "memberlist.queue",
}

// libraries collects what raft and memberlist measure. They know one place for it in
// a process, so all nodes of a process share it; it is made when it is first needed.
var libraries = sync.OnceValue(func() prometheus.Gatherer {
	r := prometheus.NewRegistry()
	suspicions := factory{r}.counter("pipelined_suspicions_total", "Times that a node was suspected to have failed, as this node saw it.").WithLabelValues()
	s, err := sink.NewPrometheusSinkFrom(sink.PrometheusOpts{Registerer: r, Name: "hashicorp"})
	if err != nil {
		panic(err) // the registry is new: nothing in it has the name
	}

	cfg := gometrics.DefaultConfig("")
	cfg.EnableHostname, cfg.EnableRuntimeMetrics, cfg.FilterDefault, cfg.AllowedPrefixes = false, false, false, kept
	if _, err := gometrics.NewGlobal(cfg, &librarySink{s, suspicions}); err != nil {
		panic(err) // the configuration is constant
	}
	return r
})

// librarySink also counts suspicions under a name of ours.
type librarySink struct {
	*sink.PrometheusSink
	suspicions prometheus.Counter
}

const keySuspect = "memberlist.msg.suspect"

// IncrCounterWithLabels counts.
func (s *librarySink) IncrCounterWithLabels(key []string, by float32, labels []gometrics.Label) {
	if strings.Join(key, ".") == keySuspect {
		s.suspicions.Add(float64(by))
	}
	s.PrometheusSink.IncrCounterWithLabels(key, by, labels)
}
