package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Set is all that one node measures. The zero value measures nothing.
type Set struct {
	registry *prometheus.Registry

	HTTP   *HTTP
	Raft   *Raft
	Gossip *Gossip
	Leader *Leader
	Fabric *Fabric
}

// New makes the instruments of a node of a version.
func New(version string) *Set {
	libraries() // from the start: their counters would miss what came before
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f := factory{r}
	f.gauge("pipelined_build_info", "1, with the version of the program.", "version").WithLabelValues(version).Set(1)

	system := f.counter("cicd_system_errors_total", "Errors of pipelined itself, by the part that had them.", "cicd_system_component", "error_type")
	for _, known := range [][2]string{{"api", "internal"}, {"storage", "damaged"}, {"worker", "lost"}} {
		system.WithLabelValues(known[0], known[1])
	}
	return &Set{
		registry: r,
		HTTP:     newHTTP(f, system),
		Raft:     newRaft(f),
		Gossip:   newGossip(f),
		Leader:   newLeader(f, system),
		Fabric:   newFabric(f, system),
	}
}

// Handler serves the page that Prometheus reads; nil if nothing is measured.
func (s *Set) Handler() http.Handler {
	if s.registry == nil {
		return nil
	}
	gatherers := prometheus.Gatherers{s.registry, libraries()}
	return promhttp.HandlerFor(gatherers, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// The upper bounds of buckets, in seconds: of what machines do, and of what
// pipelines do.
var (
	quick = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}
	long  = []float64{.005, .025, .1, .5, 1, 5, 15, 60, 300, 1800, 3600}
)

// factory makes registered instruments.
type factory struct{ r prometheus.Registerer }

func (f factory) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	f.r.MustRegister(v)
	return v
}

func (f factory) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	f.r.MustRegister(v)
	return v
}

// histogram has the classic buckets, and native ones for servers that read those.
func (f factory) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour}, labels)
	f.r.MustRegister(v)
	return v
}

// start makes the series of known label values exist before anything happened: a
// rate over a series that begins with its first event misses that event.
func start(v *prometheus.CounterVec, values ...string) {
	for _, s := range values {
		v.WithLabelValues(s)
	}
}
