package runlog

import (
	"strings"
	"testing"
)

func TestLastLines(t *testing.T) {
	long := strings.Repeat("x", pieceSize)
	for _, c := range []struct {
		text  string
		lines int
		want  string
	}{
		{"", 1, ""}, {"a", 1, "a"}, {"a\n", 1, "a\n"}, {"a\nb", 1, "b"}, {"a\nb\n", 1, "b\n"}, {"a\nb\nc\n", 2, "b\nc\n"}, {"a\nb\n", 9, "a\nb\n"},
		{"\n\n", 1, "\n"}, {"a\n" + long + "\nb\n", 2, long + "\nb\n"}, {long + "\n" + long, 1, long}, {"a\n" + long + long + long, 2, "a\n" + long + long + long},
	} {
		at, err := lastLines(strings.NewReader(c.text), int64(len(c.text)), c.lines)
		if got := c.text[at:]; err != nil || got != c.want {
			t.Errorf("the last %d lines of %.20q (%d bytes) are %.20q (%d bytes), %v", c.lines, c.text, len(c.text), got, len(got), err)
		}
	}
}

func TestCutter(t *testing.T) {
	text := "aé世😀\xf0\x9f" // ends within a character
	for size := 1; size <= len(text); size++ {
		var c cutter
		var got []string
		for rest := text; rest != ""; rest = rest[min(size, len(rest)):] {
			got = append(got, string(c.add([]byte(rest[:min(size, len(rest))]))))
		}
		for _, piece := range got {
			if strings.ToValidUTF8(piece, "") != piece {
				t.Errorf("pieces of %d bytes: %q is cut within a character", size, piece)
			}
		}
		if all := strings.Join(got, "") + string(c.rest()); all != text {
			t.Errorf("pieces of %d bytes: got %q", size, all)
		}
	}
}
