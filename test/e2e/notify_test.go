package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// chat is a receiver of notifications on loopback.
type chat struct {
	address string

	mu sync.Mutex
	// guards following
	texts []string
	// before is called with a text before it is answered, and not again if it says so.
	before func(text string) (done bool)
}

func newChat(tb testing.TB) *chat {
	tb.Helper()
	c := &chat{}
	server := httptest.NewServer(c)
	tb.Cleanup(server.Close)
	c.address = server.Listener.Addr().String()
	return c
}

func (c *chat) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var in struct{ Text string }
	if err != nil || json.Unmarshal(body, &in) != nil || in.Text == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	c.texts = append(c.texts, in.Text)
	if c.before != nil && c.before(in.Text) {
		c.before = nil
	}
}

// about lists the texts that have a word.
func (c *chat) about(word string) (list []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, text := range c.texts {
		if strings.Contains(text, word) {
			list = append(list, text)
		}
	}
	return list
}

// Each end of a run comes to the chat once, whoever leads: the leader is killed as soon as
// the run has ended, after what it sent was recorded, or before it has an answer. Only
// in the last case may it come twice: an answer that was not recorded is not known.
func TestNotify_leaderKilled(t *testing.T) {
	c := harness.Start(t, 3, "-config", harness.ConfigFile(t, `webhook_allow = ["127.0.0.0/8"]`))
	r := newChat(t)
	webhooks(c, "add", "chat", "http://"+r.address+"/in", "-format", "slack")
	file := c.WriteFile("p.hcl", `pipeline "p" {
  variable "exit" { default = "3" }
  variable "round" {}
  module "a" { script = "echo the last words of ${var.round}; exit ${var.exit}" }
  notify "chat" {
    webhook = "chat"
    message = "${var.round}, ${run.status}"
  }
}
`)
	submit := func(round, exit string) pipeline.RunID {
		t.Helper()
		return pipeline.RunID(strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Others(nil)[0].URL, "-var", "round="+round, "-var", "exit="+exit, file)))
	}
	run := func(id pipeline.RunID, ok func(state pipeline.RunState, notices []pipeline.Notice) bool) {
		t.Helper()
		testutil.Eventually(t, time.Minute, func() error {
			run, err := c.Run(string(id))
			if err == nil && !ok(run.State, run.Notices) {
				err = fmt.Errorf("run %s is %s, %+v", id, run.State, run.Notices)
			}
			return err
		})
	}
	delivered := func(_ pipeline.RunState, notices []pipeline.Notice) bool {
		return len(notices) == 1 && notices[0].State == pipeline.NoticeDelivered
	}

	kinds := []string{"ended", "recorded", "unanswered"}
	for i := range 3 * rounds(t) {
		kind, round := kinds[i%len(kinds)], fmt.Sprintf("round-%d-", i)
		exit, word := "3", "failed"
		if i%2 == 1 {
			exit, word = "0", "succeeded, after a failure"
		}
		leader := c.Leader()
		if kind == "unanswered" {
			r.mu.Lock()
			r.before = func(text string) bool {
				if strings.Contains(text, round) {
					leader.Kill()
				}
				return strings.Contains(text, round)
			}
			r.mu.Unlock()
		}

		id := submit(round, exit)
		switch kind {
		case "ended":
			run(id, func(s pipeline.RunState, _ []pipeline.Notice) bool { return s.Final() })
			leader.Kill()
		case "recorded":
			run(id, delivered)
			leader.Kill()
		}
		run(id, delivered)
		leader.Start()
		c.Whole()

		texts := r.about(round)
		if len(texts) == 0 || len(texts) > 2 || kind == "recorded" && len(texts) > 1 || kind == "unanswered" && len(texts) != 2 {
			t.Errorf("round %d, killed once it was %s: came %d times", i, kind, len(texts))
		}
		for _, text := range texts {
			if !strings.Contains(text, "* "+word) || exit == "3" && !strings.Contains(text, "the last words of "+round) {
				t.Errorf("round %d: %s", i, text)
			}
		}
		t.Logf("round %d, killed once it was %s: %d", i, kind, len(texts))
	}
}
