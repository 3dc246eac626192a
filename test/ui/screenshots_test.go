package ui_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/pipelined/pipelined/test/harness"
)

// project checks two packages of this repository. If it should publish, one module waits
// for a person and one runs for long; and then one fails, since the clone has a file that
// gofmt would change. The tests become a JUnit file by a few lines of awk.
const project = `
pipeline "check" {
  description = "Format, vet and test two packages, and publish them"
  on_failure  = "continue"
  workspace {
    exclude = ["api/**", "cmd/**", "docs/**", "internal/**", "test/**"]
  }

  variable "publish" {
    type    = bool
    default = false
  }

  module "format" {
    script = "gofmt -l pipeline; test -z \"$(gofmt -l pipeline)\""
    inputs = ["pipeline/**"]
    cache  = true
  }
  module "vet" {
    script = "go vet ./pipeline/mask ./pipeline/graph"
    inputs = ["go.*", "pipeline/*/*.go"]
    cache  = true
  }
  module "test" {
    matrix     = { package = ["mask", "graph"], shuffle = ["on", "off"] }
    depends_on = [module.vet]
    outputs    = ["test.txt", "test.xml"]
    cache_key  = [var.publish]
    inputs     = ["go.*", "pipeline/*/*.go"]
    cache      = true
    script     = <<-SH
      go test -v -count=1 -shuffle=${matrix.shuffle} ./pipeline/${matrix.package} > test.txt && code=0 || code=$?
      awk -v class=pipeline/${matrix.package} '
        BEGIN { print "<testsuite>" }
        /^--- (PASS|FAIL)/ {
          printf "<testcase classname=\"%s\" name=\"%s\" time=\"%s\">", class, $3, substr($4, 2, length($4) - 3)
          print ($2 == "FAIL:" ? "<failure/>" : "") "</testcase>"
        }
        END { print "</testsuite>" }' test.txt > test.xml
      cat test.txt
      exit $code
    SH
    reports {
      junit = ["test.xml"]
    }
  }
  module "soak" {
    depends_on    = [module.vet]
    when          = var.publish
    on_disconnect = "keep"
    script        = "i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); echo round $i of pipeline/mask went well; sleep 0.2; done"
  }
  module "release" {
    depends_on = [module.test]
    when       = var.publish
    approval { message = "Publish this build?" }
  }
  module "publish" {
    depends_on = [module.release]
    when       = var.publish
    command    = ["true"]
  }
}
`

const nightly = `
pipeline "nightly" {
  workspace { exclude = ["**"] }
  schedule {
    cron = "30 2 * * *"
    timezone = "Europe/Berlin"
  }
  module "clean" { command = ["true"] }
}
`

// maxPicture bounds a picture of the documentation, in bytes.
const maxPicture = 150_000

// TestScreenshots writes the pictures of docs/dashboard.md into the directory that
// PIPELINED_SCREENSHOTS names (make screenshots): each page that the dashboard links to,
// of three nodes whose leader died, light, dark, and on a phone.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("PIPELINED_SCREENSHOTS")
	if dir == "" {
		t.Skip("PIPELINED_SCREENSHOTS names no directory")
	}

	browser := newBrowser(t)
	c := startProject(t)
	p := newTab(t, browser)
	run := prepareProject(t, c, p)

	pages := append(p.links(".rail a"), run[:strings.Index(run, "/runs/")]+"/pipelines/check")
	p.open(run)
	p.until("document.querySelector('.outline a, .outline button')")
	pages = append(pages, p.links("[role=tablist] a, .tabs a")...)
	slices.Sort(pages)
	for _, page := range slices.Compact(pages) {
		name := pictureName(page)
		p.open(page)
		for _, one := range []struct {
			suffix, scheme string
			width, height  int
		}{{"phone", "light", 390, 844}, {"light", "light", 1440, 980}, {"dark", "dark", 1440, 980}} {
			p.do(chromedp.EmulateViewport(int64(one.width), int64(one.height)), emulate("prefers-color-scheme", one.scheme))
			p.until("document.querySelector('main, .scroll') && !document.querySelector('[aria-busy=true]')")
			p.settled()
			p.picture(filepath.Join(dir, name+"-"+one.suffix+".png"))
		}
	}
	c.OK("cancel", "check/last")
	c.CLI("wait", "check/last") // it ends as cancelled
}

// startProject starts three nodes whose modules may use Go's caches.
func startProject(t *testing.T) *harness.Cluster {
	t.Helper()
	c := harness.New(t)
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		c.Env = append(c.Env, name+"="+strings.TrimSpace(string(out)))
	}
	var addresses []string
	for range 3 {
		addresses = append(addresses, c.Add("-module-env", "GOCACHE,GOMODCACHE,GOPROXY,GOFLAGS", "-max-parallel", "4").URL)
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	c.Whole()
	c.Env = append(c.Env, "PIPELINED_ADDR="+strings.Join(addresses, ","))
	return c
}

// prepareProject runs the project, and kills the leader while it runs. It returns the
// address of the run.
func prepareProject(t *testing.T, c *harness.Cluster, p *tab) string {
	t.Helper()
	dir := filepath.Join(c.Dir, "project")
	for _, args := range [][]string{
		{"clone", "-q", "--depth", "1", "file://" + root(t), dir},
		{"-C", dir, "checkout", "-q", "-B", "main"},
	} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("check.hcl", project)
	write("nightly.hcl", nightly)
	c.OK("submit", "-register", "-yes", filepath.Join(dir, "nightly.hcl"))
	c.OK("secrets", "set", "-file", file, "DEPLOY_KEY")
	c.OK("token", "create", "-role", "read", "-name", "board")
	hello := c.WriteFile("h/hello.hcl", "pipeline \"hello\" {\n  module \"hello\" { command = [\"echo\", \"hello\"] }\n}\n")
	for range 3 {
		c.OK("submit", "-yes", "-quiet", hello)
	}
	c.OK("submit", "-yes", "-quiet", file)
	c.OK("submit", "-yes", "-quiet", file) // from the cache
	extra := "package graph_test\n\nimport \"testing\"\n\nfunc TestExtra(t *testing.T) {%s}\n"
	write("pipeline/graph/extra_test.go", fmt.Sprintf(extra, " t.Error(\"half done\") "))
	c.CLI("submit", "-yes", "-quiet", file) // one test fails
	write("pipeline/graph/extra_test.go", fmt.Sprintf(extra, ""))
	c.OK("submit", "-yes", "-quiet", file)
	c.OK("submit", "-detach", "-yes", "-var", "publish=true", file)
	c.OK("cancel", "check/last")
	c.CLI("wait", "check/last") // it ends as cancelled
	write("pipeline/mask/extra.go", "package mask\nvar  extra int\n")
	c.OK("submit", "-detach", "-yes", "-var", "publish=true", file)

	leader := c.Leader()
	rest := c.Others(leader)
	token := strings.TrimSpace(c.OK("token", "create", "-role", "admin", "-name", "ann"))
	p.signIn(rest[0].URL+"/runs", token)
	p.click(".runs a", "check")
	p.shows("Publish this build?")
	run := p.text("location.origin + location.pathname")
	leader.Kill()
	p.until("document.querySelector('.live').innerText.startsWith('live')")
	leader.Start()
	p.open(rest[0].URL + "/runs")
	p.shows("check")
	return run
}

// root is the directory of this repository.
func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// links are the addresses that elements link to.
func (p *tab) links(selector string) []string {
	p.t.Helper()
	return strings.Fields(p.text("[...document.querySelectorAll(" + quoted(selector) + ")].filter(a => a.origin === location.origin).map(a => a.origin + a.pathname).join(' ')"))
}

// pictureName is the name of a page's picture, which has neither slashes nor the number
// of a run or the name of a pipeline.
func pictureName(page string) string {
	_, path, _ := strings.Cut(strings.TrimPrefix(page, "http://"), "/")
	parts := strings.Split(path, "/")
	if (parts[0] == "runs" || parts[0] == "pipelines") && len(parts) > 1 {
		parts[0] = strings.TrimSuffix(parts[0], "s")
		parts = slices.Delete(parts, 1, 2)
	}
	return strings.Join(parts, "-")
}

// settled waits until the text of the page stands still for half a second, or changes
// all the time because something runs.
func (p *tab) settled() {
	p.t.Helper()
	p.text("new Promise(done => { let before = '', n = 0; const look = () => { const now = document.body.innerText; if (now === before || ++n > 6) return done(); before = now; setTimeout(look, 500) }; look() })")
}

// picture writes what the page looks like.
func (p *tab) picture(file string) {
	p.t.Helper()
	raw, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	shot, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		p.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, paletted(shot)); err != nil {
		p.t.Fatal(err)
	}
	if out.Len() > maxPicture {
		p.t.Errorf("%s: %d bytes, at most %d", file, out.Len(), maxPicture)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.t.Log(file, fmt.Sprintf("%d KB", out.Len()/1000))
}

// paletted is a picture in its 256 most frequent colours; others become the nearest of
// these.
func paletted(in image.Image) *image.Paletted {
	b := in.Bounds()
	count := map[color.RGBA]int{}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			count[coarse(in.At(x, y))]++
		}
	}
	list := make([]color.RGBA, 0, len(count))
	for c := range count {
		list = append(list, c)
	}
	slices.SortFunc(list, func(x, y color.RGBA) int {
		if d := count[y] - count[x]; d != 0 {
			return d
		}
		return bytes.Compare([]byte{x.R, x.G, x.B}, []byte{y.R, y.G, y.B})
	})
	var p color.Palette
	for _, c := range list[:min(256, len(list))] {
		p = append(p, c)
	}

	out := image.NewPaletted(b, p)
	known := map[color.RGBA]uint8{}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			c := coarse(in.At(x, y))
			i, ok := known[c]
			if !ok {
				i = uint8(p.Index(c))
				known[c] = i
			}
			out.SetColorIndex(x, y, i)
		}
	}
	return out
}

// coarse drops the lowest bit of each part of a colour: letters have many shades.
func coarse(c color.Color) color.RGBA {
	r, g, b, _ := c.RGBA()
	return color.RGBA{R: uint8(r>>8) | 1, G: uint8(g>>8) | 1, B: uint8(b>>8) | 1, A: 255}
}
