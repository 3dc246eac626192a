package ui_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// testKeys goes through the pages without a mouse.
func testKeys(t *testing.T, s *stage, p *tab) {
	p.t = t
	p.open(s.url + "/runs")
	p.until("document.querySelectorAll('.runs a[data-run]').length > 3")
	p.key("?")
	p.until("document.querySelector('dialog.keys[open]')")
	p.accessible("keys")
	listed := p.text("[...document.querySelectorAll('dialog.keys kbd')].map(e => e.innerText).join(', ')")
	if want := "g r, g p, g i, g s, g c, g a, g l, g t, /, j, k, o, c, Ctrl K, ?"; listed != want {
		t.Errorf("the list of keys has %s, want %s", listed, want)
	}
	p.key("gc") // keys of the page rest meanwhile
	p.key(kb.Escape)
	p.until("!document.querySelector('dialog[open]') && location.pathname === '/runs'")
	for key, path := range map[string]string{"p": "/approvals", "i": "/pipelines", "s": "/schedules", "c": "/cluster", "a": "/cache", "l": "/locks", "t": "/secrets", "r": "/runs"} {
		p.key("g" + key)
		p.until("location.pathname === " + quoted(path))
	}

	p.key("gr")
	p.until("document.querySelectorAll('.runs a[data-run]').length > 3")
	p.key("/")
	p.until("document.activeElement.id === 'find'")
	p.key("j") // a letter of the search
	p.until("location.search === '?q=j'")
	p.key(kb.Backspace + kb.Escape)
	p.until("location.search === '' && document.activeElement.id !== 'find'")
	at := func(i int) string {
		return fmt.Sprintf("document.activeElement === document.querySelectorAll('.runs a[data-run]')[%d]", i)
	}
	p.key("jj")
	p.until(at(2))
	p.key("k")
	p.until(at(1))
	number := p.text("document.activeElement.dataset.run")
	p.key("o")
	p.until("location.pathname === '/runs/" + number + "'")

	p.open(s.url + "/runs/3")
	p.shows("2 modules failed, first one")
	p.until("document.querySelectorAll('.outline a').length === 3")
	p.key("n")
	p.until("location.search === '?m=one'")
	p.key("n")
	p.until("location.search === '?m=two'")
	p.key("p")
	p.until("location.search === '?m=one'")
	p.key("t")
	p.until("document.querySelector('.logbar button[aria-label^=Times]').ariaLabel.includes('times of day')")
	p.key("f")
	p.until("document.querySelector('.follow').ariaPressed === 'false'")
	p.key("c")
	p.until("document.querySelector('.menu[open]')")
	p.key(kb.Escape)
	p.until("!document.querySelector('.menu[open]')")
	p.key("]")
	p.until("location.pathname === '/runs/3/graph'")
	p.key("[[")
	p.until("location.pathname === '/runs/3/why'")

	// What takes no keys of its own is reached by Tab, and shows where it is.
	p.open(s.url + "/cluster")
	p.until("document.querySelector('main table')")
	for range 60 {
		p.key(kb.Tab)
		if strings.HasPrefix(p.text("document.activeElement.ariaLabel"), "Drain") {
			break
		}
	}
	p.until("document.activeElement.ariaLabel === 'Drain n1' && getComputedStyle(document.activeElement).outlineStyle !== 'none'")
	p.key(kb.Enter)
	p.until("document.querySelector('dialog[open]')?.contains(document.activeElement)")
	p.key(kb.Escape)
	p.until("!document.querySelector('dialog[open]') && document.activeElement.ariaLabel === 'Drain n1'")
}

// Nothing moves for who does not want that.
func testMotion(t *testing.T, s *stage, p *tab) {
	p.t = t
	s.OK("submit", "-yes", "-detach", s.WriteFile("p/slow.hcl", slow))
	const moving = "document.getAnimations().filter(a => a.playState === 'running' && a.effect.getComputedTiming().duration > 0).length"
	for _, path := range []string{"/runs", "/runs/last", "/runs/last/timeline"} {
		p.do(emulate("prefers-reduced-motion", "no-preference"))
		p.open(s.url + path)
		p.until("document.querySelector('.spin')")
		p.until(moving + " > 0")
		p.do(emulate("prefers-reduced-motion", "reduce"))
		p.until("matchMedia('(prefers-reduced-motion: reduce)').matches && " + moving + " === 0")
	}
	p.do(emulate("prefers-reduced-motion", "no-preference"))
	s.OK("cancel", "slow/last")
}
