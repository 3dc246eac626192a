package ui_test

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
)

const chatty = `
pipeline "chatty" {
  module "talk" {
    on_disconnect = "keep"
    script        = "i=0; while [ $i -lt 600 ]; do i=$((i + 1)); echo line $i; sleep 0.1; done"
  }
}
`

// countCalls counts the calls of the page that have no answer yet.
const countCalls = `(real => {
	window.calls = 0
	window.fetch = async (...all) => {
		window.calls++
		try {
			return await real(...all)
		} finally {
			window.calls--
		}
	}
})(window.fetch)`

// The page is open on the leader, and shows output of a module that runs on another
// node; the leader dies. The page continues at another node, with every line once.
func TestDashboard_takeover(t *testing.T) {
	browser := newBrowser(t)
	c := start(t, 3)
	leader := c.Leader()
	c.OK("drain", leader.Name) // so that the module runs elsewhere
	id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", c.WriteFile("q/chatty.hcl", chatty)))
	p := newTab(t, browser)
	p.do(call(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: countCalls}))
	p.signIn(leader.URL+"/runs/"+id+"?m=talk", strings.TrimSpace(c.OK("token", "create", "-role", "submit")))
	p.shows("line 20")
	p.until("document.querySelector('.live').textContent === " + quoted("live from "+leader.Name))

	// A call that waits for its answer would be repeated by the browser, which says so.
	p.until("window.calls === 0")
	leader.Kill()
	p.until("document.querySelector('.live').innerText.startsWith('live') && !document.querySelector('.live').innerText.includes(" + quoted(leader.Name) + ")")
	seen := p.text("document.querySelector('.rail .where').innerText")
	p.until("[...document.querySelectorAll('.line .text')].some(e => Number(e.textContent.slice(5)) > 150)")
	if got := p.text(`(() => {
		const lines = [...document.querySelectorAll('.line')].filter(e => e.innerText.trim())
		return lines.find(e => e.querySelector('.text').textContent !== 'line ' + e.querySelector('.no').dataset.no)?.innerText ?? ''
	})()`); got != "" {
		t.Errorf("a line is missing or is there twice: %q; the cluster was shown as %q", got, seen)
	}
	p.click("header button", "Cancel")
	p.click("dialog button", "Cancel the run")
	p.until("document.title.startsWith('Cancelled: chatty')")

	// The page of the cluster says who took over, and how long no node led.
	p.click(".rail a", "Cluster")
	p.until("document.querySelector('.events')?.innerText.includes(' leads in term ')")
	p.until("[...document.querySelectorAll('.kpi')].find(e => e.innerText.startsWith('Last takeover'))?.innerText.includes(" + quoted(" took over, ") + ")")
	p.until("[...document.querySelectorAll('.sights td')].filter(e => e.innerText === 'failed').length === 2")
	p.accessible("cluster, degraded")
	p.expected = []string{"net::ERR_INCOMPLETE_CHUNKED_ENCODING " + leader.URL} // a stream that was cut
}

// takeover notes in the page when it is live from another node than the given one.
const takeover = `(name => {
	window.liveAt = 0
	const look = () => {
		const text = document.querySelector('.live')?.textContent ?? ''
		if (text.startsWith('live from') && !text.endsWith(' ' + name)) window.liveAt = Date.now()
		else setTimeout(look, 5)
	}
	look()
})`

// BenchmarkTakeover is how long the page takes to continue at another node after its own
// was killed, or does not answer any more.
func BenchmarkTakeover(b *testing.B) {
	for name, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "frozen": syscall.SIGSTOP} {
		b.Run(name, func(b *testing.B) {
			browser := newBrowser(b)
			var all []float64
			for range max(b.N, 5) {
				c := start(b, 3)
				id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", c.WriteFile("q/chatty.hcl", chatty)))
				leader := c.Leader()
				p := newTab(b, browser)
				p.signIn(leader.URL+"/runs/"+id+"?m=talk", strings.TrimSpace(c.OK("token", "create", "-role", "submit")))
				p.shows("line 20")
				p.until("document.querySelector('.live').textContent === " + quoted("live from "+leader.Name))
				p.text(takeover + "(" + quoted(leader.Name) + ")")

				pid, at := leader.PID(), time.Now()
				if err := syscall.Kill(pid, signal); err != nil {
					b.Fatal(err)
				}
				p.until("window.liveAt > 0")
				live, err := strconv.ParseInt(p.text("window.liveAt"), 10, 64)
				if err != nil {
					b.Fatal(err)
				}
				all = append(all, float64(live-at.UnixMilli()))
				_ = syscall.Kill(pid, syscall.SIGCONT) // a killed one is gone
				c.OK("cancel", id)
			}

			slices.Sort(all)
			b.ReportMetric(all[len(all)/2], "ms-to-live")
			b.ReportMetric(all[len(all)-1], "ms-to-live-at-most")
			conditions(b)
		})
	}
}
