package fsm_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

func code(n int) *int { return &n }

// everyCommand has each field of each command set.
func everyCommand() map[string]*fsm.Command {
	later := at.Add(time.Hour)
	return map[string]*fsm.Command{
		"submit": {At: at, Submit: &fsm.Submit{Definition: []byte{0, 1, 2}, Fingerprint: "f", Run: pipeline.Run{
			ID: "r1", Pipeline: "p", Submitter: "ann", Workspace: pipeline.EmptyDigest, Holders: []pipeline.NodeID{"n1"},
			Modules: 3, Key: "k", PinWorker: "n1"}}},
		"batch": {At: at, Batch: &fsm.Batch{
			Starts: []fsm.Start{{ID: attempt("r1", "a", 1), At: later}},
			Outcomes: []fsm.Outcome{{Next: pipeline.ModuleWaiting, Reason: "again", NotBefore: later, Outcome: pipeline.Outcome{
				ID: attempt("r1", "a", 1), Fence: 1 << 63, Worker: "w", State: pipeline.AttemptFailed, Reason: "exit", ExitCode: code(-1),
				StartedAt: at, FinishedAt: later, Result: []byte(`{"a":[1,2]}`), Log: pipeline.EmptyDigest, LogSize: 1 << 40,
				Outputs: pipeline.EmptyDigest, OutputPaths: []string{"x", "caf\xe9"}, OutputCount: 2, OutputBytes: 9, Holders: []pipeline.NodeID{"n"}}}},
			Ends: []fsm.End{{Run: "r1", Module: "b", State: pipeline.ModuleSkipped, Reason: "a failed"}},
			Assigns: []fsm.Assign{{ID: attempt("r1", "c", 2), Worker: "w", WorkerName: "one", Incarnation: "i", Needs: []string{"a"},
				Evaluated: &pipeline.Evaluated{Command: []string{"sh"}, Script: "x", Env: map[string]string{"A": "1", "B": ""}}}},
			Runs:    []fsm.RunEnd{{Run: "r0", State: pipeline.RunFailed, Reason: "why"}},
			Copies:  []fsm.Copies{{ID: attempt("r1", "a", 1), Holders: []pipeline.NodeID{"n", "m"}}},
			Reopens: []fsm.Reopen{{Run: "r1", Module: "a", Reason: "lost", Attempt: 3}},
			Awaits:  []fsm.Await{{Run: "r1", Module: "g", Message: "go?", Deadline: later, Needs: []string{"a"}, Always: true}},
			Decides: []fsm.Decide{{Run: "r1", Module: "g", Decision: pipeline.Skipped, Reason: "too late", Ignored: true}}}},
		"decide": {At: at, Decide: &fsm.Decide{Run: "r1", Module: "g", Decision: pipeline.Approved, By: "ann", Comment: "fine", Reason: "approved by ann"}},
		"cancel": {At: at, Cancel: &fsm.Cancel{Run: "r1", Reason: "stop", Parent: true}},
		"spawn": {At: at, Spawn: &fsm.Spawn{Run: "r1", Module: "a", Number: 2, Definition: []byte{1}, Ignored: true, Always: true,
			Child: pipeline.Run{ID: "c", Pipeline: "p", Modules: 3, Group: "g", Cancels: true}, Retry: pipeline.Retry{Attempts: 2, Backoff: time.Second}}},
		"worker": {At: at, Worker: &fsm.Worker{Only: "drain", Record: fsm.WorkerRecord{ID: "w", Name: "one", Draining: true, DrainDeadline: later,
			AwayUntil: later, External: true, Endpoint: "http://x", Secret: "s", Token: "t", Since: at, Incarnation: "i",
			Capabilities: pipeline.Capabilities{OS: "linux", Arch: "amd64", InstalledTools: []string{"go"}, MaxParallelModules: 2, Tags: []string{"x"}}}}},
		"worker, removed": {At: at, Worker: &fsm.Worker{Delete: true, Record: fsm.WorkerRecord{ID: "w"}}},
		"token": {At: at, Token: &fsm.Token{Record: fsm.TokenRecord{ID: "t", Name: "ci", Role: "submit", Hash: []byte{1, 2}, CreatedAt: at,
			ExpiresAt: later, CreatedBy: "ann"}}},
		"secret":          {At: at, Secret: &fsm.Secret{Record: fsm.SecretRecord{Name: "KEY", Sealed: []byte{1, 2}, SetAt: at, SetBy: "ann", Unmasked: true}}},
		"secret, removed": {At: at, Secret: &fsm.Secret{Delete: true, Record: fsm.SecretRecord{Name: "KEY"}}},
		"tools": {At: at, Tools: &fsm.Tools{Puts: []fsm.ToolPut{{Key: toolKey("turbo", "a", "k"), Digest: key(1), Size: 1 << 40, Tag: "t", Took: time.Second}},
			Takes: []pipeline.ToolKey{toolKey("turbo", "", "l")}, Deletes: []fsm.ToolDelete{{Key: toolKey("ac", "b", "m"), Digest: key(2)}}}},
		"forget": {At: at, Forget: &fsm.Forget{Runs: []pipeline.RunID{"r1", "r2"}, KeyLife: 7}},
	}
}

func TestEncode_roundTrip(t *testing.T) {
	for name, want := range everyCommand() {
		t.Run(name, func(t *testing.T) {
			b, err := fsm.Encode(want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := fsm.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			// Not EquateEmpty: what is empty must stay what it is.
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("command (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEncode_times(t *testing.T) {
	zone := time.FixedZone("east", 5*3600)
	for _, tc := range []struct {
		name     string
		in, want time.Time
	}{
		{"zero", time.Time{}, time.Time{}},
		{"nanoseconds", at, at},
		{"whole second", at.Truncate(time.Second), at.Truncate(time.Second)},
		{"another zone", at.In(zone), at},
		{"before 1970", time.Unix(-1, 5).UTC(), time.Unix(-1, 5).UTC()},
		{"the last second", time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)},
		{"beyond the last year", time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("west", -3600)), time.Time{}},
		{"year 300,000", time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}},
		{"before the year 0", time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, err := fsm.Encode(&fsm.Command{At: tc.in, Fire: &fsm.Fire{Tick: tc.in}})
			if err != nil {
				t.Fatal(err)
			}

			c, err := fsm.Decode(b)
			if err != nil {
				t.Fatal(err)
			}

			for _, got := range []time.Time{c.At, c.Fire.Tick} {
				if !got.Equal(tc.want) || got.Location() != time.UTC || got.IsZero() != tc.want.IsZero() {
					t.Errorf("got %v, want %v", got, tc.want)
				}
			}
		})
	}
}

// TestEncode_everyTime: Encode drops the times that cannot be written in every
// field of a command.
func TestEncode_everyTime(t *testing.T) {
	far := time.Date(12_345, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range everyCommand() {
		n := eachTime(reflect.ValueOf(c), func(v *time.Time) { *v = far })
		if n < 1 {
			t.Errorf("%s has no times", name)
		}
		if _, err := fsm.Encode(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		eachTime(reflect.ValueOf(c), func(v *time.Time) {
			if !v.IsZero() {
				t.Errorf("%s: a time is still %v", name, v)
			}
		})
	}
}

// eachTime calls fn with every time below v, and counts them.
func eachTime(v reflect.Value, fn func(*time.Time)) (n int) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			n = eachTime(v.Elem(), fn)
		}
	case reflect.Slice:
		for i := range v.Len() {
			n += eachTime(v.Index(i), fn)
		}
	case reflect.Struct:
		if t, ok := v.Addr().Interface().(*time.Time); ok {
			fn(t)
			return 1
		}
		for i := range v.NumField() {
			n += eachTime(v.Field(i), fn)
		}
	}

	return n
}

func TestEncode_deterministic(t *testing.T) {
	env := map[string]string{}
	for i := range 200 {
		env[fmt.Sprintf("K%d", i)] = "v"
	}

	var first []byte
	for range 20 {
		c := batch(fsm.Assign{ID: attempt("r", "m", 1), Evaluated: &pipeline.Evaluated{Env: env}})
		c.At = at
		b, err := fsm.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			t.Fatal("the same command gives different bytes")
		}
	}
}

func TestEncode_refuses(t *testing.T) {
	huge := submit(t, "r", 1)
	huge.Submit.Definition = make([]byte, fsm.MaxCommandBytes)

	for _, tc := range []struct {
		name string
		c    *fsm.Command
		kind pipeline.Kind
	}{
		{"nothing", &fsm.Command{}, pipeline.Invalid},
		{"two things", &fsm.Command{Cancel: &fsm.Cancel{}, Forget: &fsm.Forget{}}, pipeline.Invalid},
		{"too much", huge, pipeline.TooLarge},
	} {
		if _, err := fsm.Encode(tc.c); pipeline.KindOf(err) != tc.kind || err == nil {
			t.Errorf("%s: %v, want kind %s", tc.name, err, tc.kind)
		}
	}
}

func TestDecode_refuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   any
		want string
	}{
		{"version 0", map[int]any{6: map[int]any{}}, "command version 0"},
		{"a later version", map[int]any{1: fsm.Version + 1, 99: "new"}, "upgrade this node"},
		{"a list", []int{1}, "decode command"},
		{"a wrong type", map[int]any{1: 1, 4: "x"}, "decode command"},
	} {
		b, err := cbor.Marshal(tc.in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fsm.Decode(b); err == nil || !strings.Contains(fmt.Sprint(err), tc.want) {
			t.Errorf("%s: %v, want it to say %q", tc.name, err, tc.want)
		}
	}

	for _, raw := range [][]byte{nil, {0xff}, {0xbf}, bytes.Repeat([]byte{0x81}, 1000), {0xa1, 0x01}} {
		if _, err := fsm.Decode(raw); err == nil {
			t.Errorf("%x was decoded", raw)
		}
	}

	// A field that this version does not know is passed over.
	b, _ := cbor.Marshal(map[int]any{1: 1, 5: map[int]any{1: "r", 77: "new"}, 78: 1})
	c, err := fsm.Decode(b)
	if err != nil {
		t.Fatal(err)
	}

	if diff := cmp.Diff(&fsm.Command{Version: 1, Cancel: &fsm.Cancel{Run: "r"}}, c, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
}
