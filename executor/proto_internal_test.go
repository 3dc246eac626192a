package executor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
)

func sampleMessages() []*message {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	return []*message{
		{Kind: kindHello, Magic: protoMagic, Version: 3, DataDir: "/d", PID: 9},
		{Kind: kindStart, Seq: 7, Incarnation: "i", Processes: []Process{{ID: "r/m/1", Dir: "/a", WorkDir: "/a/work", Argv: []string{"x", "", "\xff\xfe"},
			Env: []string{"A=1"}, Timeout: time.Minute, Grace: -1, LogLimit: 5, KillOnLapse: true, Meta: []byte{0, 1}}}},
		{Kind: kindReply, Seq: 1 << 60, More: true, Errors: []wireError{{ID: "", Kind: "conflict", Message: "x", Refusal: true}}},
		{Kind: kindExits, Statuses: []Status{{ID: "r/m/1", State: Exited, ExitCode: -1, StartedAt: at, ExitedAt: at, Signal: "SIGKILL", Meta: []byte("m"),
			CPU: 3, MaxRSS: 4, PipeHeld: true}, {ID: "r/m/2", State: Running}}},
		{Kind: kindForget, IDs: []string{"a", "b"}},
	}
}

func TestFrame_roundTrip(t *testing.T) {
	var buf bytes.Buffer
	for _, m := range sampleMessages() {
		if err := writeFrame(&buf, m); err != nil {
			t.Fatal(err)
		}
	}
	var scratch []byte
	for _, want := range sampleMessages() {
		var got *message
		var err error
		if got, scratch, err = readFrame(&buf, scratch); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if _, _, err := readFrame(&buf, scratch); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}

func TestFrame_bounds(t *testing.T) {
	if err := writeFrame(io.Discard, &message{Reason: string(make([]byte, maxFrame+1))}); !errors.Is(err, errFrame) {
		t.Errorf("too long: %v", err)
	}
	head := binary.BigEndian.AppendUint32(nil, maxFrame+1)
	if _, _, err := readFrame(bytes.NewReader(head), nil); err == nil {
		t.Error("length beyond the bound: no error")
	}
	// A length that promises much and brings little costs little.
	head = append(binary.BigEndian.AppendUint32(nil, maxFrame), 1, 2, 3)
	allocated := testing.AllocsPerRun(1, func() {
		if _, _, err := readFrame(bytes.NewReader(head), nil); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut short: %v", err)
		}
	})
	if allocated > 20 {
		t.Errorf("%v allocations", allocated)
	}
}

func TestWireErrors_keepSentinels(t *testing.T) {
	for _, want := range []error{ErrSeen, ErrNoLease, ErrNotFound, ErrClosed, ErrUnknownStart} {
		got := wireErrors(want)
		if len(got) != 1 || !errors.Is(got[0].err(), want) || pipeline.KindOf(got[0].err()) != pipeline.KindOf(want) {
			t.Errorf("%v became %v", want, got)
		}
	}
	var refused *RefusedError
	refused = refused.refuse("b", ErrSeen).refuse("a", ErrNoLease)
	if got := wireErrors(refused); len(got) != 2 || !got[0].Refusal || !got[1].Refusal {
		t.Errorf("refusals became %v", got)
	}
	if got, want := refused.Error(), "start refused: a: "+ErrNoLease.Message+"; b: "+ErrSeen.Message; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCutStatuses(t *testing.T) {
	list := make([]Status, 30)
	for i := range list {
		list[i].Meta = make([]byte, softFrame/4)
	}
	var parts []int
	total := 0
	err := cutStatuses(list, func(part []Status, more bool) error {
		parts = append(parts, len(part))
		if total += len(part); more != (total < len(list)) {
			t.Errorf("more is %v after %d", more, total)
		}
		return nil
	})
	if err != nil || total != 30 || len(parts) < 5 {
		t.Errorf("parts %v, %v", parts, err)
	}
	calls := 0
	if err := cutStatuses(nil, func(part []Status, more bool) error {
		if calls++; len(part) != 0 || more {
			t.Error("empty list")
		}
		return nil
	}); err != nil || calls != 1 {
		t.Errorf("an empty list is one message, not %d (%v)", calls, err)
	}
}

func FuzzKeeperFrame(f *testing.F) {
	for _, m := range sampleMessages() {
		var buf bytes.Buffer
		if err := writeFrame(&buf, m); err != nil {
			f.Fatal(err)
		}
		f.Add(buf.Bytes())
	}
	f.Add([]byte{0, 0, 0, 1, 0xa0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		var scratch []byte
		for {
			m, buf, err := readFrame(r, scratch)
			if err != nil {
				return
			}
			scratch = buf
			for i := range m.Processes {
				_ = m.Processes[i].validate() // only that it returns
			}
			var out bytes.Buffer
			if err := writeFrame(&out, m); err != nil {
				t.Fatalf("what was read cannot be written: %v", err)
			}
			again, _, err := readFrame(&out, nil)
			if err != nil {
				t.Fatalf("what was written cannot be read: %v", err)
			}
			if again.Kind != m.Kind || again.Seq != m.Seq || len(again.Processes) != len(m.Processes) || len(again.Statuses) != len(m.Statuses) {
				t.Fatalf("%+v became %+v", m, again)
			}
		}
	})
}
