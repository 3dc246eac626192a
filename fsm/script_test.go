package fsm_test

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// script is a log with every command in it, taken and refused, and with
// entries between them that are no commands.
func script(tb tester) []*raft.Log {
	tb.Helper()
	worker := fsm.WorkerRecord{ID: "w1", Name: "one", External: true, Capabilities: pipeline.Capabilities{OS: "linux", Tags: []string{"x"}}}
	odd := outcome("b", "m1", 1, failed)
	odd.Outcome.Reason, odd.Outcome.OutputPaths = "no such file: caf\xe9", []string{"\xff\xfe"}
	odd.Next = pipeline.ModuleFailed
	cmds := []*fsm.Command{
		{Worker: &fsm.Worker{Record: worker}},
		submit(tb, "a", 3), submit(tb, "b", 2), submit(tb, "a", 3), withFingerprint(submit(tb, "b", 2), "other"),
		nil, // a change of raft's configuration
		batch(assign("a", "m0", 1), assign("b", "m0", 1), assign("a", "m1", 1, "m0")),
		batch(start("a", "m0", 1), start("b", "m0", 1), start("b", "m0", 1)),
		batch(outcome("a", "m0", 1, ok), assign("a", "m1", 1, "m0"), assign("a", "m2", 1)),
		batch(outcome("b", "m0", 1, lost)), batch(assign("b", "m0", 2)), batch(outcome("b", "m0", 1, ok)),
		{Token: &fsm.Token{Record: fsm.TokenRecord{ID: "t", Role: "read", Hash: []byte("h"), CreatedAt: at}}},
		batch(outcome("b", "m0", 2, ok), assign("b", "m1", 1, "m0")), batch(odd, runEnd("b", pipeline.RunFailed)),
		nil,
		batch(outcome("a", "m1", 1, timedOut)), cancel("a"), batch(assign("a", "m1", 2)),
		{Worker: &fsm.Worker{Only: "drain", Record: fsm.WorkerRecord{ID: "w1", Draining: true, DrainDeadline: at.Add(time.Hour)}}},
		{Worker: &fsm.Worker{Only: "away", Record: fsm.WorkerRecord{ID: "w2", AwayUntil: at}}},
		batch(outcome("a", "m2", 1, cancelled), end("a", "m1", pipeline.ModuleCancelled), runEnd("a", pipeline.RunCancelled)),
		batch(fsm.Copies{ID: attempt("a", "m0", 1), Holders: []pipeline.NodeID{"n1", "n2", "n3"}}),
		forget("a", "nobody"), submit(tb, "a", 1), submit(tb, "c", 0), batch(runEnd("c", pipeline.RunSucceeded)), forget("c"),
		{Forget: &fsm.Forget{KeyLife: 1}},
		{Token: &fsm.Token{Delete: true, Record: fsm.TokenRecord{ID: "t"}}},
		{Worker: &fsm.Worker{Delete: true, Record: fsm.WorkerRecord{ID: "w2"}}},
		withKey(submit(tb, "d", 2), "again"), batch(assign("d", "m0", 1)), batch(outcome("d", "m0", 1, ok), reopen("d", "m0", 0)),
		batch(reopen("d", "m0", 1), assign("d", "m0", 2)),
		register(tb, "s", "skip"), plan("s", tickAt(0)), fire("s", 0, "t0"), fire("s", 0, "again"), fire("s", 1, "t1"), skip("s", 2, 3),
		batch(assign("t0", "m0", 1)), batch(outcome("t0", "m0", 1, ok), runEnd("t0", pipeline.RunSucceeded)), fire("s", 5, "t5"),
		change("s", fsm.SchedulePause), fire("s", 6, "t6"), trigger("s", "t7"), change("s", fsm.ScheduleResume), register(tb, "s", "queue"), trigger("s", "t7"), trigger("s", "t8"),
		backfill("s", "b", 0, 9, 2), fill("s", "b", 0, 0, "b0"), fill("s", "b", 1, 1, "b1"), fill("s", "b", 1, 0, "b1"), fill("s", "b", 2, 0, "b2"), done("b1", pipeline.RunFailed), fill("s", "b", 2, 0, "b2"), change("s", fsm.ScheduleBackfillStop),
		withGroup(submit(tb, "g1", 1), false), withGroup(submit(tb, "g2", 1), false), batch(assign("g2", "m0", 1)), withGroup(submit(tb, "g3", 1), true),
		batch(end("g1", "m0", pipeline.ModuleCancelled), runEnd("g1", pipeline.RunCancelled), end("g2", "m0", pipeline.ModuleCancelled), runEnd("g2", pipeline.RunCancelled)),
		{Retry: &fsm.Retry{Run: "g1", Modules: []string{"m0"}}}, batch(assign("g3", "m0", 1), assign("g1", "m0", 1)), change("s", fsm.ScheduleRemove), change("s", fsm.SchedulePause),
		submit(tb, "g", 3), batch(await("g", "m0"), await("g", "m1", "m0"), await("g", "m0")), decision(decide("g", "m0", pipeline.Approved)),
		batch(await("g", "m1", "m0"), assign("g", "m1", 1)), decision(decide("g", "m0", pipeline.Rejected)), decision(decide("g", "m0", pipeline.Approved)),
		batch(decide("g", "m1", pipeline.Rejected), await("g", "m2"), assign("g", "m2", 1)), batch(decide("g", "m2", pipeline.Skipped), runEnd("g", pipeline.RunFailed)),
		submit(tb, "e", 3), batch(fsm.Expand{Run: "e", Module: "m0", Instances: []pipeline.Instance{{Key: "x"}, {Key: "y"}}}, locked(assign("e", "m0[x]", 1), "k")),
		batch(locked(assign("e", "m1", 1), "k")), {Cancel: &fsm.Cancel{Run: "e", Request: "q1"}}, {Cancel: &fsm.Cancel{Run: "e", Request: "q2"}},
		batch(outcome("e", "m0[x]", 1, cancelled), end("e", "m0[y]", pipeline.ModuleCancelled), end("e", "m1", pipeline.ModuleCancelled),
			end("e", "m2", pipeline.ModuleCancelled), runEnd("e", pipeline.RunCancelled)),
		{Retry: &fsm.Retry{Run: "e", Modules: []string{"m0", "m2"}}},
		submit(tb, "p", 2), spawn(tb, "p", "m0", 1, "p1"), spawn(tb, "p", "m0", 1, "p2"), spawn(tb, "p", "m1", 1, "p3"), batch(end("p", "m0", pipeline.ModuleFailed)),
		batch(end("p1", "m0", pipeline.ModuleFailed), runEnd("p1", pipeline.RunFailed)), cancel("p"), batch(end("p3", "m0", pipeline.ModuleCancelled), runEnd("p3", pipeline.RunCancelled), runEnd("p", pipeline.RunCancelled)),
		puts(toolPut("ac", "", 1, 1), toolPut("cas", "", 2, 2), toolPut("turbo", "team", 3, 3)), puts(toolPut("ac", "", 1, 4), toolPut("odd", "", 5, 5)),
		hook("h1", "1"), hook("h2", "2", "run", "secret.set"), secretSet("S"), hookDo(fsm.HookSet, "h1"), submit(tb, "h", 1), batch(end("h", "m0", pipeline.ModuleFailed), runEnd("h", pipeline.RunFailed)),
		delivered("h2", fsm.HookDelivery{OK: true}), secretSet("S"), delivered("h1", fsm.HookDelivery{Status: 500, At: at, Next: at}), secretSet("S"), delivered("h1", fsm.HookDelivery{Status: 410, Off: "gone", GaveUp: true}), hookDo(fsm.HookRotate, "h2"), hookDo(fsm.HookResend, "h1"), hook("h3", "3"), hookDo(fsm.HookRemove, "h3"),
		slack("chat"), notifying(tb, "nf", "chat start failure recovery"), notifying(tb, "nx", "missing start"), batch(assign("nf", "m0", 1)),
		batch(end("nf", "m0", pipeline.ModuleFailed), outcome("nf", "m0", 1, cancelled), runEnd("nf", pipeline.RunFailed)), delivered("chat", fsm.HookDelivery{Status: 500, At: at, Next: at}),
		notifying(tb, "nr", "chat recovery"), batch(end("nr", "m0", pipeline.ModuleSkipped), runEnd("nr", pipeline.RunSucceeded)), hookDo(fsm.HookResend, "chat"),
		takes(at.Add(time.Hour), toolPut("cas", "", 2, 2), toolPut("cas", "", 9, 9)), deletes(toolPut("turbo", "team", 3, 9), toolPut("ac", "", 1, 4)),
	}

	var logs []*raft.Log
	var revision uint64 // of the only schedule
	for i, c := range cmds {
		switch {
		case c != nil && c.Schedule != nil && c.Schedule.Do == fsm.ScheduleRegister:
			revision = uint64(i + 1)
		case c != nil && c.Fire != nil:
			c.Fire.Revision = revision
		case c != nil && c.Deliver != nil:
			c.Deliver.Results[0].Index = uint64(i) // the entry before
		}
		if c == nil {
			logs = append(logs, &raft.Log{Index: uint64(i + 1), Term: 1, Type: raft.LogConfiguration, Data: []byte{0xc1}})
			continue
		}
		logs = append(logs, entry(tb, uint64(i+1), c))
	}

	return logs
}

// play applies entries one by one.
func play(s *fsm.Store, logs []*raft.Log) {
	for _, l := range logs {
		s.Apply(l)
	}
}
