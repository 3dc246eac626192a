package external_test

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/storage/blob"
)

// External workers need not mask, so what they report is masked here.
func TestWorkers_Result_masked(t *testing.T) {
	r := newRig(t)
	r.hidden = []string{"swordfish"}
	_, err := r.Result(t.Context(), own, result(func(in *wire.ExecuteResponse) {
		in.Success, in.ErrorMessage = false, "login with swordfish failed"
		in.SerializedResult = serialized(t, wire.SerializedResult{Result: json.RawMessage(`{"password":"swordfish"}`)})
	}))
	if err != nil {
		t.Fatal(err)
	}
	got := r.leader.outcome(t)
	if strings.Contains(got.Reason, "swordfish") || bytes.Contains(got.Result, []byte("swordfish")) {
		t.Errorf("reason %q, result %s", got.Reason, got.Result)
	}
}

// The log is masked, too, and its lines may name more values.
func TestWorkers_Result_maskedLog(t *testing.T) {
	r := newRig(t)
	r.hidden = []string{"swordfish"}
	filler := strings.Repeat("filler\n", 10_000) // longer than one read
	log := r.put("swordfish made-12345\n::add-mask::made-12345\nmade-12345 swordfish\n" + filler + "made-12345\n::add-mask::at the end")
	_, err := r.Result(t.Context(), own, result(func(in *wire.ExecuteResponse) {
		in.Success, in.ErrorMessage = false, "made-12345 failed at the end"
		in.SerializedResult = serialized(t, wire.SerializedResult{Result: json.RawMessage(`{"token":"made-12345"}`), Log: log})
	}))
	if err != nil {
		t.Fatal(err)
	}

	got := r.leader.outcome(t)
	if got.Reason != "*** failed ***" || string(got.Result) != `{"token":"***"}` {
		t.Errorf("reason %q, result %s", got.Reason, got.Result)
	}
	opened, err := r.blobs.Open(got.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	plain, err := blob.OpenLog(opened, got.LogSize)
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, got.LogSize)
	if _, err := plain.ReadAt(text, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	want := "*** made-12345\n*** ***\n" + filler + "***\n"
	if string(text) != want {
		t.Errorf("%d bytes, want %d: %.60q", got.LogSize, len(want), text)
	}
}
