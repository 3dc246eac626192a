package safetext_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline/safetext"
)

func TestLastLines(t *testing.T) {
	long := strings.Repeat("é", 30<<10)
	for _, row := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"\n \n", nil},
		{"one", []string{"one"}},
		{"one\ntwo\nthree\nfour\n\n", []string{"two", "three", "four"}},
		{"10 %\r20 %\r\n\x1b[31mred\x1b[0m\x07\n\xff", []string{"20 %", "red", "\uFFFD"}},
		{"123456789\n1234567é\n", []string{"12345678…", "1234567…"}},
		{long, []string{strings.Repeat("é", 4) + "…"}},
		{long + "\nend\n", []string{"end"}},
	} {
		got, err := safetext.LastLines(strings.NewReader(row.in), int64(len(row.in)), 3, 8)
		if err != nil || !slices.Equal(got, row.want) {
			t.Errorf("%.30q: got %q, %v; want %q", row.in, got, err, row.want)
		}
	}
	if _, err := safetext.LastLines(strings.NewReader("short"), 10, 3, 8); err == nil {
		t.Error("an output that is shorter than it should be was read")
	}
}
