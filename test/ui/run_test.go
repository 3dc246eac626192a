package ui_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// looked has an output with groups, a long line and two attempts, and files of each kind.
const looked = `
pipeline "looked" {
  module "talk" {
    retry { attempts = 2 }
    script = <<-END
      echo "::group::Set up"
      for i in 1 2 3 4 5 6; do echo "fetched $i"; done
      echo "::endgroup::"
      printf '10%%\r100%%\n'
      head -c 9000 /dev/zero | tr '\0' x; echo END
      i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); echo "step $i"; done
      echo "this is attempt $PIPELINED_ATTEMPT"
      [ "$PIPELINED_ATTEMPT" = 2 ]
    END
  }
  module "files" {
    depends_on = [module.talk]
    outputs    = ["out/*"]
    script     = <<-END
      mkdir out
      printf '<!doctype html><link rel=stylesheet href=page.css><style>h1 { color: rgb(1, 2, 3) }</style><h1 style="margin: 7px">Coverage</h1><img src=dot.svg><script>document.title = "owned"</script><a href=data.json onclick="alert(1)">data</a>' > out/page.html
      echo 'h1 { font-size: 41px }' > out/page.css
      echo '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>' > out/dot.svg
      echo '{"a":[1,2]}' > out/data.json
      printf 'a\0b' > out/data.bin
    END
  }
}
`

// checked reports tests: one fails at first, one is slow, one fails every time.
const checked = `
pipeline "checked" {
  module "unit" {
    retry { attempts = 2 }
    ignore_failure = true
    reports { junit = ["*.xml"] }
    script = <<-END
      once=$([ "$PIPELINED_ATTEMPT" = 1 ] && echo '<failure message="too slow">at clock.go:7</failure>')
      echo "<testsuite name='fast'><testcase classname='clock' name='TestTick' time='0.1'>$once</testcase>
        <testcase classname='clock' name='TestZone' time='0.2'><failure message='an hour off'>want 3, have 4</failure></testcase>
        <testcase classname='clock' name='TestYear' time='9.5'/></testsuite>" > junit.xml
      exit 1
    END
  }
}
`

func TestDashboard_run(t *testing.T) {
	browser := newBrowser(t)
	c := start(t, 3)
	id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", c.WriteFile("q/looked.hcl", looked)))
	c.OK("wait", id)
	p := newTab(t, browser)
	p.signIn(c.Nodes[0].URL+"/runs/"+id, strings.TrimSpace(c.OK("token", "create", "-role", "submit")))
	search := func(text string) {
		p.t.Helper()
		p.text("(() => { const i = document.querySelector('.logbar input'); i.value = ''; i.dispatchEvent(new Event('input', { bubbles: true })); i.focus() })()")
		p.do(chromedp.SendKeys(chromedp.CSS(".logbar input"), text))
	}

	t.Run("log", func(t *testing.T) {
		p.t = t
		p.click(".outline a", "talk")
		p.shows("this is attempt 2")
		p.click(".tabs a", "Log")
		p.shows("3,011 lines")

		search("STEP 1234")
		p.until("document.querySelector('.hits').innerText === '1 of 1'")
		p.until("document.querySelector('.line.hl .text')?.innerText === 'step 1234'")
		p.until("new URLSearchParams(location.search).get('find') === 'STEP 1234'")
		p.click(".logbar button", "Aa")
		p.until("document.querySelector('.hits').innerText === 'none'")
		p.click(".logbar button", "Aa")
		search("step ")
		p.until("document.querySelector('.hits').innerText.endsWith(' of 3,000')")
		search(":1")
		p.until("document.querySelector('.line.hl .no')?.dataset.no === '1'")
		p.until("[...document.querySelectorAll('.line .text')].some(e => e.innerText === '100%')")

		p.shows("Set up")
		p.until("!document.querySelector('.lines').innerText.includes('fetched 3')")
		p.click(".fold", "Set up")
		p.shows("fetched 3")
		p.click(".more", "more characters")
		p.until("document.querySelector('dialog[open] pre')?.innerText.trim().endsWith('xEND')")
		p.accessible("a whole line")
		p.click("dialog button", "Close")

		p.click(".attempts a", "Side by side")
		p.until("[...document.querySelectorAll('.beside section')].every((e, i) => e.innerText.includes('this is attempt ' + (i + 1)))")
		p.accessible("side by side")
		p.click(".attempts a", "Side by side")
	})

	t.Run("outputs", func(t *testing.T) {
		p.t = t
		p.click(".tabs a", "Outputs")
		p.until("location.pathname.endsWith('/outputs')")
		p.click(".card .chip", "talk")
		p.click(".files a", "out/page.html")
		frame := "document.querySelector('iframe')?.contentDocument"
		p.until(frame + "?.querySelector('h1')")
		p.until("getComputedStyle(" + frame + ".querySelector('h1')).fontSize === '41px'")
		for what, want := range map[string]string{
			"getComputedStyle(" + frame + ".querySelector('h1')).color":     "rgb(1, 2, 3)",
			"getComputedStyle(" + frame + ".querySelector('h1')).marginTop": "7px",
			frame + ".title": "",
			frame + ".querySelectorAll('script, [onclick]').length": "0",
			frame + ".querySelector('img').naturalWidth":            "9",
			"document.querySelector('iframe').sandbox.value":        "allow-same-origin",
		} {
			if got := p.text(what); got != want {
				t.Errorf("%s is %q, want %q", what, got, want)
			}
		}
		p.accessible("a page")
		p.text(frame + ".querySelector('a').click()")
		p.until("document.querySelector('.preview pre')?.innerText.includes('\"a\": [')")
		p.click(".files a", "out/dot.svg")
		p.until("document.querySelector('.preview img')?.naturalWidth === 9")
		p.click(".files a", "out/data.bin")
		p.shows("It is not text")
	})

	t.Run("timeline", func(t *testing.T) {
		p.t = t
		p.open(c.Nodes[0].URL + "/runs/" + id + "/timeline")
		p.click(".seg a", "Modules")
		p.until("new URLSearchParams(location.search).get('rows') === 'modules' && window.timeline.at('talk', 1)")
		p.text("new Promise(f => requestAnimationFrame(() => requestAnimationFrame(f)))")
		p.drag("document.querySelector('.tlbox canvas')", 300, 60, 500, 60)
		p.until("Number(new URLSearchParams(location.search).get('to')) > Number(new URLSearchParams(location.search).get('from'))")
		p.click(".timeline .btn", "All of it")
		p.until("!location.search.includes('from')")
	})

	t.Run("plan", func(t *testing.T) {
		p.t = t
		p.click(".tabs a", "Plan")
		p.shows("Wave 2")
		p.until("[...document.querySelectorAll('.plan tr')].some(e => e.innerText.includes('files') && e.innerText.includes('talk'))")
		p.accessible("plan")
	})

	t.Run("tests and events", func(t *testing.T) {
		p.t = t
		id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", c.WriteFile("r/checked.hcl", checked)))
		c.OK("wait", id)
		p.open(c.Nodes[0].URL + "/runs/" + id)
		p.click(".tabs a", "Tests")
		p.shows("3 tests in 9.8s")
		p.until("document.querySelector('.cases li').innerText.includes('TestZone')")
		p.shows("an hour off")
		p.click(".cases summary", "What it said")
		p.shows("want 3, have 4")
		p.accessible("tests")
		p.click(".prog.tests a", "passed")
		p.until("location.search.includes('state=passed') && document.querySelector('.cases')?.innerText.includes('TestYear') && !document.querySelector('.cases').innerText.includes('TestZone')")

		p.click(".tabs a", "Events")
		p.shows("unit runs again on n")
		p.until("document.querySelectorAll('.events li').length >= 4")
		p.accessible("events")
		p.open(c.Nodes[0].URL + "/pipelines/checked")
		p.shows("TestZone")
		p.open(c.Nodes[0].URL + "/runs/" + id)
	})

	t.Run("names", func(t *testing.T) {
		p.t = t
		for name, want := range map[string]string{"looked%2Flast": "/runs/1", "looked/last": "/runs/1", "last": "/runs/2", "looked%2F1": "/runs/looked%2F1", "looked/1": "/runs/looked/1"} {
			p.open(c.Nodes[0].URL + "/runs/" + name + "/plan?m=talk")
			p.until("document.querySelector('.plan') && location.pathname === '" + want + "/plan' && location.search === '?m=talk'")
		}
		p.open(c.Nodes[0].URL + "/runs/" + id)
	})

	t.Run("pin", func(t *testing.T) {
		p.t = t
		p.click("header button", "Pin")
		p.shows("pipelined pin")
		p.click("dialog button", "Pin")
		p.until("document.querySelector('header button[aria-pressed=true]')?.innerText.includes('Pinned')")
	})
}
