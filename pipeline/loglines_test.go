package pipeline_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
)

func TestLogCounts(t *testing.T) {
	chunk := func(lines int) string {
		return strings.Repeat("\n", lines) + strings.Repeat("x", pipeline.LogChunk-lines)
	}
	for _, tc := range []struct {
		text string
		want []int64
	}{
		{"", nil}, {"a\nb\n", nil}, {chunk(7), nil}, {chunk(7) + "\n", []int64{7}}, {chunk(7) + chunk(0) + chunk(9) + "a\nb", []int64{7, 0, 9}},
		{chunk(pipeline.LogChunk) + "x", []int64{pipeline.LogChunk}},
	} {
		for _, size := range []int{1 << 20, 100_001} {
			var c pipeline.LogCounts
			for piece := range slices.Chunk([]byte(tc.text), size) {
				if n, err := c.Write(piece); n != len(piece) || err != nil {
					t.Fatal(n, err)
				}
			}
			if got := pipeline.ReadLogCounts(c.Bytes()); !slices.Equal(got, tc.want) || int64(len(c.Bytes())) != pipeline.LogCountsSize(int64(len(tc.text))) {
				t.Errorf("%d bytes in pieces of %d: got %d, want %d", len(tc.text), size, got, tc.want)
			}
		}
	}
}
