package wire_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
)

func TestExecFrames(t *testing.T) {
	var b bytes.Buffer
	w := &wire.ExecWriter{W: &b}
	long := strings.Repeat("x", wire.MaxExecFrame+10)
	if n, err := io.WriteString(w.Of(wire.ExecOutput), long); err != nil || n != len(long) {
		t.Fatal(n, err)
	}
	if err := w.Frame(wire.ExecEOF, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.JSON(wire.ExecExit, wire.ExecStatus{ExitCode: 3}); err != nil {
		t.Fatal(err)
	}
	all := bytes.Clone(b.Bytes())
	var got strings.Builder
	buf := make([]byte, 8)
	for _, want := range []wire.ExecFrame{wire.ExecOutput, wire.ExecOutput, wire.ExecEOF, wire.ExecExit} {
		kind, content, err := wire.ReadExecFrame(&b, buf)
		if err != nil || kind != want {
			t.Fatalf("got %q, %v; want %q", kind, err, want)
		}
		got.Write(content)
	}
	if want := long + `{"exitCode":3}`; got.String() != want {
		t.Errorf("got %d bytes, want %d", got.Len(), len(want))
	}
	if _, _, err := wire.ReadExecFrame(&b, buf); err != io.EOF {
		t.Errorf("the end is %v", err)
	}
	if _, _, err := wire.ReadExecFrame(bytes.NewReader(all[:100]), buf); err != io.ErrUnexpectedEOF {
		t.Errorf("a frame that is cut short is %v", err)
	}
	if _, _, err := wire.ReadExecFrame(strings.NewReader("o\xff\xff\xff\xff"), buf); err == nil {
		t.Error("a frame of 4 GiB is read")
	}
}
