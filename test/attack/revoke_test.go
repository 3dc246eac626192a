package attack

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

const longRun = `pipeline "long" {
  module "m" {
    script = "echo begun; sleep 600"
  }
}
`

// thief is a caller who keeps open whatever the API lets stay open.
type thief struct {
	t     *testing.T
	token string
	run   string
	http  http.Client
	ended chan string
	open  int
}

// opened counts a call that stays open; end returns once it has ended.
func (x *thief) opened(name string, end func()) {
	x.open++
	go func() { // ends with the call, whose node stopAll ends
		end()
		x.ended <- name
	}()
}

func (x *thief) request(n *harness.Node, method, path string, body io.Reader) *http.Request {
	x.t.Helper()
	req, err := http.NewRequestWithContext(x.t.Context(), method, n.URL+path, body)
	if err != nil {
		x.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+x.token)
	req.Header.Set("Content-Type", "application/json")
	return req
}

// send makes a call and reads all of its answer.
func (x *thief) send(req *http.Request) {
	if resp, err := x.http.Do(req); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body) // however it ends
		_ = resp.Body.Close()
	}
}

func (x *thief) exec(n *harness.Node) {
	x.t.Helper()
	c, err := client.New(client.Config{Addresses: []string{n.URL}, Token: x.token})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(c.CloseIdle)
	stream, err := c.Modules().Exec(x.t.Context(), pipeline.RunID(x.run), "m", wire.ExecRequest{Command: []string{"cat"}})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = stream.Close() })
	out := &wire.ExecWriter{W: stream}
	if err := out.Frame(wire.ExecInput, []byte("hello")); err != nil {
		x.t.Fatal(err)
	}
	if kind, text, err := wire.ReadExecFrame(stream, nil); err != nil || kind != wire.ExecOutput || string(text) != "hello" {
		x.t.Fatalf("exec at %s: %q %q, %v", n.Name, kind, text, err)
	}
	x.opened("exec at "+n.Name, func() { _, _ = io.Copy(io.Discard, stream) })
}

func (x *thief) follow(n *harness.Node) {
	x.t.Helper()
	resp, err := x.http.Do(x.request(n, "POST", "/api/v1/runs/"+x.run+"/logs", strings.NewReader(`{"follow":true}`)))
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() && !strings.Contains(lines.Text(), "begun") {
	}
	if lines.Err() != nil || resp.StatusCode != http.StatusOK {
		x.t.Fatalf("follow at %s: %s, %v", n.Name, resp.Status, lines.Err())
	}
	x.opened("log at "+n.Name, func() { _, _ = io.Copy(io.Discard, resp.Body) })
}

// wait asks for a change of the run that does not come.
func (x *thief) wait(n *harness.Node) {
	req := x.request(n, "GET", "/api/v1/runs/"+x.run+"?wait=5m&index=1000000", nil)
	x.opened("watch at "+n.Name, func() { x.send(req) })
}

// upload sends a byte and then nothing more.
func (x *thief) upload(n *harness.Node) {
	in, out := io.Pipe()
	x.t.Cleanup(func() { _ = out.Close() })
	req := x.request(n, "PUT", "/api/v1/blobs/"+strings.Repeat("0", 64), in)
	req.Header.Set("Content-Type", "application/octet-stream")
	x.opened("upload at "+n.Name, func() {
		x.send(req)
		_ = in.Close()
	})
	if _, err := out.Write([]byte("x")); err != nil {
		x.t.Fatalf("upload at %s: %v", n.Name, err)
	}
}

// execute asks a node to run a module, as programs do that speak the workers' protocol.
func (x *thief) execute(n *harness.Node) {
	body := fmt.Sprintf(`{"executionId":"e-%s-%s","moduleTypeName":"x","serializedModule":{"name":"x","command":["sleep","600"]}}`, x.token[:10], n.Name)
	req := x.request(n, "POST", "/api/execution/execute", strings.NewReader(body))
	x.opened("execute at "+n.Name, func() { x.send(req) })
}

// allEnd waits until every call has ended.
func (x *thief) allEnd(began time.Time) {
	x.t.Helper()
	for range x.open {
		select {
		case name := <-x.ended:
			x.t.Logf("%s ended after %s", name, time.Since(began).Round(time.Millisecond))
		case <-time.After(harness.Wait):
			x.t.Fatal("a call continues without a valid token")
		}
	}
}

// With a token end the calls that were begun with it, at whichever node and whichever
// node serves them: when it is revoked, and when it expires.
func TestRevoke_openCalls(t *testing.T) {
	c := harness.Start(t, 3)
	run := start(t, c)
	for name, args := range map[string][]string{"revoked": nil, "expires": {"-ttl", "12s"}} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"token", "create", "-address", c.Nodes[0].URL, "-role", "admin", "-name", name}, args...)
			x := &thief{t: t, run: run, token: strings.TrimSpace(c.OK(args...)), ended: make(chan string, 100)} // more than are opened
			x.http.Transport = &http.Transport{}
			t.Cleanup(x.http.CloseIdleConnections)
			end := time.Now().Add(12 * time.Second)
			for _, n := range c.Nodes {
				x.exec(n)
				x.follow(n)
				x.wait(n)
				x.upload(n)
				x.execute(n)
			}
			if len(x.ended) > 0 {
				t.Fatalf("%s has ended while the token is valid", <-x.ended)
			}

			if name == "revoked" {
				c.OK("token", "rm", "-address", c.Nodes[1].URL, strings.Split(x.token, "_")[1])
				end = time.Now()
			}
			x.allEnd(end)
		})
	}

	if r, err := c.Run(run); err != nil || r.State != pipeline.RunRunning {
		t.Errorf("the run is %v, %v; want it to continue", r.State, err)
	}
}

// start submits a run and waits until its module runs.
func start(t *testing.T, c *harness.Cluster) (run string) {
	t.Helper()
	file := c.WriteFile("long.hcl", longRun)
	run = strings.TrimSpace(c.OK("submit", "-detach", "-yes", "-address", c.Nodes[0].URL, file))
	testutil.Eventually(t, harness.Wait, func() error {
		r, err := c.Run(run)
		if err != nil {
			return err
		}
		if len(r.Modules) != 1 || r.Modules[0].State != pipeline.ModuleRunning {
			text, _ := json.Marshal(r) // of a test's error
			return fmt.Errorf("not running: %s", text)
		}
		return nil
	})
	return run
}
