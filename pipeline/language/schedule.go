package language

import (
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/calendar"
)

// The names of the blocks.
const (
	scheduleBlock    = "schedule"
	concurrencyBlock = "concurrency"
)

var (
	scheduleSpecs = map[string]spec[pipeline.Schedule]{
		"cron":     {kind: kindTexts, alone: true, check: checkCron, set: func(s *pipeline.Schedule, r reading) { s.Cron = unique(r.texts) }},
		"timezone": {kind: kindText, check: checkZone, set: func(s *pipeline.Schedule, r reading) { s.Timezone = r.text }},
		"overlap": {kind: kindText, check: oneOf(pipeline.OverlapSkip, pipeline.OverlapQueue, pipeline.OverlapAllow),
			set: func(s *pipeline.Schedule, r reading) { s.Overlap = r.text }},
		"catch_up": {kind: kindText, check: oneOf(pipeline.CatchUpNone, pipeline.CatchUpLast, pipeline.CatchUpAll),
			set: func(s *pipeline.Schedule, r reading) { s.CatchUp = r.text }},
	}
	concurrencySpecs = map[string]spec[pipeline.Concurrency]{
		"group":              {kind: kindText, check: checkGroup, set: func(x *pipeline.Concurrency, r reading) { x.Group = r.text }},
		"cancel_in_progress": {kind: kindFlag, set: func(x *pipeline.Concurrency, r reading) { x.CancelInProgress = r.flag }},
	}
)

// settings is a block of the pipeline with attributes only; at is nil if the
// source has none.
type settings[T any] struct {
	at      *hcl.Range
	static  T
	pending []pending[T]
}

// settingsBlock decodes such a block.
func settingsBlock[T any](p *parser, into *settings[T], b *hclsyntax.Block, specs map[string]spec[T]) {
	into.at = &b.TypeRange
	names := slices.Sorted(maps.Keys(specs))
	p.noBlocks(b.Body, b.Type, names)
	for _, a := range attributes(b.Body) {
		if s, known := specs[a.Name]; known {
			into.pending = decodeInto(p, into.pending, &into.static, a.Name, a.Expr, s, -1)
		} else {
			p.unknown("attribute", a.Name, a.NameRange, b.Type, names)
		}
	}
}

// value returns the settings of the block; nil if there is none.
func (s *settings[T]) value(c *compilation) *T {
	if s.at == nil {
		return nil
	}
	out := s.static
	for i := range s.pending {
		apply(c, &out, &s.pending[i])
	}
	return &out
}

func (p *parser) schedule(b *hclsyntax.Block) {
	settingsBlock(p, &p.file.schedule, b, scheduleSpecs)
	if _, given := b.Body.Attributes["cron"]; !given {
		p.absent(b.TypeRange, `write cron = "0 3 * * *"`, "schedule without cron")
	}
}

func (p *parser) concurrency(b *hclsyntax.Block) {
	settingsBlock(p, &p.file.concurrency, b, concurrencySpecs)
}

// runs settles when runs of the pipeline are made and which of them go at once.
func (c *compilation) runs() {
	if s := c.file.schedule.value(c); s != nil {
		if len(s.Cron) == 0 && len(c.list) == 0 {
			c.add(*c.file.schedule.at, `write cron = "0 3 * * *"`, "cron is empty")
		}

		if n := len(s.Cron); n > calendar.MaxExpressions {
			c.add(*c.file.schedule.at, "", "%d cron expressions are more than %d", n, calendar.MaxExpressions)
		}

		// The name of the pipeline is that of its schedule.
		s.Cron = slices.Clone(s.Cron)
		for i := range s.Cron {
			if text, err := calendar.Spread(s.Cron[i], c.out.Name); err == nil { // checkCron reports the others
				s.Cron[i] = text
			}
		}

		if s.Timezone == "" {
			s.Timezone = "UTC"
		}

		if s.CatchUp == "" {
			s.CatchUp = pipeline.CatchUpLast
		}

		switch {
		case s.Overlap != "":
		case s.CatchUp == pipeline.CatchUpAll:
			s.Overlap = pipeline.OverlapQueue // else what was missed would be skipped after all
		default:
			s.Overlap = pipeline.OverlapSkip
		}

		c.out.Schedule = s
	}

	if x := c.file.concurrency.value(c); x != nil {
		if x.Group == "" {
			x.Group = c.out.Name
		}
		c.out.Concurrency = x
	}
}

// Scheduled reports whether the pipeline has a schedule.
func (f *File) Scheduled() bool { return f.schedule.at != nil }

func checkCron(s string) *problem {
	if err := calendar.Check(s); err != nil {
		return wrong(`write minute, hour, day of month, month and day of week, such as "0 3 * * *" (the seconds may stand before them), or @daily, or @every 90s`,
			"invalid cron expression %s: %v", quote(s), err)
	}
	return nil
}

func checkZone(s string) *problem {
	if s == "" {
		return wrong(`write a name such as "Europe/London" or "UTC"`, "empty time zone")
	}
	if _, err := calendar.Zone(s); err != nil {
		return wrong(`write a name of the IANA database, such as "Europe/London" or "UTC"`, "invalid time zone: %v", err)
	}
	return nil
}

// checkGroup is for names of groups, which are shared by all pipelines.
func checkGroup(s string) *problem {
	if strings.TrimSpace(s) == "" || len(s) > pipeline.MaxGroupBytes || strings.ContainsFunc(s, unicode.IsControl) {
		return wrong("it has from 1 to 255 bytes, and no control character", "invalid group %s", quote(s))
	}
	return nil
}
