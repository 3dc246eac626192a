// Package monitoring tests what operators see: the page of metrics of a real cluster,
// docs/metrics.md, and the rules and the board of examples/monitoring. Prometheus and
// promtool are Debian's (apt-get install prometheus); without them the parts that need
// them are skipped.
package monitoring
