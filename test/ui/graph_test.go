package ui_test

import (
	"strings"
	"testing"
)

// dragged moves the graph, and counts the bytes that are clearly other ones than if all were
// drawn at once. Edges that are drawn in two parts differ a little.
const dragged = `(async () => {
	const g = window.graph
	const frame = () => new Promise(f => requestAnimationFrame(() => requestAnimationFrame(f)))
	const seen = () => {
		const [box, canvas] = ['.gbox', '.gbox canvas'].map(s => document.querySelector(s).getBoundingClientRect())
		return g.c.getImageData(box.left - canvas.left, box.top - canvas.top, box.width, box.height).data
	}
	const wrong = async () => {
		const moved = seen()
		g.redraw()
		await frame()
		return seen().reduce((n, v, i) => n + (Math.abs(v - moved[i]) > 64), 0)
	}
	const out = []
	const move = async (n, x, y) => {
		for (let i = 0; i < n; i++) {
			g.pan(x, y)
			await frame()
		}
		out.push(await wrong())
	}
	g.zoom(1 / g.scale)
	await frame()
	g.pan(-9999, -9999)
	await move(1, 0, 0)
	await move(20, 13, 7)
	await move(3, 90, -41)
	await move(9, -31, 12)
	await move(2, 1900, 0)
	g.fit()
	await move(5, 30, 0)
	return out.join()
})()`

func TestGraph_dragged(t *testing.T) {
	browser := newBrowser(t)
	c := start(t, 1)
	id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", c.WriteFile("q/waves.hcl", waves(false))))
	p := newTab(t, browser)
	p.expected = []string{"willReadFrequently"} // how dragged looks at the canvas
	p.signIn(c.Nodes[0].URL+"/runs/"+id+"/graph?fold=none", strings.TrimSpace(c.OK("token", "create", "-role", "read")))
	p.until("window.graph?.faces?.length === 1000")
	if got := p.text(dragged); got != "0,0,0,0,0,0" {
		t.Errorf("bytes of the graph that are clearly not as if it were drawn anew: %s", got)
	}
}
