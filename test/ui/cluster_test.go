package ui_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

const everyMinute = `
pipeline "minutely" {
  workspace { exclude = ["**"] }
  schedule {
    cron     = "* * * * *"
    timezone = "Europe/Berlin"
  }
  module "tick" { command = ["true"] }
}
`

// The pages of the cluster and of one node: figures over time, what runs there, a drain
// and its event, a snapshot; and that nothing is offered while no node answers.
func TestDashboard_cluster(t *testing.T) {
	tabs := newBrowser(t)
	c := start(t, 3)
	c.OK("submit", "-register", "-yes", c.WriteFile("s/minutely.hcl", everyMinute))
	id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", c.WriteFile("q/slow.hcl", slow)))
	p := newTab(t, tabs)
	p.signIn(c.Nodes[0].URL+"/cluster", strings.TrimSpace(c.OK("token", "create", "-role", "admin", "-name", "ann")))

	t.Run("over time", func(t *testing.T) {
		p.t = t
		p.until("document.querySelector('.latency polyline.median')?.points.length >= 2")
		p.until("document.querySelectorAll('.nt .load polyline').length === 3")
		p.until("[...document.querySelectorAll('.kpi')].find(e => e.innerText.startsWith('Committed')).innerText.includes(' ms, 99 % ')")
		p.until("[...document.querySelectorAll('.kpi')].find(e => e.innerText.startsWith('Blobs')).innerText.includes('every file has its copies')")
		p.accessible("cluster")
	})

	t.Run("snapshot", func(t *testing.T) {
		p.t = t
		dir := t.TempDir()
		p.do(func(ctx context.Context, at *chromedp.Target) (chromedp.Void, error) {
			_, err := cdp.Call(ctx, at, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{Behavior: "allow", DownloadPath: dir,
				BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID})
			return chromedp.Void{}, err
		})
		p.click("header button", "Save snapshot")
		p.shows("pipelined snapshot save pipelined-")
		p.accessible("save a snapshot")
		p.click("dialog button", "Save")
		p.shows(".snapshot is saved")
		var file string
		testutil.Eventually(t, harness.Wait, func() error {
			list, err := filepath.Glob(filepath.Join(dir, "*.snapshot"))
			if err != nil || len(list) != 1 {
				return os.ErrNotExist
			}
			file = list[0]
			return nil
		})
		if out := c.OK("snapshot", "inspect", file); !strings.Contains(out, "runs") {
			t.Errorf("the snapshot has: %s", out)
		}
	})

	run, err := c.Run(id)
	if err != nil {
		t.Fatal(err)
	}
	node := run.Modules[0].Attempts[0].Worker
	t.Run("a node", func(t *testing.T) {
		p.t = t
		p.click(".nt th a", node)
		p.until("location.pathname === " + quoted("/cluster/"+node))
		p.until("document.title.startsWith(" + quoted(node+": alive") + ")")
		p.until("document.querySelector('[aria-label=\"What runs here\"] tbody')?.innerText.includes('slow')")
		p.until("[...document.querySelectorAll('[aria-label=\"Who sees it\"] td.s-ok, [aria-label=\"Who sees it\"] .s-ok')].filter(e => Number(e.innerText) > 0).length === 4")
		p.accessible("node")

		p.click("header button", "Drain")
		p.shows("pipelined drain " + node)
		p.click("dialog button", "Drain")
		p.until("document.querySelector('.events')?.innerText.includes('drain')")
		p.until("document.querySelector('.pt').innerText.toLowerCase().includes('draining')")
		p.click("header button", "End draining")
		p.click("dialog button", "End draining")
		p.until("!document.querySelector('.pt').innerText.toLowerCase().includes('draining')")

		p.click("[aria-label='What runs here'] th a", "wait")
		p.until("location.pathname === '/runs/1' || location.pathname.startsWith('/runs/')")
		p.shows("Running")
	})

	t.Run("addresses", func(t *testing.T) {
		p.t = t
		p.open(c.Nodes[1].URL + "/cluster/none")
		if p.text("!!document.querySelector('input[name=token]')") == "true" {
			p.signIn(c.Nodes[1].URL+"/cluster/none", strings.TrimSpace(c.OK("token", "create", "-role", "admin")))
		}
		p.shows("There is no node none")
		p.key("gt")
		p.until("location.pathname === '/secrets'")
		p.shows("No secret is set")
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{1440, 390} {
				p.do(chromedp.EmulateViewport(width, 900), emulate("prefers-color-scheme", scheme))
				p.open(c.Nodes[1].URL + "/cluster/" + node)
				p.shows("What runs here")
				p.shows("Who sees it")
				p.accessible("node, " + scheme)
				if over := p.text("document.documentElement.scrollWidth - innerWidth"); over != "0" {
					t.Errorf("the page of a node is %s pixels wider than a window of %d", over, width)
				}
			}
		}
		p.do(chromedp.EmulateViewport(1440, 980), emulate("prefers-color-scheme", "light"))
	})

	t.Run("schedules", func(t *testing.T) {
		p.t = t
		p.key("gs")
		p.shows("minutely")
		p.until("/started \\w+,? \\d\\d:\\d\\d:\\d\\d Europe.Berlin, (?:on time|.* later)/.test(document.querySelector('td[data-label=Last]')?.innerText)")
		p.accessible("schedules, a tick")
	})

	t.Run("no node answers", func(t *testing.T) {
		p.t = t
		p.click("td button", "Pause")
		p.until("document.querySelector('dialog button[type=submit]:not([disabled])')")
		p.expected = append(p.expected, "net::ERR_INCOMPLETE_CHUNKED_ENCODING", "net::ERR_CONNECTION_REFUSED", "net::ERR_CONNECTION_RESET", "net::ERR_EMPTY_RESPONSE", "net::ERR_SOCKET_NOT_CONNECTED", "status of 503")
		for _, n := range c.Nodes {
			n.Kill()
		}
		p.until("document.querySelector('dialog').innerText.includes('nothing can be changed until')")
		p.until("document.querySelector('dialog button[type=submit]').disabled")
		p.click("dialog button", "Leave it")
		p.until("document.getElementById('stale').innerText.includes('what this page shows is old')")
		p.until("[...document.querySelectorAll('td.act button')].every(b => b.disabled && b.title.includes('nothing can be changed') && b.getAttribute('aria-describedby') === 'stale')")
		p.accessible("schedules, no node answers")
		// One that has just started does not know yet that the page is of a member.
		p.expected = append(p.expected, "has been blocked by CORS policy", "net::ERR_FAILED")
		for _, n := range c.Nodes {
			n.Start()
		}
		p.until("!document.getElementById('stale') && [...document.querySelectorAll('td.act button')].every(b => !b.disabled)")
	})
}
