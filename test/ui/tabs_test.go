package ui_test

import (
	"os"
	"strings"
	"testing"
)

const talking = `
pipeline "talking" {
  module "talk" {
    script = "echo hello; while [ -e ${var.wait} ]; do sleep 0.1; done; echo bye"
  }
  variable "wait" {}
}
`

// A browser has six connections to a node for all its tabs: those that are not seen keep
// none open, still show in their titles how their runs stand, and go on when they are seen.
func TestDashboard_manyTabs(t *testing.T) {
	browser := newBrowser(t)
	c := start(t, 1)
	wait := c.WriteFile("q/wait", "")
	id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", "-var", "wait="+wait, c.WriteFile("q/talking.hcl", talking)))
	token := strings.TrimSpace(c.OK("token", "create", "-role", "read"))

	// Without a screen all tabs are seen.
	see := func(p *tab, hidden string) {
		p.text("Object.defineProperty(document, 'hidden', { value: " + hidden + ", configurable: true }), document.dispatchEvent(new Event('visibilitychange'))")
	}
	var tabs []*tab
	for i := range 7 {
		var p *tab
		if i == 0 {
			p = newTab(t, browser)
		} else {
			p = tabs[0].beside()
		}
		p.signIn(c.Nodes[0].URL+"/runs/"+id+"?m=talk", token)
		p.shows("hello")
		see(p, "true")
		tabs = append(tabs, p)
	}

	if err := os.Remove(wait); err != nil {
		t.Fatal(err)
	}
	for _, p := range tabs {
		p.until("document.title.startsWith('Succeeded')")
	}
	see(tabs[0], "false")
	tabs[0].shows("bye")
}
