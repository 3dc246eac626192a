package pipeline_test

import (
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
)

func TestNewTraceContext(t *testing.T) {
	good := "00-" + traceID + "-" + spanID + "-01"
	for _, tc := range []struct{ parent, want string }{
		{good, good},
		{"cc-" + traceID + "-" + spanID + "-01-more", good}, // a later version
		{"", ""},
		{good + "-more", ""},
		{"ff-" + traceID + "-" + spanID + "-01", ""},
		{"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01", ""},
		{"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01", ""},
		{strings.ToUpper(good), ""},
		{good + "\n", ""},
	} {
		if got := pipeline.NewTraceContext(tc.parent, "a=1", ""); got.Parent != tc.want || (got.State != "") != (tc.want != "") {
			t.Errorf("%q: %+v", tc.parent, got)
		}
	}

	got := pipeline.NewTraceContext(good, strings.Repeat("a", 513), "k=v\r\nX: y")
	if want := (pipeline.TraceContext{Parent: good}); got != want {
		t.Errorf("got %+v, want what is too long or not printable left out", got)
	}
}

func TestTraceContext_Attempt(t *testing.T) {
	id := pipeline.AttemptID{Run: "01a2240af46278408e4c0c03e8986f4a", Module: "m", Attempt: 1}
	own := pipeline.TraceContext{}.Attempt(id)
	if !strings.HasPrefix(own.Parent, "00-"+string(id.Run)+"-") || !strings.HasSuffix(own.Parent, "-01") {
		t.Errorf("a run without a parent: %+v", own)
	}

	child := pipeline.NewTraceContext("00-"+traceID+"-"+spanID+"-00", "a=1", "k=v").Attempt(id)
	want := pipeline.TraceContext{Parent: "00-" + traceID + "-" + own.Parent[36:52] + "-00", State: "a=1", Baggage: "k=v"}
	if child != want {
		t.Errorf("got %+v, want %+v", child, want)
	}

	other := id
	other.Run = "01a2240af46278408e4c0c03e8986f4b"
	if a, b := (pipeline.TraceContext{}).Attempt(id).Parent[36:52], (pipeline.TraceContext{}).Attempt(other).Parent[36:52]; a == b {
		t.Error("two runs have the same span")
	}
}

// Work without a parent costs next to nothing.
func BenchmarkTraceContext_Of(b *testing.B) {
	for b.Loop() {
		pipeline.TraceContext{}.Of("01a2240af46278408e4c0c03e8986f4a")
	}
}
