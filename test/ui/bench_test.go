package ui_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/pipelined/pipelined/test/harness"
)

// Figures of docs/dashboard.md. Run them with make bench-ui: each prints what it
// measured, once, and fails only if the page does not do its work.

// hundred writes 100 MB of output, 1.2 million lines with colours.
const hundred = `
pipeline "hundred" {
  module "lines" {
    script = <<-END
      awk 'BEGIN {
        for (i = 1; n < 104857600; i++) {
          if (i % 10 == 0) s = sprintf("\033[32m✓\033[0m github.com/example/app/internal/pkg%03d \033[2m%d.%03ds\033[0m", i % 300, i % 9, i % 999)
          else if (i % 10 == 5) s = sprintf("\033[1;33mwarning:\033[0m unused variable \033[36mx%d\033[0m in src/main_%d.rs:%d:%d", i % 99, i % 50, i % 900, i % 80)
          else s = sprintf("2026-11-28T21:%02d:%02dZ compile step %d of module %x: object written, %d bytes", i % 60, i % 59, i, i * 7919, i * 31)
          n += length(s) + 1
          print s
        }
        print "needle-at-the-end: linker exited with 1"
      }'
    END
  }
}
`

// shown waits, frame by frame, until a row of the log is as a condition wants, and
// gives the milliseconds since it was called.
const shown = `(what, act) => new Promise(done => {
	const from = performance.now()
	act()
	const look = () => [...document.querySelectorAll('.line')].some(what) ? done(performance.now() - from) : requestAnimationFrame(look)
	look()
})`

func BenchmarkLog(b *testing.B) {
	browser := newBrowser(b)
	c := start(b, 3)
	id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", c.WriteFile("q/hundred.hcl", hundred)))
	c.OK("wait", id)
	p := newTab(b, browser)
	p.signIn(c.Nodes[0].URL+"/runs/"+id+"/graph", strings.TrimSpace(c.OK("token", "create", "-role", "read")))
	p.shows("1 of 1")
	measure := func(name, what, act string) {
		b.Helper()
		ms, err := strconv.ParseFloat(p.text(fmt.Sprintf("(%s)(%s, () => { %s })", shown, what, act)), 64)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(ms, name)
	}
	input := "const i = document.querySelector('.logbar input'); i.value = %s; i.dispatchEvent(new Event('input', { bubbles: true }))"
	end := "e => e.innerText.includes('needle-at-the-end')"

	for range b.N {
		measure("ms-to-end", end, "history.pushState(null, '', '/runs/"+id+"/log?m=lines'); dispatchEvent(new PopStateEvent('popstate'))")
		measure("ms-to-line", "e => e.querySelector('[data-no=\"700000\"]') && e.querySelector('.text')", fmt.Sprintf(input, "':700000'"))
		measure("ms-to-search", end, fmt.Sprintf(input, "'needle-at-the-end'"))
		p.until("document.querySelector('.hits').innerText === '1 of 1'")
		measure("ms-to-search-frequent", "e => e.querySelector('mark')?.innerText === 'unused variable' && document.querySelector('.hits').innerText.includes(' of 119,')", fmt.Sprintf(input, "'unused variable'"))

		measure("ms-to-other-line", "e => e.querySelector('[data-no=\"300000\"]') && e.querySelector('.text')", fmt.Sprintf(input, "':300000'"))

		// Through all of it, so that there is as much in memory as there may be.
		p.text(fmt.Sprintf("(async () => { for (let n = 5000; n < 1190000; n += 9000) await (%s)(e => e.querySelector('[data-no=\"' + n + '\"]') && e.querySelector('.text'), () => { const i = document.querySelector('.logbar input'); i.value = ':' + n; i.dispatchEvent(new Event('input', { bubbles: true })) }) })()", shown))
		b.ReportMetric(heap(b, p.ctx)/1e6, "MB-heap")
		measure("ms-back-to-end", end, fmt.Sprintf(input, "':1200000'"))
	}
	conditions(b)
}

// BenchmarkPaint compares the first paint of the dashboard with that of an empty page, in
// fresh windows, in turn.
func BenchmarkPaint(b *testing.B) {
	browser := newBrowser(b)
	c := start(b, 1)
	empty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<!doctype html><title>empty</title><p>empty")
	}))
	b.Cleanup(empty.Close)
	measure := func(url string) (paint, sent float64) {
		p := newTab(b, browser)
		p.open(url)
		p.until("performance.getEntriesByName('first-contentful-paint').length && document.fonts.status === 'loaded'")
		number := func(expression string) float64 {
			n, err := strconv.ParseFloat(p.text(expression), 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
		return number("performance.getEntriesByName('first-contentful-paint')[0].startTime"),
			number("[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].reduce((n, e) => n + e.transferSize, 0)")
	}
	median := func(list []float64) float64 { slices.Sort(list); return list[len(list)/2] }

	for range b.N {
		var bare, full, ratios []float64
		var sent float64
		for range 9 {
			one, _ := measure(empty.URL)
			two, bytes := measure(c.Nodes[0].URL + "/runs")
			bare, full, ratios, sent = append(bare, one), append(full, two), append(ratios, two/one), bytes
		}
		b.ReportMetric(median(bare), "ms-empty-page")
		b.ReportMetric(median(full), "ms-dashboard")
		b.ReportMetric(median(ratios), "ratio")
		b.ReportMetric(sent/1e3, "KB-sent")
	}
	conditions(b)
}

// heap is what a page's objects take after a collection, in bytes.
func heap(b *testing.B, ctx context.Context) float64 {
	b.Helper()
	var used float64
	err := chromedp.Do(ctx, func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		if _, err := cdp.Call(ctx, t, heapprofiler.CollectGarbage, cdp.Empty{}); err != nil {
			return chromedp.Void{}, err
		}
		usage, err := cdp.Call(ctx, t, runtime.GetHeapUsage, cdp.Empty{})
		if err == nil {
			used = usage.UsedSize
		}
		return chromedp.Void{}, err
	})
	if err != nil {
		b.Fatal(err)
	}
	return used
}

// conditions reports how busy the machine was.
func conditions(b *testing.B) {
	load, err := os.ReadFile(filepath.FromSlash("/proc/loadavg"))
	if err != nil {
		return
	}
	first, _, _ := strings.Cut(string(load), " ")
	if n, err := strconv.ParseFloat(first, 64); err == nil {
		b.ReportMetric(n, "load")
	}
}

// waves is a pipeline of 1,000 modules in 20 waves of 50 that all wait for a worker
// that does not exist: each after two of the wave before, or after all 50 of it.
func waves(all bool) string {
	var b strings.Builder
	b.WriteString("pipeline \"waves\" {\n")
	for wave := range 20 {
		var names []string
		for i := range 50 {
			names = append(names, fmt.Sprintf("module.m%d_%d", wave-1, i))
		}
		if wave > 0 && all {
			fmt.Fprintf(&b, "template \"wave%d\" {\n depends_on = [%s]\n command = [\"true\"]\n}\n", wave, strings.Join(names, ", "))
		}
		for i := range 50 {
			fmt.Fprintf(&b, "module \"m%d_%d\" {\n", wave, i)
			switch {
			case wave == 0:
				b.WriteString(" command = [\"true\"]\n requires = { tags = [\"missing\"] }\n")
			case all:
				fmt.Fprintf(&b, " use = template.wave%d\n", wave)
			default:
				fmt.Fprintf(&b, " command = [\"true\"]\n depends_on = [%s, %s]\n", names[i], names[(i*7+wave+1)%50])
			}
			b.WriteString("}\n")
		}
	}
	b.WriteString("}\n")

	return b.String()
}

// frames changes four boxes in each of n frames, and moves the graph by a function of
// the frame.
const frames = `(n, move) => new Promise(done => {
	const g = window.graph, kinds = ['wait', 'run', 'ok', 'bad']
	let i = 0, seq = 0
	const frame = () => {
		const faces = g.faces.slice()
		for (let k = 0; k < 4; k++, seq++) {
			const at = seq * 37 % faces.length
			faces[at] = { ...faces[at], kind: kinds[(kinds.indexOf(faces[at].kind) + 1) % 4] }
		}
		g.setFaces(faces)
		move(g, i)
		if (++i < n) requestAnimationFrame(frame)
		else done()
	}
	requestAnimationFrame(frame)
})`

func BenchmarkGraph(b *testing.B) {
	for name, all := range map[string]bool{"sparse": false, "all-to-all": true} {
		b.Run(name, func(b *testing.B) {
			browser := newBrowser(b)
			c := start(b, 1)
			id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", c.WriteFile("q/waves.hcl", waves(all))))
			p := newTab(b, browser)
			p.do(chromedp.EmulateViewport(1600, 1000))
			p.signIn(c.Nodes[0].URL+"/runs/"+id+"/graph?fold=none", strings.TrimSpace(c.OK("token", "create", "-role", "read")))
			p.until("window.graph?.faces?.length === 1000")
			for range b.N {
				for _, m := range []struct{ name, view, move string }{
					{"still-all", "window.graph.fit()", "() => {}"},
					{"pan-all", "window.graph.fit()", "(g, i) => g.pan(Math.sin(i / 10) * 20 / g.scale, Math.cos(i / 10) * 10 / g.scale)"},
					{"still-near", "(window.graph.zoom(1 / window.graph.scale), window.graph.pan(800, 600))", "() => {}"},
					{"pan-near", "(window.graph.fit(), window.graph.zoom(1 / window.graph.scale), window.graph.pan(-9999, -9999))", "(g, i) => g.pan(12, 8)"},
					{"zoom", "window.graph.fit()", "(g, i) => g.zoom(i % 60 < 30 ? 1.04 : 1 / 1.04)"},
				} {
					p.text(m.view + ", 0")
					p.text("new Promise(f => requestAnimationFrame(() => requestAnimationFrame(f)))")
					const n = 90
					before := chromiumCPU(b)
					p.text(fmt.Sprintf("(%s)(%d, %s)", frames, n, m.move))
					b.ReportMetric((chromiumCPU(b)-before)/n, "ms-cpu/frame-"+m.name)
				}
			}
			conditions(b)
		})
	}
}

// chromiumCPU is the time that all processes of Chromium have used, in milliseconds.
func chromiumCPU(b *testing.B) float64 {
	b.Helper()
	var ticks int
	for _, pid := range harness.Descendants(os.Getpid()) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended
		}
		name, rest, _ := strings.Cut(string(stat), ") ")
		if !strings.Contains(name, "chrom") {
			continue
		}
		fields := strings.Fields(rest)
		for _, i := range []int{11, 12} {
			n, err := strconv.Atoi(fields[i])
			if err != nil {
				b.Fatal(err)
			}
			ticks += n
		}
	}
	return float64(ticks) * 10 // ticks of 100 a second
}
