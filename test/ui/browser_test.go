package ui_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// tab is a tab of the browser, and what its console said.
type tab struct {
	t   testing.TB
	ctx context.Context

	mu      sync.Mutex // guards following
	console []string
}

// newBrowser starts Chromium, or skips the test.
func newBrowser(t testing.TB) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs chromium (apt-get install chromium)")
	}

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}

	return ctx
}

// newTab opens a tab of a browser of its own: it shares neither connections nor storage.
func newTab(t testing.TB, browser context.Context) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	return openTab(t, ctx)
}

// beside opens another tab of the same browser.
func (p *tab) beside() *tab {
	p.t.Helper()
	ctx, cancel := chromedp.NewContext(p.ctx)
	p.t.Cleanup(cancel)
	return openTab(p.t, ctx)
}

func openTab(t testing.TB, ctx context.Context) *tab {
	t.Helper()
	p := &tab{t: t, ctx: ctx}
	// The tab lives as long as the context of its first step.
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1440, 980)); err != nil {
		t.Fatal(err)
	}

	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			p.mu.Lock()
			p.console = append(p.console, m.String())
			p.mu.Unlock()
		}
	}()

	return p
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, harness.Wait)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// text evaluates an expression to a text. Expressions run beside the page's
// Content-Security-Policy, not under it.
func (p *tab) text(expression string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, harness.Wait)
	defer cancel()
	s, err := chromedp.Run(ctx, chromedp.Evaluate[string]("(async () => String(await ("+expression+")))()", chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return s
}

// until waits until an expression is true.
func (p *tab) until(expression string) {
	p.t.Helper()
	testutil.Eventually(p.t, harness.Wait, func() error {
		if p.text("!!("+expression+")") == "true" {
			return nil
		}
		return untrue{p, expression}
	})
}

// untrue is an expression that is not true yet; its text has what the page says then.
type untrue struct {
	p          *tab
	expression string
}

func (u untrue) Error() string {
	return fmt.Sprintf("never became true: %s\nat %s\nthe page says: %s\nconsole: %q", u.expression, u.p.text("location.href"), u.p.text("document.body.innerText"), u.p.said())
}

// shows waits until the page has a text.
func (p *tab) shows(text string) {
	p.t.Helper()
	p.until("document.body.innerText.includes(" + quoted(text) + ")")
}

// click clicks with the mouse on the first element of a selector that has a text.
func (p *tab) click(selector, text string) {
	p.t.Helper()
	find := fmt.Sprintf("[...document.querySelectorAll(%s)].find(e => e.innerText.includes(%s) && e.checkVisibility() && !e.disabled)", quoted(selector), quoted(text))
	p.until(find)
	p.text(find + ".setAttribute('data-clicked', '')")
	p.do(chromedp.Click(chromedp.CSS("[data-clicked]")))
	p.text("document.querySelector('[data-clicked]')?.removeAttribute('data-clicked')")
}

// drag drags with the mouse within an element, from a point of it to another.
func (p *tab) drag(element string, x0, y0, x1, y1 float64) {
	p.t.Helper()
	var left, top float64
	at := p.text("(r => r.left + ' ' + r.top)(" + element + ".getBoundingClientRect())")
	if _, err := fmt.Sscan(at, &left, &top); err != nil {
		p.t.Fatalf("%s: %v", at, err)
	}
	p.do(func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		for _, e := range []input.DispatchMouseEventParams{
			{Type: input.DispatchMouseEventTypeMousePressed, X: left + x0, Y: top + y0, Button: input.MouseButtonLeft, Buttons: 1, ClickCount: 1},
			{Type: input.DispatchMouseEventTypeMouseMoved, X: left + x1, Y: top + y1, Button: input.MouseButtonLeft, Buttons: 1},
			{Type: input.DispatchMouseEventTypeMouseReleased, X: left + x1, Y: top + y1, Button: input.MouseButtonLeft, ClickCount: 1},
		} {
			if _, err := cdp.Call(ctx, t, input.DispatchMouseEvent, e); err != nil {
				return chromedp.Void{}, err
			}
		}
		return chromedp.Void{}, nil
	})
}

func (p *tab) key(keys string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys))
}

func (p *tab) open(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate(url))
}

// signIn opens a node's dashboard and enters a token.
func (p *tab) signIn(url, token string) {
	p.t.Helper()
	p.open(url)
	p.until("document.querySelector('input[name=token]')")
	p.do(chromedp.SendKeys(chromedp.CSS("input[name=token]"), token))
	p.click("button", "Sign in")
	p.until("document.querySelector('.rail .end')?.innerText.trim()")
}

func (p *tab) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.console...)
}

// silent wants a console without messages, but for those that a cut stream or a
// dead node cause: the browser itself writes them.
func (p *tab) silent(allowed ...string) {
	p.t.Helper()
next:
	for _, m := range p.said() {
		for _, a := range allowed {
			if strings.Contains(m, a) {
				continue next
			}
		}
		p.t.Errorf("the console says: %s", m)
	}
}

// accessible wants no finding of axe-core.
func (p *tab) accessible(name string) {
	p.t.Helper()
	file := os.Getenv("PIPELINED_TEST_AXE")
	if file == "" {
		return
	}
	axe, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := chromedp.Run(p.ctx, chromedp.Evaluate[any](string(axe)+";0")); err != nil {
		p.t.Fatal(err)
	}
	found := p.text(`axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})
		.then(r => r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.target).join(' ')).join('\n'))`)
	if found != "" {
		p.t.Errorf("%s: axe-core found\n%s", name, found)
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s) // a text is always JSON
	return string(b)
}
