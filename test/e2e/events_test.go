package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// printedEvents reads what `events -o json` printed.
func printedEvents(t *testing.T, text string) []wire.Event {
	t.Helper()
	var out []wire.Event
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		var e wire.CloudEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if e.ID != e.Data.CustomData.ID || e.Type != e.Data.Context.Type {
			t.Errorf("an event of two minds: %s", line)
		}
		out = append(out, e.Data.CustomData)
	}
	return out
}

// last waits until followers have printed an event of a name.
func last(t *testing.T, followers []*harness.Running, name, subject string) {
	t.Helper()
	testutil.Eventually(t, harness.Wait, func() error {
		for i, f := range followers {
			list := printedEvents(t, f.Stdout())
			if !slices.ContainsFunc(list, func(e wire.Event) bool { return e.Name == name && (subject == "" || e.Data.Subject == subject) }) {
				return fmt.Errorf("follower %d has printed %d events and no %s: %s", i, len(list), name, f.Stderr())
			}
		}
		return nil
	})
}

// Who follows events at any node gets each once and in order, while the leader is
// killed; the next leader says how long there was none.
func TestEvents_takeover(t *testing.T) {
	c := harness.Start(t, 3)
	var followers []*harness.Running
	for _, n := range c.Nodes {
		followers = append(followers, c.Command(c.Dir, 5*time.Minute, "events", "-f", "-o", "json", "-address", n.URL))
	}
	last(t, followers, "leader.changed", "")

	w := newWitness(c, "starts")
	file := c.WriteFile("sleepers.hcl", sleepers(6, "1", w))
	leader := c.Leader()
	run := c.Command(c.Dir, 2*time.Minute, "submit", "-address", c.Others(leader)[0].URL, file)
	testutil.Eventually(t, harness.Wait, func() error {
		if n := len(w.starts(t)); n < 3 {
			return fmt.Errorf("%d modules started", n)
		}
		return nil
	})
	leader.Kill()
	if r := run.Wait(); r.Code != 0 {
		t.Fatalf("submit: exit %d\n%s", r.Code, r.Stderr)
	}
	rest := c.Others(nil)
	c.OK("token", "create", "-role", "read", "-name", "the-end", "-address", rest[0].URL)
	last(t, followers, "token.created", "the-end")

	// What a node has is what each follower was given.
	want := printedEvents(t, c.OK("events", "-since", "0", "-o", "json", "-address", rest[1].URL))
	for i, f := range followers {
		f.Signal(syscall.SIGINT)
		got := printedEvents(t, f.Wait().Stdout)
		if !slices.EqualFunc(got, want, func(a, b wire.Event) bool { return a.ID == b.ID && a.Text == b.Text }) {
			t.Errorf("follower %d was given\n%s\nwant\n%s", i, eventIDs(got), eventIDs(want))
		}
	}
	if !slices.IsSortedFunc(want, func(a, b wire.Event) int {
		if a.Index != b.Index {
			return int(a.Index) - int(b.Index)
		}
		return a.N - b.N
	}) {
		t.Errorf("out of order:\n%s", eventIDs(want))
	}

	elections := slices.DeleteFunc(slices.Clone(want), func(e wire.Event) bool { return e.Name != "leader.changed" })
	newest := elections[len(elections)-1]
	if newest.Data.Previous != leader.Name || newest.Node == leader.Name || newest.Data.GapMillis <= 0 || newest.Data.Term == 0 {
		t.Errorf("the election says %+v", newest)
	}
	for _, name := range []string{"run.queued", "run.started", "run.finished"} {
		n := 0
		for i := range want {
			if want[i].Name == name {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d events %s", n, name)
		}
	}
	t.Logf("%d events; %s", len(want), newest.Text)
}

func eventIDs(list []wire.Event) string {
	var b strings.Builder
	for i := range list {
		fmt.Fprintf(&b, "%d.%d %s\n", list[i].Index, list[i].N, list[i].Text)
	}
	return b.String()
}
