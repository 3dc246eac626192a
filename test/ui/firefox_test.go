package ui_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// firefox is a Firefox that is driven by Marionette, the protocol below geckodriver:
// commands as lengths and lists of JSON (firefox-source-docs.mozilla.org,
// testing/marionette/Protocol).
type firefox struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
	last int
}

// newFirefox starts Firefox, or skips the test.
func newFirefox(t testing.TB) *firefox {
	t.Helper()
	path, err := exec.LookPath("firefox-esr")
	if err != nil {
		t.Skip("needs firefox-esr (apt-get install firefox-esr)")
	}

	profile := t.TempDir()
	// A proxy that refuses stands for all but the nodes, which are on loopback.
	const prefs = `user_pref("marionette.port", 0);
		user_pref("network.proxy.type", 1);
		user_pref("network.proxy.http", "127.0.0.1"); user_pref("network.proxy.http_port", 1);
		user_pref("network.proxy.ssl", "127.0.0.1"); user_pref("network.proxy.ssl_port", 1);
		user_pref("network.captive-portal-service.enabled", false);
		user_pref("network.connectivity-service.enabled", false);`
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(prefs), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "--headless", "--no-remote", "--marionette", "--remote-allow-system-access", "--profile", profile, "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+profile, "MOZ_CRASHREPORTER_DISABLE=1")
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := &firefox{t: t}
	t.Cleanup(func() {
		if f.conn != nil {
			f.conn.Close()
		}
		_ = cmd.Process.Kill() // it has ended otherwise
		_ = cmd.Wait()
	})

	var port []byte
	testutil.Eventually(t, time.Minute, func() error {
		port, err = os.ReadFile(filepath.Join(profile, "MarionetteActivePort"))
		if err == nil && len(port) == 0 {
			err = errors.New("the port of Marionette is not written yet")
		}
		return err
	})
	if f.conn, err = net.Dial("tcp", "127.0.0.1:"+strings.TrimSpace(string(port))); err != nil {
		t.Fatal(err)
	}
	f.in = bufio.NewReader(f.conn)
	f.read() // who it is
	f.do("WebDriver:NewSession", nil)
	return f
}

// read returns the next message.
func (f *firefox) read() []byte {
	f.t.Helper()
	length, err := f.in.ReadString(':')
	if err != nil {
		f.t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil {
		f.t.Fatal(err)
	}
	message := make([]byte, n)
	if _, err := io.ReadFull(f.in, message); err != nil {
		f.t.Fatal(err)
	}
	return message
}

// do runs a command and returns its result.
func (f *firefox) do(command string, parameters map[string]any) json.RawMessage {
	f.t.Helper()
	if parameters == nil {
		parameters = map[string]any{}
	}
	f.last++
	message, err := json.Marshal([]any{0, f.last, command, parameters})
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(f.conn, "%d:%s", len(message), message); err != nil {
		f.t.Fatal(err)
	}
	var answer [4]json.RawMessage // type, number, error, result
	if err := json.Unmarshal(f.read(), &answer); err != nil {
		f.t.Fatal(err)
	}
	if string(answer[2]) != "null" {
		f.t.Fatalf("Firefox: %s: %s", command, answer[2])
	}
	return answer[3]
}

// script runs a script on the page and returns what it returns, as JSON.
func (f *firefox) script(text string, args ...any) string {
	f.t.Helper()
	var out struct {
		Value json.RawMessage `json:"value"`
	}
	answer := f.do("WebDriver:ExecuteScript", map[string]any{"script": text, "args": append([]any{}, args...)})
	if err := json.Unmarshal(answer, &out); err != nil {
		f.t.Fatalf("Firefox: %s: %v", answer, err)
	}
	return string(out.Value)
}

// until waits until an expression is true on the page.
func (f *firefox) until(expression string) {
	f.t.Helper()
	testutil.Eventually(f.t, harness.Wait, func() error {
		if got := f.script("return !!(" + expression + ")"); got != "true" {
			return fmt.Errorf("%s in Firefox: %s", got, expression)
		}
		return nil
	})
}

// said is what the browser has said of the pages and scripts of a node since it started:
// mistakes in them, and what their policy refused.
func (f *firefox) said(url string) string {
	f.t.Helper()
	f.do("Marionette:SetContext", map[string]any{"value": "chrome"})
	defer f.do("Marionette:SetContext", map[string]any{"value": "content"})
	return f.script(`return Services.console.getMessageArray()
		.filter(m => m instanceof Ci.nsIScriptError && m.sourceName.startsWith(arguments[0]))
		.map(m => m.category + ": " + m.errorMessage)`, url)
}

// The dashboard works in Firefox: sign-in by a code, the list of runs, a run with its
// graph and output, and nothing that the page does is refused by its policy.
func TestDashboard_firefox(t *testing.T) {
	f := newFirefox(t)
	c := start(t, 1)
	id := strings.TrimSpace(c.OK("submit", "-detach", "-yes", c.WriteFile("p/hello.hcl", `pipeline "hello" {
  module "greet" { script = "echo hello from a module" }
}`)))
	c.OK("wait", id)
	url := ""
	for _, word := range strings.Fields(c.OK("ui", "-no-open")) {
		if strings.HasPrefix(word, "http") {
			url = word
		}
	}

	f.do("WebDriver:Navigate", map[string]any{"url": url})
	f.until("document.body.innerText.includes('hello')")
	f.until("!location.hash && document.querySelector('h1')")
	f.script(`[...document.querySelectorAll('a')].find(a => a.getAttribute('href').startsWith('/runs/')).click()`)
	f.until("location.pathname.startsWith('/runs/') && document.querySelector('canvas')")
	f.until("document.body.innerText.includes('hello from a module')")
	for _, tab := range []string{"Timeline", "Log", "Outputs", "Tests", "Events", "Plan", "Why"} {
		f.script("[...document.querySelectorAll('.tabs a')].find(a => a.innerText.startsWith(arguments[0])).click()", tab)
		f.until("document.querySelector('.tabs a[aria-current]')?.innerText.startsWith('" + tab + "') && !document.body.innerText.includes('Asking the cluster')")
	}
	if got := f.said(c.Nodes[0].URL); got != "[]" {
		t.Errorf("Firefox says: %s", got)
	}

	// It would say it.
	f.script("document.body.insertAdjacentHTML('beforeend', '<b style=\"color: red\">b</b>')")
	testutil.Eventually(t, harness.Wait, func() error {
		if got := f.said(c.Nodes[0].URL); !strings.Contains(got, "style-src") {
			return fmt.Errorf("Firefox does not say that the policy refused a style: %s", got)
		}
		return nil
	})
}
