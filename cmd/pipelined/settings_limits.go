package main

import (
	"math"
	"time"
)

// limitsTable lists the settings about what is kept and for how long. None of
// them has a flag.
var limitsTable = []setting{
	{name: "keep-runs", kind: kindNumber, usage: "number `N` of finished runs that are kept", def: "10000",
		set: number(1, math.MaxInt32, func(s *agentSettings) *int { return &s.Limits.KeepRuns })},
	{name: "keep-runs-for", usage: "age (`TIME`) at which finished runs are deleted", computed: "no limit",
		set: span(func(s *agentSettings) *time.Duration { return &s.Limits.KeepRunsFor })},
	{name: "keep-artifacts-for", usage: "age (`TIME`) at which artifacts of finished runs are deleted", computed: "as long as the run",
		set: span(func(s *agentSettings) *time.Duration { return &s.Limits.KeepArtifactsFor })},
	{name: "keep-logs-for", usage: "age (`TIME`) at which logs of finished runs are deleted", computed: "as long as the run",
		set: span(func(s *agentSettings) *time.Duration { return &s.Limits.KeepLogsFor })},
	{name: "max-artifacts", usage: "total `SIZE` of the artifacts of finished runs; the oldest are deleted first", computed: "no limit",
		set: sized(func(s *agentSettings) *int64 { return &s.Limits.MaxArtifacts })},
	{name: "max-logs", usage: "total `SIZE` of the logs of finished runs; the oldest are deleted first", computed: "no limit",
		set: sized(func(s *agentSettings) *int64 { return &s.Limits.MaxLogs })},
	{name: "pipeline-quota", kind: kindList, usage: "total size of one pipeline's artifacts and logs (`PIPELINE=SIZE`); may be repeated",
		set: quotas},
	{name: "keep-cache-for", usage: "`TIME` without a hit after which a cached result is deleted", computed: "no limit",
		set: span(func(s *agentSettings) *time.Duration { return &s.Limits.KeepCacheFor })},
	{name: "max-cache", usage: "total `SIZE` of cached results; the least recently used are deleted first", computed: "no limit",
		set: sized(func(s *agentSettings) *int64 { return &s.Limits.MaxCache })},
	{name: "keep-tool-cache-for", usage: "`TIME` without a hit after which an entry of a remote cache is deleted", computed: "no limit",
		set: span(func(s *agentSettings) *time.Duration { return &s.Limits.KeepToolCacheFor })},
	{name: "max-tool-cache", usage: "total `SIZE` of the remote caches of ccache, Bazel and Turborepo; off for no limit", def: "10GiB",
		set: rate(func(s *agentSettings) *int64 { return &s.Limits.MaxToolCache })},
	{name: "tool-cache-max-entry", usage: "`SIZE` of the largest entry that a remote cache accepts", def: "1GiB",
		set: sized(func(s *agentSettings) *int64 { return &s.Limits.MaxToolEntry })},
	{name: "keep-module-caches-for", usage: "`TIME` without use after which this node deletes what a pipeline keeps with caches", def: "30d",
		set: span(func(s *agentSettings) *time.Duration { return &s.Limits.KeepModuleCaches })},
	{name: "max-module-caches", usage: "total `SIZE` of what pipelines keep with caches on this node; off for no limit", def: "20GiB",
		set: rate(func(s *agentSettings) *int64 { return &s.Limits.MaxModuleCaches })},
	{name: "snapshot-dir", usage: "`DIR` in which the leader saves snapshots of the state", computed: "none is saved",
		set: text(func(s *agentSettings) *string { return &s.Snapshots.Dir })},
	{name: "snapshot-every", usage: "`TIME` between two snapshots in snapshot_dir", def: "24h",
		set: span(func(s *agentSettings) *time.Duration { return &s.Snapshots.Every })},
	{name: "snapshot-keep", kind: kindNumber, usage: "number `N` of snapshots that are kept in snapshot_dir", def: "7",
		set: number(1, 10_000, func(s *agentSettings) *int { return &s.Snapshots.Keep })},
	{name: "low-water", usage: "free `SIZE` on the disk below which the node accepts neither modules nor blobs", computed: "512MiB or 5 % of the disk, whichever is less",
		set: sized(func(s *agentSettings) *int64 { return &s.Limits.LowWater })},
	{name: "sweep-grace", usage: "`TIME` for which unused blobs are kept; at least 5m", def: "1h",
		set: span(func(s *agentSettings) *time.Duration { return &s.Limits.SweepGrace })},
	{name: "log-limit", usage: "`SIZE` of an attempt's output that is kept: its beginning and its end, half each", def: "256MiB",
		set: sized(func(s *agentSettings) *int64 { return &s.Limits.LogLimit })},
	{name: "repair-rate", usage: "background replication rate, bytes per second (`SIZE`); off for no limit", def: "64MiB",
		set: rate(func(s *agentSettings) *int64 { return &s.Limits.RepairRate })},
	{name: "scrub-rate", usage: "background verification rate, bytes per second (`SIZE`); off for no verification", def: "8MiB",
		set: rate(func(s *agentSettings) *int64 { return &s.Limits.ScrubRate })},
	{name: "scrub-every", usage: "pause (`TIME`) between two verifications of all blobs", def: "6h",
		set: span(func(s *agentSettings) *time.Duration { return &s.Limits.ScrubEvery })},
}
