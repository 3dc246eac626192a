package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// limitsTable lists the settings about what is kept, and for how long.
var limitsTable = []setting{
	{"keep-runs", kindNumber, "keep `N` finished runs", "10000", number(1, math.MaxInt32, func(s *agentSettings) *int { return &s.Limits.KeepRuns })},
	{"keep-runs-for", kindText, "keep finished runs for this `TIME`", "for ever", span(func(s *agentSettings) *time.Duration { return &s.Limits.KeepRunsFor })},
	{"keep-artifacts-for", kindText, "keep artifacts of finished runs for this `TIME`", "as long as the run", span(func(s *agentSettings) *time.Duration { return &s.Limits.KeepArtifactsFor })},
	{"keep-logs-for", kindText, "keep logs of finished runs for this `TIME`", "as long as the run", span(func(s *agentSettings) *time.Duration { return &s.Limits.KeepLogsFor })},
	{"max-artifacts", kindText, "keep artifacts of finished runs of this `SIZE` in all, the newest", "no limit", sized(func(s *agentSettings) *int64 { return &s.Limits.MaxArtifacts })},
	{"max-logs", kindText, "keep logs of finished runs of this `SIZE` in all, the newest", "no limit", sized(func(s *agentSettings) *int64 { return &s.Limits.MaxLogs })},
	{"keep-cache-for", kindText, "keep recorded results that are not taken for this `TIME`", "no limit", span(func(s *agentSettings) *time.Duration { return &s.Limits.KeepCacheFor })},
	{"max-cache", kindText, "keep recorded results of this `SIZE` in all, those taken last", "no limit", sized(func(s *agentSettings) *int64 { return &s.Limits.MaxCache })},
	{"keep-tool-cache-for", kindText, "keep what ccache, Bazel and Turborepo put and do not take for this `TIME`", "no limit", span(func(s *agentSettings) *time.Duration { return &s.Limits.KeepToolCacheFor })},
	{"max-tool-cache", kindText, "keep this `SIZE` of it in all, what was taken last; off for no limit", "10GiB", rate(func(s *agentSettings) *int64 { return &s.Limits.MaxToolCache })},
	{"tool-cache-max-entry", kindText, "take entries of it up to this `SIZE`", "1GiB", sized(func(s *agentSettings) *int64 { return &s.Limits.MaxToolEntry })},
	{"low-water", kindText, "take no work and no blobs with less than this `SIZE` free on the disk", "512MiB or 5 % of the disk, whichever is less", sized(func(s *agentSettings) *int64 { return &s.Limits.LowWater })},
	{"pipeline-quota", kindList, "`PIPELINE=SIZE` of its artifacts and logs together; may be repeated", "", quotas},
	{"sweep-grace", kindText, "keep blobs that nothing needs for this `TIME`", "1h", span(func(s *agentSettings) *time.Duration { return &s.Limits.SweepGrace })},
	{"log-limit", kindText, "keep this `SIZE` of an attempt's output: its beginning and its end", "256MiB", sized(func(s *agentSettings) *int64 { return &s.Limits.LogLimit })},
	{"repair-rate", kindText, "make second copies at this `SIZE` a second; off for no bound", "64MiB", rate(func(s *agentSettings) *int64 { return &s.Limits.RepairRate })},
	{"scrub-rate", kindText, "look for damaged blobs at this `SIZE` a second; off for never", "8MiB", rate(func(s *agentSettings) *int64 { return &s.Limits.ScrubRate })},
	{"scrub-every", kindText, "pause for this `TIME` between two looks for damaged blobs", "6h", span(func(s *agentSettings) *time.Duration { return &s.Limits.ScrubEvery })},
}

func init() { agentTable = append(agentTable, limitsTable...) }

// span takes a time above 0: 90m, 36h, 30d.
func span(to func(*agentSettings) *time.Duration) func(*agentSettings, []string) error {
	return func(s *agentSettings, v []string) error {
		d, err := parseSpan(v[0])
		if err != nil {
			return err
		}
		*to(s) = d
		return nil
	}
}

func parseSpan(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	var days float64
	if n, ok := strings.CutSuffix(text, "d"); ok && err != nil {
		if _, err = fmt.Sscanf(n+" ", "%f ", &days); err == nil && days < 100_000 {
			d = time.Duration(days * 24 * float64(time.Hour))
		}
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("want a time such as 90m, 36h or 30d")
	}
	return d, nil
}

// sized takes a size above 0: 500MB, 20GiB.
func sized(to func(*agentSettings) *int64) func(*agentSettings, []string) error {
	return func(s *agentSettings, v []string) error {
		n, err := parseSize(v[0])
		if err != nil {
			return err
		}
		*to(s) = n
		return nil
	}
}

func parseSize(text string) (int64, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > math.MaxInt64 {
		return 0, fmt.Errorf("want a size such as 500MB or 20GiB")
	}
	return int64(n), nil
}

// rate is a size, or off.
func rate(to func(*agentSettings) *int64) func(*agentSettings, []string) error {
	return func(s *agentSettings, v []string) error {
		if v[0] == "off" {
			*to(s) = -1
			return nil
		}
		return sized(to)(s, v)
	}
}

func quotas(s *agentSettings, v []string) error {
	s.Limits.Quota = map[string]int64{}
	for _, item := range v {
		name, size, ok := strings.Cut(item, "=")
		n, err := parseSize(size)
		if !ok || name == "" || err != nil {
			return fmt.Errorf("want PIPELINE=SIZE, such as build=20GiB")
		}
		s.Limits.Quota[name] = n
	}
	return nil
}
