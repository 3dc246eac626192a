package main

import (
	"fmt"
	"io"
	"strings"
)

// line is a row of the table: one of the project's performance goals.
type line struct {
	id, what       string
	product, floor string
	// figure is the product's side as a number, for a comparison with another
	// binary; 0 means value.
	figure float64
	// value is what the bounds apply to: a ratio, or, if there is no floor, an
	// absolute figure in unit.
	value         float64
	unit          string
	must, stretch float64
	note          string
}

// verdict says what was reached.
func (l line) verdict() string {
	switch {
	case l.value <= 0:
		return "not measured"
	case l.must <= 0:
		return "-"
	case l.value <= l.stretch:
		return "stretch"
	case l.value <= l.must:
		return "must"
	}
	return "**missed**"
}

// bound shows a bound with its unit; "-" for none.
func (l line) bound(b float64) string {
	if b <= 0 {
		return "-"
	}
	return "≤ " + l.show(b)
}

// show formats a value with the line's unit.
func (l line) show(v float64) string {
	switch {
	case v <= 0:
		return "-"
	case l.unit != "":
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.1f", v), "0"), ".") + " " + l.unit
	}
	return fmt.Sprintf("%.2f", v)
}

// report collects what the benchmark found.
type report struct {
	conditions []string
	lines      []line
	// peers are figures of other programs beside ours, for the reader.
	peers []string
	// failed are the parts that could not be measured, and why.
	failed []string
}

// ratioLine makes a row out of a series, of durations in nanoseconds.
func ratioLine(id, what string, s series, must, stretch float64) line {
	return line{id: id, what: what, figure: s.product(), value: s.ratio(), must: must, stretch: stretch,
		product: ms(asDuration(s.product())), floor: ms(asDuration(s.floor())), note: s.spread()}
}

// write prints the report as Markdown.
func (r *report) write(w io.Writer) error {
	var b strings.Builder
	b.WriteString("## Conditions\n\n")

	for _, c := range r.conditions {
		fmt.Fprintf(&b, "- %s\n", c)
	}

	b.WriteString("\n## Goals\n\n| # | goal | product | floor | value | must | stretch | reached | rounds from, to |\n|---|---|---|---|---|---|---|---|---|\n")

	for _, l := range r.lines {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", l.id, l.what, orDash(l.product), orDash(l.floor),
			l.show(l.value), l.bound(l.must), l.bound(l.stretch), l.verdict(), orDash(l.note))
	}

	if len(r.peers) > 0 {
		b.WriteString("\n## Beside it\n\n")
		for _, p := range r.peers {
			fmt.Fprintf(&b, "- %s\n", p)
		}
	}

	if len(r.failed) > 0 {
		b.WriteString("\n## Not measured\n\n")
		for _, f := range r.failed {
			fmt.Fprintf(&b, "- %s\n", f)
		}
	}

	_, err := io.WriteString(w, b.String())

	return err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
