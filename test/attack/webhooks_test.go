package attack

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/test/harness"
)

// listenAt serves a handler at an address of loopback.
func listenAt(t *testing.T, ip string, h http.HandlerFunc) (port string) {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(h)
	_ = server.Listener.Close() // another one takes its place
	server.Listener = ln
	server.Start()
	t.Cleanup(server.Close)
	_, port, _ = net.SplitHostPort(ln.Addr().String()) // as net made it
	return port
}

// A caller that may name receivers reaches nothing on the leader's machine that the
// configuration does not allow: not by its address, nor by a name, nor by a redirect
// of a receiver that is allowed.
func TestWebhooks_hostile(t *testing.T) {
	var hits atomic.Int32
	port := listenAt(t, "127.0.0.1", func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	redirect := listenAt(t, "127.0.0.2", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:"+port+"/", http.StatusPermanentRedirect)
	})
	c := harness.Start(t, 1, "-config", harness.ConfigFile(t, `webhook_allow = ["127.0.0.2"]`))
	run := func(args ...string) harness.Result {
		return c.CLI(append([]string{"webhooks", "-address", c.Nodes[0].URL}, args...)...)
	}

	for _, url := range []string{"http://127.0.0.1:" + port, "http://[::1]:" + port, "http://0.0.0.0:" + port, "http://[::ffff:127.0.0.1]:" + port,
		"http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/", "http://127.0.0.2@127.0.0.1:" + port, "file:///etc/passwd"} {
		if r := run("add", "bad", url); r.Code == 0 {
			t.Errorf("%s is accepted", url)
			run("rm", "bad")
		}
	}

	for name, url := range map[string]string{"named": "http://localhost:" + port, "redirects": "http://127.0.0.2:" + redirect} {
		if r := run("add", name, url); r.Code != 0 {
			t.Fatalf("%s: %s", name, r.Stderr)
		}
		r := run("test", "-json", name)
		var d wire.WebhookDelivery
		if err := json.Unmarshal([]byte(r.Stdout), &d); err != nil || r.Code == 0 || d.Accepted {
			t.Errorf("%s: exit %d, %v, %+v", name, r.Code, err, d)
		}
		if name == "named" && !strings.Contains(d.Text, "receivers there are refused") {
			t.Errorf("%s: %s", name, d.Text)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests came through", n)
	}
}
