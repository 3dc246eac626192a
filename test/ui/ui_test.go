package ui_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/pipelined/pipelined/test/harness"
)

// release has a module that fails at first, hostile output, instances whose names
// have slashes, and an approval.
const release = `
pipeline "release" {
  module "unit" {
    for_each = { "fsm/retain" = 1, "fsm/apply" = 2, worker = 3, api = 4 }
    script   = "printf '\\033[32mok\\033[0m %s\\n<img src=x onerror=alert(1)>\\n' '${each.key}'"
  }
  module "flaky" {
    script = "test -e ${var.mark} || { echo 'want 3, got 2'; exit 7; }; echo fine"
    outputs_optional = ["*.txt"]
  }
  module "go" {
    depends_on = [module.flaky]
    approval { message = "Put it into production?" }
  }
  module "publish" {
    depends_on = [module.go]
    script     = "echo published"
  }
  variable "mark" {}
}
`

const slow = `
pipeline "slow" {
  module "wait" { script = "echo waiting; sleep 300" }
}
`

const locked = `
pipeline "locked" {
  module "hold" {
    not_in_parallel = ["one-at-a-time"]
    script          = "sleep 300"
  }
}
`

// start makes a cluster that commands find by themselves.
func start(t testing.TB, n int) *harness.Cluster {
	t.Helper()
	c := harness.Start(t, n)
	var addresses []string
	for _, x := range c.Nodes {
		addresses = append(addresses, x.URL)
	}
	c.Env = append(c.Env, "PIPELINED_ADDR="+strings.Join(addresses, ","))

	return c
}

func TestDashboard(t *testing.T) {
	browser := newBrowser(t)
	c := start(t, 3)
	mark := c.Dir + "/mark"
	file := c.WriteFile("p/release.hcl", release)
	admin := strings.TrimSpace(c.OK("token", "create", "-role", "admin", "-name", "ann"))
	p := newTab(t, browser)

	t.Run("sign in", func(t *testing.T) {
		p.t = t
		p.open(c.Nodes[0].URL + "/runs")
		p.until("document.querySelector('input[name=token]')")
		p.until("[...document.querySelectorAll('.command code')].every(e => e.clientWidth > 200)")
		p.accessible("sign in")
		p.do(chromedp.SendKeys(chromedp.CSS("input[name=token]"), "pd_wrong_wrong"))
		p.click("button", "Sign in")
		p.until("document.getElementById('failed').innerText.includes('token')")
		p.expected = []string{"status of 401"} // the wrong token
		p.signIn(c.Nodes[0].URL+"/runs", admin)
		p.shows("No runs yet")
		p.shows("pipelined init")
		p.accessible("runs, none")
	})

	id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", "-var", "mark="+mark, file))
	t.Run("a run fails", func(t *testing.T) {
		p.t = t
		p.click(".runs a", "release")
		p.until("location.pathname.startsWith('/runs/')")
		p.shows("flaky failed")
		p.until("document.title.startsWith('Failed: release')")
		p.click(".notice a", "output")
		p.shows("want 3, got 2")
		p.shows("Exit code 7")
		p.accessible("run, failed")
	})

	t.Run("output is text", func(t *testing.T) {
		p.t = t
		p.click(".outline button, .outline a", "unit")
		p.click(".outline a", "fsm/retain")
		p.until("new URLSearchParams(location.search).get('m') === 'unit[fsm/retain]'")
		p.shows("<img src=x onerror=alert(1)>")
		if n := p.text("document.querySelectorAll('.lines img, .lines script').length"); n != "0" {
			t.Errorf("the output made %s elements", n)
		}
		p.until("document.querySelector('.lines .f2')?.textContent === 'ok'")

		p.click(".lines .no", "")
		p.until("location.hash === '#L1'")
		link := p.text("location.href")
		q := newTab(t, browser)
		q.signIn(c.Nodes[1].URL+"/runs", admin)
		q.open(strings.Replace(link, c.Nodes[0].URL, c.Nodes[1].URL, 1))
		q.until("document.querySelector('.line.hl .no')?.dataset.no === '1'")
	})

	t.Run("retry and approve", func(t *testing.T) {
		p.t = t
		c.WriteFile("mark", "")
		p.click("header button", "Retry")
		p.shows("pipelined retry")
		p.accessible("dialog")
		p.click("dialog button", "Retry")
		p.shows("Put it into production?")
		p.until("document.title.startsWith('Needs approval')")
		p.until("document.querySelector('.rail a[href=\"/approvals\"] em')?.innerText.startsWith('1')")
		p.click(".rail a", "Approvals")
		p.until("document.title === '1 to decide, pipelined'")
		p.shows("Put it into production?")
		p.accessible("approvals")
		p.click(".inbox button", "Approve")
		p.do(chromedp.SendKeys(chromedp.CSS("dialog textarea"), "looks good"))
		p.shows("-comment 'looks good'")
		p.click("dialog button", "Approve")
		p.shows("Nothing waits for an approval")
		p.until("!document.querySelector('.rail a[href=\"/approvals\"] em')")
		p.open(c.Nodes[0].URL + "/runs/" + id)
		p.until("document.title.startsWith('Succeeded: release')")
		run, err := c.Run(id)
		if err != nil || run.State != "succeeded" {
			t.Errorf("state %s, error %v", run.State, err)
		}
		if head := p.text("document.querySelector('.prog').innerText"); strings.Contains(head, "usual") {
			t.Errorf("the first run is compared with others: %s", head)
		}
	})

	t.Run("cancel", func(t *testing.T) {
		p.t = t
		c.OK("submit", "-detach", "-yes", c.WriteFile("q/slow.hcl", slow))
		p.key("gr")
		p.until("location.pathname === '/runs'")
		p.click(".runs a", "slow")
		p.shows("waiting")
		p.click("header button", "Cancel")
		p.click("dialog button", "Cancel the run")
		p.until("document.title.startsWith('Cancelled: slow')")
	})

	t.Run("go anywhere", func(t *testing.T) {
		p.t = t
		p.text("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'k', ctrlKey: true, bubbles: true}))")
		p.until("document.activeElement?.getAttribute('role') === 'combobox'")
		p.key("slow 2")
		p.until("document.querySelector('[role=option][aria-selected=true]')?.innerText.startsWith('slow 2')")
		p.accessible("palette")
		p.key("\r")
		p.until("location.pathname === '/runs/2' && !document.querySelector('dialog[open]')")
	})

	t.Run("pipelines", func(t *testing.T) {
		p.t = t
		p.key("gi")
		p.click("tbody a", "slow")
		p.until("location.pathname === '/pipelines/slow' && document.querySelector('.trend.tall')")
		p.shows("Cancelled 1")
		p.key("gi")
		p.click("tbody a", "release")
		p.shows("flaky")
		p.click(".seg a", "Flaky")
		p.until("new URLSearchParams(location.search).get('by') === 'flaky'")
	})

	t.Run("search", func(t *testing.T) {
		p.t = t
		p.key("gr")
		p.until("document.querySelectorAll('.runs a[data-run]').length >= 2")
		p.do(chromedp.SendKeys(chromedp.CSS("#find"), "publish")) // a module
		p.until("[...document.querySelectorAll('.runs a[data-run]')].map(e => e.dataset.run).join() === '1'")
	})

	t.Run("cluster", func(t *testing.T) {
		p.t = t
		p.click(".rail a", "Cluster")
		p.shows("3 of 3 nodes answer")
		p.shows("Every node reaches every other one.")
		p.until("[...document.querySelectorAll('.sights td.s-ok')].filter(e => Number(e.innerText) > 0).length === 6")
		p.until("[...document.querySelectorAll('td[data-label=Raft]')].filter(e => e.innerText.includes('up to date')).length === 2")
		version, last := p.text("[...document.querySelectorAll('.kpi')].at(-1).title"), p.text("[...document.querySelectorAll('.kpi dd')].at(-1).firstChild.data")
		if version == "" || !strings.HasSuffix(version, last) || len(last) > len("de3bdf8c1a2b+dirty") {
			t.Errorf("the version %q is shown as %q", version, last)
		}
		p.until("[...document.querySelectorAll('td[data-label=Disk]')].every(e => e.innerText.includes(' free of '))")

		var ids []string
		for range 2 {
			ids = append(ids, strings.TrimSpace(c.OK("submit", "-detach", "-yes", c.WriteFile("q/locked.hcl", locked))))
		}
		p.click("tbody a", "hold")
		p.until("location.pathname.startsWith('/runs/')")
		p.key("gl")
		p.until("document.querySelector('.queue')?.innerText.includes('hold of locked')")
		p.shows("one-at-a-time")
		for _, id := range ids {
			c.OK("cancel", id)
		}
	})

	t.Run("pages", func(t *testing.T) {
		p.t = t
		p.expected = append(p.expected, "status of 404") // a pipeline and a run that do not exist
		for _, path := range []string{"/runs", "/runs?state=failed", "/runs?q=release", "/approvals", "/pipelines", "/pipelines/release", "/pipelines/none", "/runs?state=approval", "/cluster", "/locks", "/schedules", "/cache", "/secrets", "/runs/" + id, "/runs/" + id + "/graph", "/runs/" + id + "/timeline", "/runs/" + id + "/log", "/runs/" + id + "/log?m=flaky", "/runs/" + id + "/timeline?rows=modules", "/runs/" + id + "/outputs", "/runs/" + id + "/tests", "/runs/" + id + "/events", "/runs/" + id + "/plan", "/runs/" + id + "/why", "/runs/none", "/runs/1/2/3"} {
			p.turn(path)
			for _, width := range []int64{320, 390, 1440} {
				for _, scheme := range []string{"light", "dark"} {
					p.do(chromedp.EmulateViewport(width, 900), emulate("prefers-color-scheme", scheme))
					p.until("document.querySelector('main h1, main h2') && !document.body.innerText.includes('Asking the cluster')")
					if over := p.text("document.documentElement.scrollWidth - innerWidth"); over != "0" {
						t.Errorf("%s is %s pixels wider than a window of %d", path, over, width)
					}
					if width > 320 {
						p.accessible(fmt.Sprintf("%s, %s, %d", path, scheme, width))
					}
				}
			}
		}
		p.do(chromedp.EmulateViewport(1440, 980))
	})
}

// Who signs out has revoked the token of the sign-in.
func TestDashboard_signOut(t *testing.T) {
	browser := newBrowser(t)
	c := start(t, 1)
	p := newTab(t, browser)
	p.open(strings.TrimSpace(c.OK("ui", "-no-open")))
	p.until("document.querySelector('.rail .end')?.innerText.trim()")
	token := p.text("sessionStorage.getItem('token')")
	whoami := func() int {
		rq, err := http.NewRequest(http.MethodGet, c.Nodes[0].URL+"/api/v1/whoami", nil)
		if err != nil {
			t.Fatal(err)
		}
		rq.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if got := whoami(); got != http.StatusOK {
		t.Fatalf("signed in: status %d", got)
	}

	p.do(chromedp.Click(chromedp.CSS("button[aria-label='Sign out']")))
	p.until("document.querySelector('input[name=token]')")
	if got := whoami(); got != http.StatusUnauthorized {
		t.Errorf("signed out: status %d", got)
	}
}

// emulate sets what the person's system prefers: "prefers-color-scheme", "dark".
func emulate(feature, value string) chromedp.Action[chromedp.Void] {
	return call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: feature, Value: value}}})
}
