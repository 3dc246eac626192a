package ui_test

import (
	"strings"
	"testing"
)

// A module that runs a pipeline leads to the run of it, and that back.
func TestDashboard_child(t *testing.T) {
	browser := newBrowser(t)
	c := start(t, 1)
	c.WriteFile("c/inner.hcl", "pipeline \"inner\" {\n  module \"work\" { script = \"exit 3\" }\n}\n")
	id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", c.WriteFile("c/outer.hcl", "pipeline \"outer\" {\n  module \"deploy\" { pipeline = \"inner.hcl\" }\n}\n")))
	c.CLI("wait", id) // it fails
	p := newTab(t, browser)
	p.signIn(c.Nodes[0].URL+"/runs/1?m=deploy", strings.TrimSpace(c.OK("token", "create", "-role", "submit")))
	p.shows("It runs the pipeline inner")
	p.shows("run 2 failed: work failed: exit code 3")
	p.accessible("module that runs a pipeline")
	p.click(".pane .children a", "inner 2")
	p.until("location.pathname === '/runs/2'")
	p.click(".head a.tag", "module deploy of run 1")
	p.until("location.pathname === '/runs/1' && location.search === '?m=deploy'")
	p.turn("/runs")
	p.shows("module deploy of run 1")
}
