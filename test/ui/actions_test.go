package ui_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

const chain = `
pipeline "chain" {
  variable "word" {
    default = "one"
  }
  module "first" {
    outputs = ["said.txt"]
    script  = "echo ${var.word} | tee said.txt"
    cache   = true
  }
  module "second" {
    depends_on = [module.first]
    script     = "echo second"
  }
  module "third" {
    depends_on = [module.second]
    script     = "echo third"
  }
}
`

const gated = `
pipeline "gated" {
  module "ask" {
    approval { message = "Really?" }
  }
  module "ship" {
    depends_on = [module.ask]
    command    = ["true"]
  }
}
`

const failing = `
pipeline "failing" {
  module "fine" { command = ["true"] }
  module "one" { command = ["false"] }
  module "two" { command = ["false"] }
  on_failure = "continue"
}
`

const hourly = `
pipeline "hourly" {
  schedule { cron = "0 * * * *" }
  module "clean" { command = ["true"] }
}
`

// stage is one node with something for each action: a run that failed, one that waits for
// an approval, two that differ, a schedule, a secret, tokens, and a webhook.
type stage struct {
	*harness.Cluster
	url      string
	admin    string
	received atomic.Int32 // events at the webhook
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{}
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only that it came counts
		s.received.Add(1)
	}))
	t.Cleanup(receiver.Close)
	s.Cluster = harness.Start(t, 1, "-config", harness.ConfigFile(t, `webhook_allow = ["127.0.0.1"]`))
	s.url = s.Nodes[0].URL
	s.Env = append(s.Env, "PIPELINED_ADDR="+s.url)

	s.OK("submit", "-yes", "-quiet", s.WriteFile("p/chain.hcl", chain))
	s.OK("submit", "-yes", "-quiet", "-var", "word=two", s.Dir+"/p/chain.hcl")
	s.CLI("submit", "-yes", "-quiet", s.WriteFile("p/failing.hcl", failing))
	s.OK("submit", "-yes", "-detach", s.WriteFile("p/gated.hcl", gated))
	s.OK("submit", "-yes", "-register", s.WriteFile("p/hourly.hcl", hourly))
	s.OK("secrets", "set", "-file", s.WriteFile("p/value", "s3cr3t-value"), "DEPLOY_KEY")
	s.OK("webhooks", "add", "chat", receiver.URL)
	s.admin = strings.TrimSpace(s.OK("token", "create", "-role", "admin", "-name", "ann"))
	return s
}

// row is the row of a table that has a text.
func row(text string) string {
	return "[...document.querySelectorAll('tbody tr')].find(e => e.innerText.includes(" + quoted(text) + "))"
}

// press clicks a button by its name for screen readers, which has what it acts on.
func (p *tab) press(name string) {
	p.t.Helper()
	selector := "button[aria-label=" + quoted(name) + "]"
	p.until("document.querySelector(" + quoted(selector) + ")")
	p.do(chromedp.Click(chromedp.CSS(selector)))
}

func TestDashboard_actions(t *testing.T) {
	b := newBrowser(t)
	s := newStage(t)
	p := newTab(t, b)
	p.signIn(s.url+"/runs", s.admin)

	t.Run("roles", func(t *testing.T) { testRoles(t, s, b) })
	t.Run("compare two runs", func(t *testing.T) {
		p.t = t
		p.open(s.url + "/pipelines/chain")
		p.shows("Choose another run to see what was different.")
		p.do(chromedp.SendKeys(chromedp.CSS(".choose:first-of-type select"), "1"))
		p.until("location.search === '?a=1'")
		p.shows("Run 1 succeeded in")
		p.until(`document.querySelector('.differences').innerText.includes('word')`)
		p.until(row("first") + ".innerText.includes('script changed')")
		p.accessible("comparison")
		p.click(".cardh .btn", "Close")
		p.shows("Choose another run to see what was different.")
	})
	t.Run("retry from here", func(t *testing.T) {
		p.t = t
		p.open(s.url + "/runs/1?m=second")
		p.until("window.graph?.faces?.length === 3")
		p.click(".pane button", "Retry from here")
		p.shows("pipelined retry 1 -from second")
		p.click("dialog button", "Retry from here")
		s.attempts(t, "1", map[string]int{"first": 1, "second": 2, "third": 2})
		p.until("document.title.startsWith('Succeeded')")
	})
	t.Run("reject", func(t *testing.T) {
		p.t = t
		p.open(s.url + "/approvals")
		p.press("Reject ask of gated 4")
		p.do(chromedp.SendKeys(chromedp.CSS("dialog textarea"), "not on a Friday"))
		p.shows("-reason 'not on a Friday'")
		p.click("dialog button", "Reject")
		p.shows("Nothing waits for an approval")
		p.open(s.url + "/runs/4?m=ask")
		p.until("document.title.startsWith('Failed: gated')")
		p.shows("not on a Friday")
	})
	t.Run("drain", func(t *testing.T) {
		p.t = t
		p.open(s.url + "/cluster")
		p.press("Drain n1")
		p.click("dialog button", "Drain")
		p.until(row("n1") + ".innerText.includes('draining')")
		id := strings.TrimSpace(s.OK("submit", "-yes", "-detach", s.Dir+"/p/failing.hcl"))
		p.until("document.querySelector('.waits, .scroll').innerText.includes('one')")
		p.press("End the draining of n1")
		p.click("dialog button", "End draining")
		p.until("!" + row("n1") + ".innerText.includes('draining')")
		s.CLI("wait", id) // it fails
	})
	t.Run("schedule", func(t *testing.T) {
		p.t = t
		p.open(s.url + "/schedules")
		p.press("Trigger hourly")
		p.click("dialog button", "Trigger")
		p.shows("A run of hourly was created")
		s.OK("drain", "n1") // so that it does not end before the page shows it
		s.OK("schedules", "backfill", "-from", "2025-11-01T00:30", "-to", "2025-11-20", "hourly")
		p.shows("Backfill of 2025-11-01 to 2025-11-20: ")
		p.press("Stop the backfill of hourly")
		p.click("dialog button", "Stop")
		p.shows("stopped by ")
		s.OK("drain", "-off", "n1")
		p.press("Pause hourly")
		p.click("dialog button", "Pause")
		p.shows("not while it is paused")
		if got := s.OK("schedules", "ls"); !strings.Contains(got, "paused") {
			t.Errorf("it is not paused: %s", got)
		}
		p.press("Resume hourly")
		p.click("dialog button", "Resume")
		p.until("!" + row("hourly") + ".innerText.includes('paused')")
		p.key("gr")
		p.until("[...document.querySelectorAll('.runs a')].some(e => e.innerText.includes('hourly') && e.innerText.includes('schedule'))")
	})
	t.Run("webhook", func(t *testing.T) {
		p.t = t
		p.open(s.url + "/secrets")
		p.press("Test chat")
		p.click("dialog button", "Send")
		testutil.Eventually(t, harness.Wait, func() error {
			if s.received.Load() == 0 {
				return fmt.Errorf("no event has come")
			}
			return nil
		})
		p.until(row("chat") + ".innerText.includes('accepted with 200')")
	})
	t.Run("remove", func(t *testing.T) {
		p.t = t
		s.OK("token", "create", "-role", "read", "-name", "board")
		p.open(s.url + "/secrets")
		for _, one := range []struct{ press, button, name string }{
			{"Remove chat", "Remove", "chat"}, {"Remove DEPLOY_KEY", "Remove", "DEPLOY_KEY"}, {"Revoke board", "Revoke", "board"},
		} {
			p.press(one.press)
			p.click("dialog button", one.button)
			p.until("!" + row(one.name))
		}
		if got := s.OK("webhooks", "ls") + s.OK("secrets", "ls") + s.OK("token", "ls"); strings.Contains(got, "chat") || strings.Contains(got, "DEPLOY_KEY") || strings.Contains(got, "board") {
			t.Errorf("it is still there: %s", got)
		}
	})
	t.Run("download", func(t *testing.T) { testDownload(t, s, p) })
	t.Run("copy as", func(t *testing.T) { testCopied(t, s, p) })
	t.Run("keys", func(t *testing.T) { testKeys(t, s, p) })
	t.Run("motion", func(t *testing.T) { testMotion(t, s, p) })
}

// attempts waits until modules of a run have had so many attempts.
func (s *stage) attempts(t *testing.T, run string, want map[string]int) {
	t.Helper()
	testutil.Eventually(t, harness.Wait, func() error {
		r, err := s.Run(run)
		if err != nil {
			return err
		}
		for _, m := range r.Modules {
			if len(m.Attempts) != want[m.Name] {
				return fmt.Errorf("%s has had %d attempts, want %d", m.Name, len(m.Attempts), want[m.Name])
			}
		}
		return nil
	})
}

// actions are the words with which buttons that change something begin.
var actions = []string{"Approve", "Cancel", "Drain", "Pause", "Pin", "Reject", "Remove", "Retry", "Revoke", "Save", "Test", "Trigger"}

// A role is offered what it may do, and nothing else.
func testRoles(t *testing.T, s *stage, b context.Context) {
	for role, want := range map[string]string{
		"read":   "",
		"submit": "Approve Cancel Pause Pin Reject Retry Trigger",
		"admin":  strings.Join(actions, " "),
	} {
		p := newTab(t, b)
		p.signIn(s.url+"/runs", strings.TrimSpace(s.OK("token", "create", "-role", role)))
		offered := map[string]bool{}
		for _, path := range []string{"/runs", "/runs/3?m=one", "/runs/4?m=ask", "/approvals", "/pipelines/chain", "/schedules", "/cluster", "/locks", "/cache", "/secrets"} {
			if path == "/secrets" && role == "read" {
				p.expected = []string{"status of 403"} // no page leads there
			}
			p.turn(path)
			p.until("document.querySelector('main h1, main h2') && !document.body.innerText.includes('Asking the cluster')")
			for word := range strings.FieldsSeq(p.text("[...document.querySelectorAll('main button')].map(e => (e.ariaLabel || e.innerText).trim().split(' ')[0]).join(' ')")) {
				offered[word] = true
			}
		}
		var got []string
		for _, word := range actions {
			if offered[word] {
				got = append(got, word)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s is offered %q, want %q", role, got, want)
		}
		if leads := p.text("document.querySelector('.rail a[href=\"/secrets\"]') !== null"); (leads == "true") != (role != "read") {
			t.Errorf("%s: the rail leads to secrets and tokens: %s", role, leads)
		}
	}
}

// testDownload clicks on the download of an output, and of what a module wrote.
func testDownload(t *testing.T, s *stage, p *tab) {
	p.t = t
	dir := t.TempDir()
	own := chromedp.FromContext(p.ctx).BrowserContextID
	if _, err := chromedp.CallBrowser(p.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, BrowserContextID: own, DownloadPath: dir}); err != nil {
		t.Fatal(err)
	}
	has := func(name, want string) {
		t.Helper()
		testutil.Eventually(t, harness.Wait, func() error {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil && string(got) != want {
				err = fmt.Errorf("%s has %q, want %q", name, got, want)
			}
			return err
		})
	}
	p.open(s.url + "/runs/2/outputs")
	p.press("Download said.txt of first")
	has("said.txt", "two\n")
	p.open(s.url + "/runs/2/log?m=third")
	p.shows("1 line")
	p.press("Download the output")
	has("third.log", "third\n")
}

// lines are the commands of the menu of a page.
func (p *tab) lines() []string {
	p.t.Helper()
	var list []string
	if err := json.Unmarshal([]byte(p.text("JSON.stringify([...document.querySelectorAll('.menu code')].map(e => e.textContent))")), &list); err != nil {
		p.t.Fatal(err)
	}
	return list
}

// testCopied runs what Copy as gives on each page, and what the dialog of an action shows.
func testCopied(t *testing.T, s *stage, p *tab) {
	p.t = t
	own := chromedp.FromContext(p.ctx).BrowserContextID
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		if _, err := chromedp.CallBrowser(p.ctx, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: name}, Setting: browser.PermissionSettingGranted, BrowserContextID: own}); err != nil {
			t.Fatal(err)
		}
	}
	p.do(call(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}))

	ran := map[string]bool{}
	for _, path := range []string{"/runs", "/runs?q=chain&pipeline=chain", "/runs/2", "/approvals", "/pipelines", "/pipelines/chain", "/schedules", "/cluster", "/cache", "/locks", "/secrets"} {
		p.turn(path)
		p.until("location.pathname + location.search === " + quoted(path) + " && document.querySelector('.menu code')")
		for _, line := range p.lines() {
			if !ran[line] {
				s.sh(t, line)
				ran[line] = true
			}
		}
	}

	p.open(s.url + "/runs/2")
	p.click(".menu summary", "Copy as")
	p.accessible("copy as")
	p.click(".menu button", "State")
	p.shows("Copied: pipelined status 2")
	if got := p.text("navigator.clipboard.readText()"); got != "pipelined status 2" {
		t.Errorf("the clipboard has %q", got)
	} else if out := s.sh(t, got); !strings.Contains(out, "succeeded") {
		t.Errorf("%s: %s", got, out)
	}

	// The two commands of a dialog do what its button does.
	for i, done := range []string{"Pinned", "Pin"} {
		p.click("header button", "Pin")
		p.until("document.querySelectorAll('dialog .command code').length === 2")
		p.click("dialog .command:nth-of-type("+fmt.Sprint(i+1)+") button", "")
		p.shows("Copied")
		line := p.text("navigator.clipboard.readText()")
		p.click("dialog button", "Leave it")
		s.sh(t, line)
		p.until("document.querySelector('header button[aria-pressed]').innerText.trim() === " + quoted(done))
	}
}

// sh runs a command line as a person who has pasted it into a shell.
func (s *stage) sh(t *testing.T, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Wait)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", strings.Replace(line, "curl ", "curl -sS --fail-with-body ", 1))
	cmd.Dir, cmd.Env = s.Dir, append(slices.Clone(s.Env), "PATH="+filepath.Dir(s.Bin)+":"+os.Getenv("PATH"), "PIPELINED_TOKEN="+s.admin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}
