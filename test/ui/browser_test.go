package ui_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// tab is a tab of the browser, and what its console said.
type tab struct {
	t   testing.TB
	ctx context.Context
	// expected are parts of messages that the console may have, and why is said where it
	// is set. Any other message fails the test.
	expected []string

	mu      sync.Mutex // guards following
	console []string
	marks   int
}

// tellPolicy writes what the Content-Security-Policy refuses to the console. It is there
// before anything of a page is.
const tellPolicy = `addEventListener('securitypolicyviolation', e => console.error('policy refused: ' + e.effectiveDirective + ' ' + e.blockedURI), true)`

// newBrowser starts Chromium, or skips the test.
func newBrowser(t testing.TB) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs chromium (apt-get install chromium)")
	}

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	// The console of a tab is read when the test has ended.
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
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
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1440, 980), call(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: tellPolicy})); err != nil {
		t.Fatal(err)
	}

	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			p.mu.Lock()
			p.console = append(p.console, m.String()+" "+m.URL)
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		p.t = t
		p.silent()
	})

	return p
}

// call makes a step of a command to the tab.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, command, params)
		return chromedp.Void{}, err
	}
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
	// What is above it may still come, or the page may draw it again: the same element has to
	// be twice in the same place.
	p.until("(e => { if (!e) return false; const { x, y } = e.getBoundingClientRect(), before = e.dataset.clicked;" +
		" document.querySelectorAll('[data-clicked]').forEach(o => o.removeAttribute('data-clicked'));" +
		" return (e.dataset.clicked = x + ' ' + y) === before })(" + find + ")")
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
	for _, e := range []input.DispatchMouseEventParams{
		{Type: input.DispatchMouseEventTypeMousePressed, X: left + x0, Y: top + y0, Button: input.MouseButtonLeft, Buttons: 1, ClickCount: 1},
		{Type: input.DispatchMouseEventTypeMouseMoved, X: left + x1, Y: top + y1, Button: input.MouseButtonLeft, Buttons: 1},
		{Type: input.DispatchMouseEventTypeMouseReleased, X: left + x1, Y: top + y1, Button: input.MouseButtonLeft, ClickCount: 1},
	} {
		p.do(call(input.DispatchMouseEvent, e))
	}
}

// key presses keys. A key writes its character unless the page prevents that, which is why
// it is one event, and not that of a key and that of a character.
func (p *tab) key(keys string) {
	p.t.Helper()
	for _, r := range keys {
		events := kb.Encode(r)
		if len(events) == 3 {
			events[0].Text = events[1].Text
			events = slices.Delete(events, 1, 2)
		}
		for _, e := range events {
			p.do(call(input.DispatchKeyEvent, *e))
		}
	}
}

func (p *tab) open(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate(url))
}

// turn goes to another page as a link does, without loading it anew, and waits until the one
// before is gone.
func (p *tab) turn(path string) {
	p.t.Helper()
	p.text("history.pushState(null, '', " + quoted(path) + "), dispatchEvent(new PopStateEvent('popstate'))")
	p.text("new Promise(done => { let n = 0; const next = () => ++n > 3 ? done() : requestAnimationFrame(next); next() })")
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

// said is what the console has said so far.
func (p *tab) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.console), func(m string) bool { return strings.HasPrefix(m, "debug: mark ") })
}

// silent wants a console without other messages than those that are expected. It runs at
// the end of each test, and so sees what the browser itself writes, and what the policy
// of the page refused.
func (p *tab) silent() {
	p.marks++
	mark := fmt.Sprintf("mark %d", p.marks) // messages come in order
	ctx, cancel := context.WithTimeout(p.ctx, harness.Wait)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[any]("console.debug("+quoted(mark)+")")); err != nil {
		p.t.Errorf("the console cannot be read: %v", err)
		return
	}
	testutil.Eventually(p.t, harness.Wait, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !slices.ContainsFunc(p.console, func(m string) bool { return strings.HasPrefix(m, "debug: "+mark) }) {
			return errors.New("the console has not been read to its end")
		}
		return nil
	})

	for _, m := range p.said() {
		if !slices.ContainsFunc(p.expected, func(part string) bool { return strings.Contains(m, part) }) {
			p.t.Errorf("the console says: %s", m)
		}
	}
}

// accessible wants no finding of axe-core.
func (p *tab) accessible(name string) {
	t, ok := p.t.(*testing.T)
	if !ok {
		return // of a benchmark
	}
	t.Run("axe: "+name, func(t *testing.T) {
		file := os.Getenv("PIPELINED_TEST_AXE")
		if file == "" {
			t.Skip("needs axe-core (npm install axe-core; PIPELINED_TEST_AXE names its axe.min.js)")
		}
		axe, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := chromedp.Run(p.ctx, chromedp.Evaluate[any](string(axe)+";0")); err != nil {
			t.Fatal(err)
		}
		found := p.text(`axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations']})
			.then(r => [...r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.target).join(' ')),
				...r.passes.some(v => v.id === 'color-contrast') ? [] : ['no contrast was measured']].join('\n'))`)
		if found != "" {
			t.Errorf("axe-core found\n%s", found)
		}
	})
}

func quoted(s string) string {
	b, _ := json.Marshal(s) // a text is always JSON
	return string(b)
}
