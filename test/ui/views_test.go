package ui_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// viewed has a failure beside a chain of three, variables, files, and links in its output.
const viewed = `
pipeline "viewed" {
  on_failure = "continue"
  variable "version" { default = "0.9.0" }
  variable "regions" { default = ["eu", "us"] }
  variable "key" {
    default   = "the-key-itself"
    sensitive = true
  }
  module "codegen" {
    outputs = ["out/*"]
    script  = <<-END
      mkdir out
      echo 1 > out/a
      echo 2 > out/b
      printf 'see \033]8;;https://example.com/report?a=1\033\\the report\033]8;;\033\\ of today\n'
      printf '\033]8;;javascript:alert(1)\033\\no page\033]8;;\033\\\n'
      printf '\033]8;;https://[broken\033\\no address\033]8;;\a\n'
    END
  }
  module "build" {
    matrix     = { os = ["linux", "darwin", "windows", "plan9"] }
    depends_on = [module.codegen]
    script     = "echo building on $PIPELINED_MODULE"
  }
  module "check" {
    depends_on = [module.build]
    script     = "echo checked"
  }
  module "lint" {
    reports { junit = ["*.xml"] }
    script = "echo \"<testsuite><testcase name='a'/><testcase name='b'><failure/></testcase></testsuite>\" > junit.xml; exit 3"
  }
}
`

// point moves the mouse to the first element of a selector that has a text.
func (p *tab) point(selector, text string) {
	p.t.Helper()
	find := fmt.Sprintf("[...document.querySelectorAll(%s)].find(e => e.innerText.includes(%s))", quoted(selector), quoted(text))
	p.until(find)
	p.pointAt("(r => r.x + r.width / 2 + ' ' + (r.y + r.height / 2))(" + find + ".getBoundingClientRect())")
}

// pointAt moves the mouse to where an expression says.
func (p *tab) pointAt(expression string) {
	p.t.Helper()
	var x, y float64
	if at := p.text(expression); at != "" {
		if _, err := fmt.Sscan(at, &x, &y); err != nil {
			p.t.Fatalf("%s: %v", at, err)
		}
	}
	p.do(func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: input.DispatchMouseEventTypeMouseMoved, X: x, Y: y})
		return chromedp.Void{}, err
	})
}

// dimmed waits until the graph dims these boxes and no others.
func (p *tab) dimmed(boxes ...string) {
	p.t.Helper()
	p.until("window.graph?.faces.filter(f => f.dim).map(f => f.title).sort().join() === " + quoted(strings.Join(boxes, ",")))
}

// slash is the key /. The browser would type one that chromedp presses, whatever the page
// does with it.
const slash = "document.dispatchEvent(new KeyboardEvent('keydown', { key: '/', bubbles: true }))"

func TestDashboard_views(t *testing.T) {
	browser := newBrowser(t)
	c := start(t, 1)
	id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", c.WriteFile("q/viewed.hcl", viewed)))
	c.CLI("wait", id) // it fails
	p := newTab(t, browser)
	p.expected = []string{"status of 404"}
	run := c.Nodes[0].URL + "/runs/1"
	p.signIn(run, strings.TrimSpace(c.OK("token", "create", "-role", "submit")))

	t.Run("overview", func(t *testing.T) {
		p.t = t
		p.until("[...document.querySelectorAll('.head .var')].map(e => e.innerText).join('; ') === " + quoted(`key is sensitive; regions = ["eu","us"]; version = 0.9.0`))
		if got := p.text("document.body.innerText.includes('the-key-itself')"); got != "false" {
			t.Error("the value of a sensitive variable is shown")
		}
		p.until("[...document.querySelectorAll('.tabs a')].map(e => e.innerText.trim()).join('; ').includes('Outputs 2; Tests 1 failed; Events ')")
		p.until("document.querySelector('.of-overview .timeline canvas').checkVisibility() && window.timeline.at('check', 1)")
		p.click(".tabs a", "Plan")
		p.until("document.querySelector('[aria-label=Variables]')?.innerText.includes('0.9.0')")
		p.click(".tabs a", "Overview")
	})

	t.Run("graph", func(t *testing.T) {
		p.t = t
		p.click(".tabs a", "Graph")
		p.until("window.graph?.faces.length === 4")
		p.dimmed()
		p.point(".modules a", "check")
		p.dimmed("lint")
		p.point(".modules a", "lint")
		p.dimmed("build", "check", "codegen")
		p.pointAt("(p => p.x + ' ' + p.y)(window.graph.at(window.graph.faces.findIndex(f => f.title === 'build')))")
		p.dimmed("lint")
		p.point("header a", "viewed")
		p.dimmed()

		p.text(slash)
		p.until("document.activeElement?.id === 'find'")
		p.key("lint")
		p.until("[...document.querySelectorAll('.outline [data-module]')].map(e => e.dataset.module).join() === 'lint'")
		p.dimmed("build", "check", "codegen")
		p.until("new URLSearchParams(location.search).get('q') === 'lint'")
		p.click(".tabs a", "Timeline") // keeps the search
		p.until("location.pathname.endsWith('/timeline') && document.getElementById('find').value === 'lint'")
		p.click(".tabs a", "Graph")

		p.open(run + "/graph")
		p.until("window.graph?.faces.some(f => f.critical)")
		p.click("button", "Critical path")
		p.until("location.search === '?critical=off' && !window.graph.faces.some(f => f.critical)")
		p.open(run + "/graph?critical=off&turn=build")
		p.until("window.graph?.faces.length === 4 && !window.graph.faces.some(f => f.critical)")
		p.until("[...document.querySelectorAll('.outline a')].some(e => e.innerText.includes('plan9'))")
		p.accessible("graph with the list")
	})

	t.Run("timeline", func(t *testing.T) {
		p.t = t
		p.open(run + "/timeline")
		p.click(".modules a", "check")
		p.until("location.pathname.endsWith('/timeline') && new URLSearchParams(location.search).get('m') === 'check'")
		p.until("document.querySelector('.pane .lines')?.innerText.includes('checked')")
		p.point(".modules a", "lint")
		p.until("window.timeline.pointed === 'lint'")
	})

	t.Run("log", func(t *testing.T) {
		p.t = t
		p.click(".tabs a", "Log")
		p.click(".modules a", "codegen")
		p.until("location.pathname.endsWith('/log') && new URLSearchParams(location.search).get('m') === 'codegen'")
		p.until("[...document.querySelectorAll('.line .text')].map(e => e.innerText).filter(Boolean).join('; ') === 'see the report of today; no page; no address'")
		if got := p.text("[...document.querySelectorAll('.lines a')].map(e => [e.innerText, e.href, e.rel, e.target, e.title].join(' ')).join('; ')"); got != "the report https://example.com/report?a=1 noopener noreferrer _blank https://example.com/report?a=1" {
			t.Errorf("links in the output: %s", got)
		}
		p.accessible("output with a link")

		p.text(slash)
		p.until("document.activeElement?.matches('.logbar input')")
		p.key("REP.RT")
		p.until("document.querySelector('.hits').innerText === 'none'")
		p.click(".logbar button", ".*")
		p.until("document.querySelector('.hits').innerText === '1 of 1' && new URLSearchParams(location.search).has('regexp')")
		p.click(".logbar button", "Aa")
		p.until("document.querySelector('.hits').innerText === 'none' && new URLSearchParams(location.search).has('case')")
		p.open(run + "/log?m=codegen&find=REP.RT&case=1&regexp=1")
		p.until("document.querySelector('.hits')?.innerText === 'none' && document.querySelectorAll('.logbar [aria-pressed=true]').length === 2")
		p.open(run + "/log?m=codegen&find=REP.RT&regexp=1")
		p.until("document.querySelector('.hits')?.innerText === '1 of 1' && document.querySelector('.line.hl')?.innerText.includes('the report')")

		p.do(chromedp.Click(chromedp.CSS(".logbar [aria-label^=Times]")))
		p.until("new URLSearchParams(location.search).get('times') === 'absolute' && /^\\d\\d:\\d\\d:\\d\\d$/.test(document.querySelector('.line .time').innerText.trim())")
		p.open(run + "/log?m=codegen&times=none")
		p.until("document.querySelector('.line .text') && !document.querySelector('.line .time')")
		p.click(".modules a", "All modules")
		p.until("!new URLSearchParams(location.search).has('m') && document.querySelector('.whole')")
	})

	t.Run("copy as", func(t *testing.T) {
		p.t = t
		origin := c.Nodes[0].URL
		for path, want := range map[string]string{
			"/runs?state=failed&pipeline=viewed&q=lint": "pipelined list -state failed -pipeline viewed -search lint; " + origin + "/api/v1/runs?state=failed&pipeline=viewed&q=lint",
			"/runs?q=two+words&by=ann":                  "pipelined list -search 'two words ann'; " + origin + "/api/v1/runs?q=two+words+ann",
			"/runs?state=approval":                      "pipelined approvals; " + origin + "/api/v1/approvals",
			"/runs":                                     "pipelined list; " + origin + "/api/v1/runs",
			"/pipelines":                                "pipelined history; " + origin + "/api/v1/pipelines",
			"/pipelines/viewed?runs=20":                 "pipelined history -limit 20 viewed; " + origin + "/api/v1/pipelines/history?pipeline=viewed&limit=20",
			"/pipelines/viewed?a=7&b=1":                 "pipelined history viewed; " + origin + "/api/v1/pipelines/history?pipeline=viewed&limit=50; pipelined history -compare '7,1'; " + origin + "/api/v1/runs/1/compare?with=7",
		} {
			p.open(origin + path)
			p.until("document.querySelector('.menu code') && document.querySelector('main h1')")
			p.until("[...document.querySelectorAll('.menu code')].map(e => e.textContent.replace(/^curl .* '?(http[^']*)'?$/, '$1')).join('; ') === " + quoted(want))
		}
		c.OK("list", "-state", "failed", "-pipeline", "viewed", "-search", "lint")
	})
}
