package ui_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
)

// The policy of the page refuses what nothing of the page does, and the console, which each
// test looks at, says so.
func TestPolicy(t *testing.T) {
	browser := newBrowser(t)
	c := start(t, 1)
	p := newTab(t, browser)
	p.expected = []string{"policy refused: ", "Content Security Policy"}
	p.open(c.Nodes[0].URL + "/runs")
	p.until("document.querySelector('input[name=token]')")
	if said := p.said(); len(said) > 0 {
		t.Errorf("the console says: %q", said)
	}

	for what, tc := range map[string]struct{ does, refused string }{
		"a script in the page":      {`(s => { s.textContent = 'window.ran = 1'; document.body.append(s) })(document.createElement('script'))`, "script-src-elem inline"},
		"a script from elsewhere":   {`(s => { s.src = 'http://127.0.0.1:9/a.js'; document.body.append(s) })(document.createElement('script'))`, "script-src-elem http://127.0.0.1:9/a.js"},
		"a handler in an attribute": {`document.body.insertAdjacentHTML('beforeend', '<b onclick="window.ran = 1">b</b>'), document.body.lastChild.click()`, "script-src-attr inline"},
		"a style in an attribute":   {`document.body.insertAdjacentHTML('beforeend', '<b style="color: red">b</b>')`, "style-src-attr inline"},
		"a style sheet":             {`document.body.insertAdjacentHTML('beforeend', '<style>b { color: red }</style>')`, "style-src-elem inline"},
		"a picture from elsewhere":  {`new Image().src = 'http://127.0.0.1:9/a.png'`, "img-src http://127.0.0.1:9/a.png"},
		"a call elsewhere":          {`fetch('http://127.0.0.1:9/').catch(() => {})`, "connect-src http://127.0.0.1:9/"},
		"a frame from elsewhere":    {`document.body.insertAdjacentHTML('beforeend', '<iframe src="http://127.0.0.1:9/"></iframe>')`, "frame-src http://127.0.0.1:9"},
		"a form":                    {`(f => { f.action = 'http://127.0.0.1:9/'; document.body.append(f); f.submit() })(document.createElement('form'))`, "form-action http://127.0.0.1:9/"},
		"a base":                    {`document.head.insertAdjacentHTML('beforeend', '<base href="http://127.0.0.1:9/">')`, "base-uri http://127.0.0.1:9/"},
	} {
		p.text(tc.does)
		testutil.Eventually(t, 5*time.Second, func() error {
			if slices.ContainsFunc(p.said(), func(m string) bool { return strings.Contains(m, "policy refused: "+tc.refused) }) {
				return nil
			}
			return fmt.Errorf("%s: it is not refused: %q", what, p.said())
		})
	}
	if got := p.text("window.ran"); got != "undefined" {
		t.Error("a script of the page ran")
	}
}
