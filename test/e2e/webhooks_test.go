package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	reference "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// receiver is a receiver of events on loopback.
type receiver struct {
	tb      testing.TB
	address string
	server  *http.Server
	done    chan struct{}

	mu sync.Mutex
	// guards following
	secret string
	status int
	// times counts deliveries by the id of their event, runs has the ids of the events
	// about the end of a run.
	times map[string]int
	runs  map[pipeline.RunID]map[string]bool
}

func newReceiver(tb testing.TB) *receiver {
	tb.Helper()
	r := &receiver{tb: tb, address: "127.0.0.1:0", status: http.StatusOK, times: map[string]int{}, runs: map[pipeline.RunID]map[string]bool{}}
	r.start()
	tb.Cleanup(r.stop)
	return r
}

func (r *receiver) start() {
	r.tb.Helper()
	ln, err := net.Listen("tcp", r.address)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.address, r.done = ln.Addr().String(), make(chan struct{})
	r.server = &http.Server{Handler: r}
	go func() {
		defer close(r.done)
		_ = r.server.Serve(ln) // until it is closed
	}()
}

func (r *receiver) stop() {
	_ = r.server.Close()
	<-r.done
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // cut off
	}
	r.mu.Lock()
	defer r.mu.Unlock()

	hook, err := reference.NewWebhook(r.secret)
	if err == nil {
		err = hook.Verify(body, req.Header)
	}
	var event wire.CloudEvent
	if err == nil {
		err = json.Unmarshal(body, &event)
	}
	if err != nil || event.ID != req.Header.Get("webhook-id") {
		r.tb.Errorf("event %q: %v", req.Header.Get("webhook-id"), err)
	}
	if r.status == http.StatusOK {
		r.times[event.ID]++
		if run := event.Data.CustomData.Run; run != "" {
			if r.runs[run] == nil {
				r.runs[run] = map[string]bool{}
			}
			r.runs[run][event.ID] = true
		}
	}
	w.WriteHeader(r.status)
	_, _ = io.WriteString(w, "noted")
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

// got waits until the end of every run came, as one event.
func (r *receiver) got(runs ...pipeline.RunID) {
	r.tb.Helper()
	testutil.Eventually(r.tb, time.Minute, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, id := range runs {
			if n := len(r.runs[id]); n != 1 {
				return fmt.Errorf("run %s: %d events say that it ended", id, n)
			}
		}
		return nil
	})
}

// webhooks is a command about webhooks, of a node that runs.
func webhooks(c *harness.Cluster, args ...string) string {
	return c.OK(append([]string{"webhooks", "-address", c.Others(nil)[0].URL}, args...)...)
}

func hookOf(t *testing.T, c *harness.Cluster) wire.WebhookInfo {
	t.Helper()
	var list wire.WebhookList
	if err := json.Unmarshal([]byte(webhooks(c, "ls", "-json")), &list); err != nil || len(list.Webhooks) != 1 {
		t.Fatalf("webhooks ls: %v, %+v", err, list)
	}
	return list.Webhooks[0]
}

// Every run's end comes to a receiver as one event, though the leader is killed: by its
// id, which may come twice then. A receiver that is down gets it later.
func TestWebhooks(t *testing.T) {
	c := harness.Start(t, 3, "-config", harness.ConfigFile(t, `webhook_allow = ["127.0.0.0/8"]`))
	r := newReceiver(t)
	secret := strings.TrimSpace(webhooks(c, "add", "ends", "http://"+r.address+"/in", "-type", "run.finished"))
	r.mu.Lock()
	r.secret = secret
	r.mu.Unlock()
	if out := webhooks(c, "test", "ends"); !strings.HasPrefix(out, "200 OK: noted in ") {
		t.Errorf("webhooks test: %q", out)
	}

	file := c.WriteFile("p.hcl", `pipeline "p" {
  module "a" { command = ["true"] }
}
`)
	var runs []pipeline.RunID
	submit := func() pipeline.RunID {
		t.Helper()
		id := pipeline.RunID(strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Others(nil)[0].URL, file)))
		runs = append(runs, id)
		return id
	}

	for i := range 9 {
		if i == 4 {
			leader := c.Leader()
			leader.Kill()
			defer leader.Start()
		}
		submit()
	}
	r.got(runs...)
	r.mu.Lock()
	for id, n := range r.times {
		if n > 2 {
			t.Errorf("event %s came %d times", id, n)
		}
	}
	r.mu.Unlock()

	// What was received may not have been answered, or may come once more.
	testutil.Eventually(t, time.Minute, func() error {
		if w := hookOf(t, c); w.Waiting != 0 {
			return fmt.Errorf("%d wait", w.Waiting)
		}
		return nil
	})
	r.stop()
	down := submit()
	testutil.Eventually(t, time.Minute, func() error {
		if w := hookOf(t, c); w.Failures == 0 || w.Waiting != 1 || w.Last == nil || !strings.Contains(w.Last.Text, "refused") {
			return fmt.Errorf("the failure is not to be seen: %+v", w)
		}
		return nil
	})
	r.start()
	r.got(down)

	// A receiver that is gone is left alone until someone says otherwise.
	r.answer(http.StatusGone)
	gone := submit()
	testutil.Eventually(t, time.Minute, func() error {
		if w := hookOf(t, c); w.Off == "" || w.Waiting != 1 {
			return fmt.Errorf("it is not switched off: %+v", w)
		}
		return nil
	})
	if out := webhooks(c, "ls"); !strings.Contains(out, "switched off: its receiver answered 410 Gone") {
		t.Errorf("webhooks ls:\n%s", out)
	}
	r.answer(http.StatusOK)
	webhooks(c, "retry", "ends")
	r.got(gone)
}
