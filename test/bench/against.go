package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// versus are the figures of one line of both binaries, round by round.
type versus struct {
	what   string
	rounds series // product: the first binary; floor: the other one
}

// pairReport compares two binaries, line by line.
type pairReport struct {
	conditions []string
	lines      []*versus
	failed     []string
}

// pairs measures two binaries in turn: each round runs every part once with the
// one and once with the other, in alternating order, so that what the machine does
// meanwhile meets both.
func (b *bench) pairs(chosen []part) (*pairReport, error) {
	other, err := filepath.Abs(b.against)
	if err != nil {
		return nil, err
	}

	r := &pairReport{}
	err = b.repeat(b.rounds, func(round int) error {
		for _, p := range chosen {
			first, second := b.side(b.bin), b.side(other)
			order := []*bench{first, second}
			if round%2 == 1 {
				order = []*bench{second, first}
			}

			for _, side := range order {
				if err := side.all([]part{p}); err != nil {
					return err
				}
				for _, f := range side.report.failed {
					r.failed = append(r.failed, fmt.Sprintf("round %d, %s: %s", round+1, filepath.Base(side.bin), f))
				}
			}

			if len(r.conditions) == 0 {
				r.conditions = append(first.report.conditions, "against: "+filepath.Base(other))
			}

			r.add(first.report.lines, second.report.lines)
		}

		return nil
	})

	return r, err
}

// side is this benchmark for one binary and one round.
func (b *bench) side(bin string) *bench {
	o := b.options
	o.bin, o.rounds = bin, 1
	return &bench{options: o, ctx: b.ctx, log: b.log}
}

// add pairs the lines that both have.
func (r *pairReport) add(first, second []line) {
	figures := map[string]float64{}
	for _, l := range second {
		figures[l.what] = l.number()
	}
	for _, l := range first {
		r.find(l.what).rounds.add(l.number(), figures[l.what])
	}
}

// number is the product's side of a line, or its value if there is no other
// side.
func (l line) number() float64 {
	if l.figure > 0 {
		return l.figure
	}
	return l.value
}

func (r *pairReport) find(what string) *versus {
	for _, v := range r.lines {
		if v.what == what {
			return v
		}
	}
	v := &versus{what: what}
	r.lines = append(r.lines, v)
	return v
}

// write prints the report as Markdown. Figures are in the unit of their line;
// durations are in milliseconds.
func (r *pairReport) write(w io.Writer) error {
	var b strings.Builder
	b.WriteString("## Conditions\n\n")

	for _, c := range r.conditions {
		fmt.Fprintf(&b, "- %s\n", c)
	}

	b.WriteString("\n## Side by side\n\n| line | this binary | the other one | ratio, median | rounds from, to |\n|---|---|---|---|---|\n")

	for _, v := range r.lines {
		fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %s |\n", v.what, number(v.rounds.product()), number(v.rounds.floor()), v.rounds.ratio(), v.rounds.spread())
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

// number formats a figure: one larger than any ratio is a duration in
// nanoseconds.
func number(v float64) string {
	const smallestDuration = 1e4 // 10 µs
	if v >= smallestDuration {
		return fmt.Sprintf("%.3g ms", v/1e6)
	}
	return fmt.Sprintf("%.3g", v)
}
