package api

import (
	"context"
	"strings"
	"testing"
)

// A search whose time is up before the last lines says that it is not complete.
func TestSearchLines_time(t *testing.T) {
	s := &searching{from: 1, limit: 10, find: literal("x")}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx   context.Context
		text  string
		total int64
		want  bool
	}{
		{t.Context(), "x\n\nx", 2, true},
		{ended, "x\n\nx", 0, false},
		{ended, "", 0, true},
		{ended, strings.Repeat("x\n", searchBlock), 0, false},
	} {
		out, err := searchLines(c.ctx, strings.NewReader(c.text), s)
		if err != nil || out.Complete != c.want || out.Total != c.total {
			t.Errorf("%d bytes: complete %t, %d matches, %v", len(c.text), out.Complete, out.Total, err)
		}
	}
}
