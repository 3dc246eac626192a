package fsm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// eventLine is an event in short.
func eventLine(e *pipeline.Event) string {
	parts := []string{fmt.Sprintf("%d.%d %s", e.Index, e.N, e.Type.Kind().Name)}
	for _, p := range []struct {
		name  string
		value any
	}{{"", string(e.Run)}, {"", e.Module}, {"#", e.Attempt}, {"on ", e.Node}, {"by ", e.Actor}, {"", e.Subject}, {"", e.State}, {"again=", e.Again},
		{"count ", e.Count}, {"term ", e.Term}, {"after ", e.Previous}, {"gap ", e.Gap}, {"awaited ", e.Awaited}, {"from ", e.From}, {": ", e.Reason}} {
		if text := fmt.Sprint(p.value); text != "" && text != "0" && text != "false" && text != "0s" {
			parts = append(parts, p.name+text)
		}
	}
	return strings.Join(parts, " ")
}

// eventsOf lists the events after an index.
func eventsOf(tb tester, s *fsm.Store, since uint64) (list []pipeline.Event, deleted uint64) {
	tb.Helper()
	view(tb, s, func(v *fsm.View) {
		v.Events(since, func(some []pipeline.Event) bool { list = append(list, some...); return true })
		deleted = v.EventsDeleted()
	})
	return list, deleted
}

func wantEvents(tb testing.TB, s *fsm.Store, since uint64, want ...string) {
	tb.Helper()
	var got []string
	list, _ := eventsOf(tb, s, since)
	for i := range list {
		got = append(got, eventLine(&list[i]))
		if !list[i].At.Equal(at) {
			tb.Errorf("%s at %v", got[i], list[i].At)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Errorf("events (-want +got):\n%s", diff)
	}
}

// The entries that change a run make events of it, but none of what a run does by the
// thousand.
func TestEvents_run(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 3),
		batch(assign("r", "m0", 1), assign("r", "m1", 1)),
		batch(start("r", "m0", 1)),
		batch(outcome("r", "m0", 1, lost), outcome("r", "m1", 1, ok)),
		batch(assign("r", "m0", 2)))
	if why := refused(r.do(batch(outcome("r", "m0", 1, ok)))); !strings.HasPrefix(why, "superseded") {
		t.Errorf("a late outcome: %q", why)
	}
	failure := outcome("r", "m0", 2, failed)
	failure.Next = pipeline.ModuleFailed
	r.must(batch(failure, end("r", "m2", pipeline.ModuleSkipped), runEnd("r", pipeline.RunFailed)))
	retry := &fsm.Command{By: "ann", Retry: &fsm.Retry{Run: "r", Modules: []string{"m0", "m2"}}}
	r.must(retry,
		batch(assign("r", "m0", 3)), batch(outcome("r", "m0", 3, ok)),
		batch(reopen("r", "m1", 1)), batch(end("r", "m1", pipeline.ModuleFailed)),
		batch(await("r", "m2")), decision(decide("r", "m2", pipeline.Rejected)),
		batch(runEnd("r", pipeline.RunFailed)))
	if why := refused(r.do(batch(runEnd("r", pipeline.RunFailed)))); why == "" {
		t.Error("a run ended twice")
	}

	wantEvents(t, r.Store, 0,
		"1.0 run.queued r by ann",
		"2.0 run.started r",
		"4.0 attempt.finished r m0 #1 on one lost again=true",
		"5.0 attempt.started r m0 #2 on one : attempt 1 lost",
		"7.0 attempt.finished r m0 #2 on one failed",
		"7.1 run.finished r failed count 1",
		"8.0 run.retried r by ann count 2",
		"9.0 attempt.started r m0 #3 on one : attempt 2 failed",
		"11.0 module.reopened r m1 : what it left is gone",
		"12.0 attempt.finished r m1 failed : because",
		"13.0 approval.asked r m2 : go?",
		"14.0 approval.decided r m2 by ann rejected",
		"15.0 run.finished r failed count 2",
	)
	wantEvents(t, r.Store, 14, "15.0 run.finished r failed count 2")
	view(t, r.Store, func(v *fsm.View) {
		var newest []uint64
		v.NewestEvents(func(list []pipeline.Event) bool { newest = append(newest, list[0].Index); return len(newest) < 2 })
		if !slices.Equal(newest, []uint64{15, 14}) {
			t.Errorf("newest events at %v", newest)
		}
	})
}

func TestEvents_cancel(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 1))
	stop := func(request string) *fsm.Command {
		return &fsm.Command{By: "bob", Cancel: &fsm.Cancel{Run: "r", Reason: "enough", Request: request}}
	}
	r.must(stop("q1"), stop("q1"), stop("q2"), stop("q3"), batch(end("r", "m0", pipeline.ModuleCancelled), runEnd("r", pipeline.RunCancelled)), stop("q4"))
	wantEvents(t, r.Store, 1,
		"2.0 run.cancelling r by bob : enough",
		"4.0 run.cancelling r by bob forced : enough",
		"6.0 run.finished r cancelled count 1 : enough")
}

// An approval that is asked starts its run, and a run that replaces another cancels it.
func TestEvents_group(t *testing.T) {
	r := newRig(t)
	grouped := func(id string) *fsm.Command {
		c := submit(t, id, 1)
		c.Submit.Run.Group, c.Submit.Run.Cancels = "g", true
		return c
	}
	r.must(grouped("a"), batch(await("a", "m0")), grouped("b"))
	list, _ := eventsOf(t, r.Store, 1)
	var got []string
	for i := range list {
		got = append(got, strings.SplitN(eventLine(&list[i]), " : run b", 2)[0])
	}
	if diff := cmp.Diff([]string{"2.0 run.started a", "2.1 approval.asked a m0 : go?", "3.0 run.cancelling a", "3.1 run.queued b by ann"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// Events of what people change name them, and repeating a change makes none.
func TestEvents_registry(t *testing.T) {
	r := newRig(t)
	worker := func(rec fsm.WorkerRecord, only string, gone bool) *fsm.Command {
		return &fsm.Command{By: "ann", Worker: &fsm.Worker{Record: rec, Only: only, Delete: gone}}
	}
	drain := func(on bool) *fsm.Command {
		return worker(fsm.WorkerRecord{ID: "n1", Name: "alpha", Draining: on}, "drain", false)
	}
	outside := worker(fsm.WorkerRecord{ID: "ext-x", Name: "x", External: true, Token: "t1"}, "", false)
	token := func(rec fsm.TokenRecord, gone bool) *fsm.Command {
		return &fsm.Command{By: "ann", Token: &fsm.Token{Record: rec, Delete: gone}}
	}
	ci := fsm.TokenRecord{ID: "t1", Name: "ci", Role: "worker", Hash: []byte{1}}
	secret := func(gone bool) *fsm.Command {
		return &fsm.Command{By: "ann", Secret: &fsm.Secret{Record: fsm.SecretRecord{Name: "S", Sealed: []byte{1}, SetAt: at}, Delete: gone}}
	}
	r.must(drain(true), drain(true), worker(fsm.WorkerRecord{ID: "n1", AwayUntil: at}, "away", false), drain(false),
		token(ci, false), token(ci, false),
		token(fsm.TokenRecord{ID: "s1", Role: "read", Hash: []byte{2}, SignIn: true, ExpiresAt: at.Add(time.Hour)}, false),
		outside, outside, token(fsm.TokenRecord{ID: "t1"}, true), secret(false), secret(true), token(fsm.TokenRecord{ID: "s1"}, true))
	wantEvents(t, r.Store, 0,
		"1.0 node.draining on alpha by ann",
		"4.0 node.undrained on alpha by ann",
		"5.0 token.created by ann ci worker",
		"8.0 worker.registered on x by ann",
		"10.0 token.revoked by ann ci worker",
		"10.1 worker.removed on x : its token was revoked",
		"11.0 secret.set by ann S",
		"12.0 secret.removed by ann S")
}

func TestEvents_leader(t *testing.T) {
	r := newRig(t)
	lead := func(term uint64, id pipeline.NodeID, name string, gap time.Duration) *fsm.Command {
		return &fsm.Command{Lead: &fsm.Lead{Term: term, Node: id, Name: name, Gap: gap, Adopted: int(term), Awaited: int(term) - 2}}
	}
	r.must(lead(2, "n1", "alpha", 0), lead(3, "n2", "beta", 38*time.Millisecond), lead(3, "n2", "beta", time.Second), lead(4, "n1", "alpha", -time.Second))
	wantEvents(t, r.Store, 0,
		"1.0 leader.changed on alpha count 2 term 2",
		"2.0 leader.changed on beta count 3 term 3 after alpha gap 38ms awaited 1",
		"4.0 leader.changed on alpha count 4 term 4 after beta awaited 2")
	view(t, r.Store, func(v *fsm.View) {
		if last := v.LastLead(); last.Node != "n1" || last.Term != 4 {
			t.Errorf("the last leader is %s of term %d, want n1 of 4", last.Node, last.Term)
		}
	})
}

func TestEvents_nodes(t *testing.T) {
	r := newRig(t)
	seen := func(statuses ...string) *fsm.Command {
		op := new(fsm.Nodes)
		for i, status := range statuses {
			if status != "" {
				op.Nodes = append(op.Nodes, fsm.NodeStatus{ID: pipeline.NodeID(fmt.Sprint("n", i)), Name: fmt.Sprint("node", i), Status: status})
			}
		}
		return &fsm.Command{Nodes: op}
	}
	const alive, failed, left = pipeline.MemberAlive, pipeline.MemberFailed, pipeline.MemberLeft
	r.must(seen("", alive, failed), // one that never was alive is not known
		seen(alive, alive), seen(alive, alive), seen(alive, failed), seen("", failed), seen("", alive), seen(left, alive), seen(left), seen(alive))
	wantEvents(t, r.Store, 0,
		"1.0 node.joined on node1",
		"2.0 node.joined on node0",
		"4.0 node.lost on node1",
		"6.0 node.returned on node1",
		"7.0 node.left on node0",
		"9.0 node.joined on node0")
	view(t, r.Store, func(v *fsm.View) {
		if got := v.Nodes(); len(got) != 2 || got[0].ID != "n0" || got[1].Status != alive {
			t.Errorf("known: %+v", got)
		}
	})
	for _, bad := range []fsm.NodeStatus{{Name: "x", Status: alive}, {ID: "x", Status: alive}, {ID: "x", Name: "x", Status: "odd"}} {
		if got, ok := r.do(&fsm.Command{Nodes: &fsm.Nodes{Nodes: []fsm.NodeStatus{bad}}}).(fsm.Result); !ok || pipeline.KindOf(got.Err) != pipeline.Invalid {
			t.Errorf("%+v: got %+v", bad, got)
		}
	}
}

// If as many nodes are known as may be, a new one takes the place of one that failed: one
// that does not come back is never reported again.
func TestEvents_nodes_many(t *testing.T) {
	r := newRig(t)
	node := func(i int, status string) fsm.NodeStatus {
		return fsm.NodeStatus{ID: pipeline.NodeID(fmt.Sprintf("n%05d", i)), Name: fmt.Sprint("node", i), Status: status}
	}
	all := new(fsm.Nodes)
	for i := range fsm.MaxNodes {
		all.Nodes = append(all.Nodes, node(i, pipeline.MemberAlive))
	}
	const alive, failed = pipeline.MemberAlive, pipeline.MemberFailed
	r.must(&fsm.Command{Nodes: all}, &fsm.Command{Nodes: &fsm.Nodes{Nodes: []fsm.NodeStatus{
		node(7, failed), node(9, failed), node(2000, alive), node(2001, alive), node(2002, alive)}}})
	wantEvents(t, r.Store, 1, "2.0 node.lost on node7", "2.1 node.lost on node9", "2.2 node.joined on node2000", "2.3 node.joined on node2001")
	view(t, r.Store, func(v *fsm.View) {
		got := v.Nodes()
		if len(got) != fsm.MaxNodes || got[7].ID != "n00008" || got[8].ID != "n00010" || got[fsm.MaxNodes-1].ID != "n02001" {
			t.Errorf("%d are known: %+v … %+v", len(got), got[:9], got[len(got)-1])
		}
	})
}

// A node reports damage once it is known. A repeated report makes no events, also if the
// node was lost in between.
func TestEvents_damage(t *testing.T) {
	r := newRig(t)
	report := func(n uint64, found, repaired []fsm.Damaged) *fsm.Command {
		return &fsm.Command{Damage: &fsm.Damage{Node: "n1", Report: n, Found: found, Repaired: repaired}}
	}
	one := []fsm.Damaged{{Subject: "0123", Count: 1}}
	refused := func(want pipeline.Kind, c *fsm.Command) {
		t.Helper()
		if got, ok := r.do(c).(fsm.Result); !ok || pipeline.KindOf(got.Err) != want {
			t.Errorf("got %+v, want %v", got, want)
		}
	}
	nodes := func(status string) *fsm.Command {
		return &fsm.Command{Nodes: &fsm.Nodes{Nodes: []fsm.NodeStatus{{ID: "n1", Name: "one", Status: status}, {ID: "n2", Name: "two", Status: pipeline.MemberAlive}}}}
	}
	refused(pipeline.NotFound, report(1, one, nil))
	refused(pipeline.Invalid, report(1, nil, nil))
	refused(pipeline.Invalid, report(1, []fsm.Damaged{{Subject: "x"}}, nil))
	refused(pipeline.Invalid, report(1, one, []fsm.Damaged{{Subject: "x", Count: 1, From: make([]pipeline.NodeID, 9)}}))
	refused(pipeline.Invalid, report(1, make([]fsm.Damaged, 17), nil))
	r.must(nodes(pipeline.MemberAlive), report(1, one, nil), nodes(pipeline.MemberFailed), nodes(pipeline.MemberAlive), report(1, one, nil),
		report(2, []fsm.Damaged{{Subject: "journal", Count: 1, Reason: "why"}}, []fsm.Damaged{{Subject: "blobs", Count: 3, From: []pipeline.NodeID{"n2", "n9"}}}))
	wantEvents(t, r.Store, 6,
		"7.0 data.damaged on one 0123 count 1",
		"8.0 node.lost on one",
		"9.0 node.returned on one",
		"11.0 data.damaged on one journal count 1 : why",
		"11.1 data.repaired on one blobs count 3 from two, n9")
}

func TestEvents_hooks(t *testing.T) {
	r := newRig(t)
	add := hook("a", "1")
	add.By = "ann"
	remove := hookDo(fsm.HookRemove, "a")
	remove.By = "bob"
	r.must(add, add, secretSet("S"), delivered("a", fsm.HookDelivery{Index: 3, At: at, Off: "answered 410"}), remove)
	wantEvents(t, r.Store, 0,
		"1.0 webhook.added by ann a",
		"3.0 secret.set S",
		"4.0 webhook.off a : answered 410",
		"5.0 webhook.removed by bob a")
	if got, _ := outboxOf(t, r.Store, "a", at); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestEvents_schedule(t *testing.T) {
	r := newRig(t)
	change := func(do fsm.ScheduleDo) *fsm.Command {
		c := &fsm.Command{By: "ann", Schedule: &fsm.ScheduleChange{Name: "p", Do: do, Definition: definition(t, 1)}}
		c.Schedule.Record.Modules, c.Schedule.Record.Registration = 1, "k"
		return c
	}
	r.must(change(fsm.ScheduleRegister), change(fsm.ScheduleRegister), change(fsm.SchedulePause), change(fsm.SchedulePause), change(fsm.ScheduleResume), change(fsm.ScheduleResume))
	var rec fsm.ScheduleRecord
	view(t, r.Store, func(v *fsm.View) { rec, _ = v.Schedule("p") })
	id := strings.Repeat("0", 32)
	r.must(&fsm.Command{Fire: &fsm.Fire{Schedule: "p", Revision: rec.Revision, Tick: at, Next: at.Add(time.Hour), Skip: "no leader", Count: 3}},
		&fsm.Command{Fire: &fsm.Fire{Schedule: "p", Revision: rec.Revision, Due: at.Add(time.Hour), Tick: at.Add(time.Hour), Next: at.Add(2 * time.Hour), Run: pipeline.RunID(id)}},
		change(fsm.ScheduleRemove))
	wantEvents(t, r.Store, 0,
		"1.0 schedule.registered by ann p",
		"3.0 schedule.paused by ann p",
		"5.0 schedule.resumed by ann p",
		"7.0 schedule.skipped p count 3 : no leader",
		"8.0 run.queued "+id+" p : due at 2026-03-04T06:06:07Z",
		"9.0 schedule.removed by ann p")
}

// The oldest events are deleted near a bound, wherever the log is cut into batches, and
// readers can see up to which.
func TestEvents_bounds(t *testing.T) {
	for _, tc := range []struct {
		what          string
		number, bytes int
	}{{"number", 32, 1 << 20}, {"bytes", 1 << 20, 4 << 10}} {
		t.Run(tc.what, func(t *testing.T) {
			defer fsm.SetEventLimits(tc.number, tc.bytes)()
			one, all := newStore(t), newStore(t)
			var logs []*raft.Log
			for i := range 100 {
				logs = append(logs, entry(t, uint64(i+1), submit(t, fmt.Sprintf("r%d", i), 1)))
			}
			for _, l := range logs {
				one.Apply(l)
			}
			applyAll(all, logs[:57])
			applyAll(all, logs[57:])
			wantEqual(t, "one by one against batches", walk(t, one), walk(t, all))

			list, deleted := eventsOf(t, one, 0)
			if len(list) == 0 || len(list) > 90 || deleted == 0 || list[0].Index != deleted+1 || list[len(list)-1].Index != 100 {
				t.Fatalf("%d events, deleted through %d", len(list), deleted)
			}
			if tc.what == "number" && (len(list) > tc.number+10 || len(list) < tc.number/2) {
				t.Errorf("%d events", len(list))
			}
		})
	}
}

// One run cannot fill the list, and a text has a bound.
func TestEvents_ofOneRun(t *testing.T) {
	const modules = 300
	r := newRig(t)
	r.must(submit(t, "r", modules))
	var assigns, ends []any
	for i := range modules {
		name := fmt.Sprintf("m%d", i)
		o := outcome("r", name, 1, failed)
		o.Next, o.Outcome.Reason = pipeline.ModuleFailed, strings.Repeat("é", 600)
		assigns, ends = append(assigns, assign("r", name, 1)), append(ends, o)
	}
	half := len(ends) / 2
	r.must(batch(assigns...), batch(ends[:half]...), batch(ends[half:]...), batch(runEnd("r", pipeline.RunFailed)))
	list, _ := eventsOf(t, r.Store, 0)
	n := 0
	for i := range list {
		if e := &list[i]; e.Type == pipeline.EventAttemptFinished {
			n++
			if e.Reason != strings.Repeat("é", pipeline.MaxEventText/2) {
				t.Fatalf("a reason of %d bytes", len(e.Reason))
			}
		}
	}
	if last := list[len(list)-1]; n != 200 || last.Type != pipeline.EventRunFinished || last.Count != modules {
		t.Errorf("%d events of modules, then %s", n, eventLine(&last))
	}
}
