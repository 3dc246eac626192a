package ui_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

const halfFailed = `
pipeline "half" {
  on_failure = "continue"
  module "lint" { command = ["false"] }
  module "build" {
    script = <<-END
      echo "::group::Set up"
      echo installed
      echo "::endgroup::"
      echo compiled
    END
  }
  module "gate" {
    depends_on = [module.build]
    approval { message = "Ship it?" }
  }
  module "ship" {
    depends_on = [module.gate]
    command    = ["true"]
  }
}
`

const often = `
pipeline "often" {
  schedule {
    cron    = "*/2 * * * *"
    overlap = "skip"
  }
  module "tick" { command = ["true"] }
}
`

// What a page says of one thing in several places is the same in each: a run that waits for
// a person, a leader that follows itself, and times in UTC.
func TestDashboard_told(t *testing.T) {
	browser := newBrowser(t)
	c := start(t, 1)
	c.OK("submit", "-register", "-yes", c.WriteFile("o/often.hcl", often))
	p := newTab(t, browser)
	token := strings.TrimSpace(c.OK("token", "create", "-role", "admin", "-name", "ann"))
	id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", c.WriteFile("h/half.hcl", halfFailed)))
	p.signIn(c.Nodes[0].URL+"/runs/"+id, token)

	t.Run("a run that waits and fails", func(t *testing.T) {
		p.t = t
		p.until("[...document.querySelectorAll('main > .notice')].map(e => e.querySelector('b').innerText).join() === 'gate needs an approval,lint failed'")
		p.until("document.querySelector('.head .pill').innerText === 'Needs approval'")
		p.until("document.title.startsWith('Needs approval: half')")
		p.accessible("run, waits and failed")
		p.click(".notice a", "decide")
		p.shows("Waits for an approval.")
		if n := p.text("document.querySelector('.pane').innerText.split('Ship it?').length - 1"); n != "1" {
			t.Errorf("the pane asks %s times", n)
		}
	})

	t.Run("groups in the output of all modules", func(t *testing.T) {
		p.t = t
		p.click(".tabs a", "Log")
		p.click(".outline a", "All modules")
		p.shows("compiled")
		if got := p.text("[...document.querySelectorAll('.line .text')].map(e => e.textContent).join()"); got != "Set up,installed,compiled" {
			t.Errorf("the output is shown as %s", got)
		}
	})

	t.Run("many ticks", func(t *testing.T) {
		p.t = t
		p.turn("/schedules")
		p.until("/more than 400 ticks/.test(document.querySelector('.week')?.innerText)")
		p.until("/shown until \\w{3} \\d\\d:\\d\\d/.test(document.querySelector('.week tbody th').innerText)")
		p.until("document.querySelector('.week tbody td:last-child').innerText === 'not shown'")
		if got := p.text("document.querySelector('td[data-label=Next]').innerText"); strings.Count(got, "UTC") != 1 {
			t.Errorf("the next tick is said as %q", got)
		}
		p.accessible("schedules, many ticks")
	})

	t.Run("a leader follows itself", func(t *testing.T) {
		p.t = t
		p.expected = []string{"net::ERR_", "status of 503"}
		c.Nodes[0].Kill()
		p.until("document.querySelector('.live').innerText.startsWith('as of')")
		c.Nodes[0].Start()
		p.until("document.querySelector('.live').innerText.startsWith('live')")
		p.turn("/cluster")
		p.until("[...document.querySelectorAll('.kpi')].find(e => e.innerText.startsWith('Last takeover'))?.innerText.includes(" + quoted(c.Nodes[0].Name+" leads again, ") + ")")
		p.do(chromedp.EmulateViewport(390, 844))
		if cut := p.text("(e => e.scrollWidth - e.clientWidth)([...document.querySelectorAll('.cardh h2')].find(e => e.innerText === 'Nodes'))"); cut != "0" {
			t.Errorf("the title of the nodes is cut by %s pixels", cut)
		}
		p.do(chromedp.EmulateViewport(1440, 980))
	})
}
