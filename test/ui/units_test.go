package ui_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/evanw/esbuild/pkg/api"
)

// pure are the parts of the dashboard that need neither a page nor a node.
var pure = []string{"ansi", "format", "graphlines", "loggroups", "search", "timescale"}

// loadPure opens a page that has the parts as the object ui.
func loadPure(t *testing.T) *tab {
	t.Helper()
	var source strings.Builder
	for _, name := range pure {
		source.WriteString("export * as " + name + " from './" + name + "'\n")
	}
	built := api.Build(api.BuildOptions{
		Stdin:  &api.StdinOptions{Contents: source.String(), ResolveDir: "../../api/ui/src/app", Loader: api.LoaderTS},
		Bundle: true, Format: api.FormatIIFE, GlobalName: "ui", Target: api.ES2022,
	})
	if len(built.Errors) > 0 {
		t.Fatalf("%+v", built.Errors)
	}

	p := newTab(t, newBrowser(t))
	if _, err := chromedp.Run(p.ctx, chromedp.Evaluate[any](string(built.OutputFiles[0].Contents)+";window.ui = ui;0")); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestUnits tests parts by themselves, in the browser that they run in.
func TestUnits(t *testing.T) {
	p := loadPure(t)
	for part, cases := range map[string][][2]string{
		"ansi": {
			{`shown('plain')`, `plain`},
			{`shown('\x1b[32mok\x1b[0m done')`, `[f2:ok] done`},
			{`shown('\x1b[1;31mred\x1b[22m thin')`, `[f1 bold:red][f1: thin]`},
			{`shown('\x1b[91;44mx\x1b[39;49my')`, `[f9 g4:x]y`},
			{`shown('\x1b[m\x1b[7mx\x1b[27my')`, `[inverse:x]y`},
			{`shown('\x1b[38;5;196mx')`, `[rgb(255,0,0):x]`},
			{`shown('\x1b[38;5;9mx')`, `[f9:x]`},
			{`shown('\x1b[38;5;244mx')`, `[rgb(128,128,128):x]`},
			{`shown('\x1b[48;2;1;2;3;4mx')`, `[under on rgb(1,2,3):x]`},
			{`shown('10%\r100%\r')`, `100%`}, // what a line was overwritten with
			{`shown('10%\r\x1b[K100%')`, `100%`},
			{`shown('\x1b]8;;http://example.com\x07link\x1b]8;;\x07')`, `link`},
			{`shown('\x1b]0;title\x1b\\text')`, `text`},
			{`shown('\x1b[2J\x1b[1;1Ha\x08b\x00c')`, `abc`},
			{`shown('a\x1b[31')`, `a`}, // a sequence that is cut
			{`shown('a\tb')`, "a\tb"},
			{`shown('<b>&amp;')`, `<b>&amp;`},
			{`ui.ansi.plain('\x1b[32mok\x1b[0m done')`, `ok done`},
		},
		"format": {
			{`ui.format.duration(NaN)`, ``},
			{`ui.format.duration(0.25)`, `250 ms`},
			{`ui.format.duration(9.94)`, `9.9s`},
			{`ui.format.duration(59.4)`, `59s`},
			{`ui.format.duration(60)`, `1m 00s`},
			{`ui.format.duration(3725)`, `1h 02m`},
			{`ui.format.duration(2 * 86400 + 3600)`, `2d 1h`},
			{`ui.format.coarse(-3)`, `0s`},
			{`ui.format.coarse(3599)`, `59m`},
			{`ui.format.coarse(47 * 3600)`, `47h`},
			{`ui.format.coarse(49 * 3600)`, `2d`},
			{`ui.format.bytes(999)`, `999 B`},
			{`ui.format.bytes(1234)`, `1.2 KiB`},
			{`ui.format.bytes(123456789)`, `118 MiB`},
			{`ui.format.bytes(5 * 1024 ** 5)`, `5120 TiB`},
			{`ui.format.count(1, 'try', 'tries')`, `1 try`},
			{`ui.format.count(1200, 'try', 'tries')`, `1,200 tries`},
			{`ui.format.modulesWait(1) + ', ' + ui.format.modulesWait(2)`, `1 module waits, 2 modules wait`},
			{`ui.format.median([])`, `NaN`},
			{`ui.format.median([3, 1, 2])`, `2`},
			{`ui.format.median([4, 1, 2, 3])`, `2.5`},
			{`ui.format.percent(undefined)`, ``},
			{`ui.format.percent(0)`, `0 %`},
			{`ui.format.percent(0.004)`, `< 1 %`},
			{`ui.format.percent(0.995)`, `100 %`},
			{`ui.format.roundTrip(0.000123)`, `0.12`},
			{`ui.format.roundTrip(0.0012)`, `1.2`},
			{`ui.format.roundTrip(0.0456)`, `46`},
			{`ui.format.quote('unit[fsm/retain]')`, `'unit[fsm/retain]'`},
			{`ui.format.quote("it's")`, `'it'\''s'`},
			{`ui.format.quote('a-b.c/d:e=f@g')`, `a-b.c/d:e=f@g`},
			{`ui.format.quote('')`, `''`},
			{`ui.format.revision('0.0.0-20261129150204-de3bdf8c1a2b+dirty')`, `de3bdf8c1a2b+dirty`},
			{`ui.format.revision('v1.2.3')`, `v1.2.3`},
			{`ui.format.seconds(null)`, `NaN`},
			{`ui.format.seconds('1970-01-01T00:01:00.5Z')`, `60.5`},
		},
		"search": {
			{`ui.search.hasWords('release 12 ann main', 'MAIN rel')`, `true`},
			{`ui.search.hasWords('release 12 ann main', 'main bob')`, `false`},
			{`ui.search.hasWords('release', '  ')`, `true`},
			{`ui.search.score('release 12', 'rel')`, `3`},
			{`ui.search.score('pre-release 12', 'rel 12')`, `4`},
			{`ui.search.score('unreleased', 'rel')`, `1`},
			{`ui.search.score('release', 'x rel')`, `-1`},
		},
		"graphlines": {
			// Two lines from one point: what they share is drawn once.
			{`drawn([[0, 0, 10, 0, 10, 20], [0, 0, 10, 0, 10, -20]])`, `0,0 10,0; 10,-20 10,20`},
			{`drawn([[0, 0, 10, 0], [10, 0, 30, 0], [40, 0, 50, 0]])`, `0,0 30,0; 40,0 50,0`},
			{`drawn([[30, 5, 10, 5]])`, `10,5 30,5`},
			{`drawn([[5, 5, 5, 5]])`, ``},
			// What is beyond the part is not drawn.
			{`drawn([[0, 0, 1000, 0], [0, 500, 10, 500]], { x0: 0, y0: 0, x1: 100, y1: 100 })`, `0,0 107.5,0`},
		},
		"timescale": {
			{`(s => [s.x(0), s.x(50), s.x(100)].join())(scale(0, 100, [[0, 100]]))`, `0,500,1000`},
			{`(s => [s.time(0), s.time(500), s.time(1000)].join())(scale(0, 100, [[0, 100]]))`, `0,50,100`},
			// A night before an approval folds to a strip; what is before and after has the rest.
			{`(s => [s.gaps.map(g => g.from + '-' + g.to + '@' + g.x).join(), s.x(10), s.x(10010), s.x(10020)].join())(scale(0, 10020, [[0, 10], [10010, 10020]]))`, `10-10010@485,485,515,1000`},
			{`(s => [12, 5000, 10015].every(t => Math.abs(s.time(s.x(t)) - t) < 1e-6))(scale(0, 10020, [[0, 10], [10010, 10020]]))`, `true`},
			{`scale(0, 100, [[0, 40], [50, 100]]).gaps.length`, `0`}, // short
			{`scale(0, 100, [[0, 100]]).ticks(0, 90).join()`, `0,10,20,30,40,50,60,70,80,90,100`},
			{`scale(1000, 1000, []).x(1000)`, `0`},
		},
		"loggroups": {
			{`groups(['::group::Set up', 'a', '::endgroup::', 'b'])`, `1-3 closed`},
			{`groups(['::group::one', 'a', '::group::two', 'b'])`, `1-2 closed, 3-Infinity open`},
			{`groups(['section_start:17:build\rBuild', 'a', 'section_end:18:build\r', 'b'])`, `1-3 closed`},
			{`groups(['--- one', 'a', '--- two', 'b'])`, `1-2 closed, 3-Infinity open`},
			{`groups(['--- a/file.go', '+++ b/file.go', '--- FAIL: TestX'])`, ``}, // no headings
			{`groups(['\x1b[1m::group::bold', '::endgroup::'])`, `1-2 closed`},
			{`ui.loggroups.heading('::group::Set up')`, `Set up`},
			{`ui.loggroups.heading('section_start:17:build\rBuild it')`, `Build it`},
			{`ui.loggroups.heading('--- one')`, `one`},
			{`ui.loggroups.heading('other')`, `other`},
			{`ui.loggroups.ending('::endgroup::') && !ui.loggroups.ending('endgroup')`, `true`},
		},
	} {
		t.Run(part, func(t *testing.T) {
			p.t = t
			for _, tc := range cases {
				if got := p.text("((shown, drawn, scale, groups) => " + tc[0] + ")(" + helpers + ")"); got != tc[1] {
					t.Errorf("%s gives %q, want %q", tc[0], got, tc[1])
				}
			}
		})
	}
}

// helpers are the functions shown, drawn, scale and groups of the cases above.
const helpers = `line => ui.ansi.spans(line).map(s => {
	const style = [s.classes, s.colour, s.background && 'on ' + s.background].filter(Boolean).join(' ')
	return style ? '[' + style + ':' + s.text + ']' : s.text
}).join(''),
(lines, part = { x0: -1e6, y0: -1e6, x1: 1e6, y1: 1e6 }) => {
	const rects = []
	const context = { fillRect: (x, y, w, h) => rects.push(w === 1 ? [x + 0.5, y, x + 0.5, y + h] : [x, y + 0.5, x + w, y + 0.5]) }
	new ui.graphlines.Lines(lines.map(points => ({ points }))).draw(context, part, 1, 1, false)
	return rects.map(([a, b, c, d]) => a + ',' + b + ' ' + c + ',' + d).join('; ')
},
(from, to, busy) => new ui.timescale.TimeScale(from, to, busy, 0, 1000),
lines => {
	const g = new ui.loggroups.Groups()
	lines.forEach((text, i) => g.line(i + 1, text))
	return g.list.map(g => g.from + '-' + g.to + (g.closed ? ' closed' : ' open')).join(', ')
}`
