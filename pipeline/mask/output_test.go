package mask

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// take gives the pieces of an output that is cut at these places to an Output.
func take(o *Output, text []byte, cuts []int) string {
	var out []byte
	write := func(b []byte) { out = append(out, b...) }
	at := 0
	for _, cut := range append(slices.Clone(cuts), len(text)) {
		if cut >= at && cut <= len(text) {
			o.Take(text[at:cut], write)
			at = cut
		}
	}
	o.Close(write)
	return string(out)
}

// plainly does what Output does, with the whole text at hand, line by line.
func plainly(values []string, text string) (string, []string) {
	var out, plain strings.Builder
	var added []string
	flush := func() {
		out.WriteString(New(slices.Concat(values, added)).String(plain.String()))
		plain.Reset()
	}
	total := 0
	for line := range strings.Lines(text) {
		value, ok := strings.CutPrefix(line, "::add-mask::")
		if !ok {
			plain.WriteString(line)
			continue
		}
		value = strings.TrimSuffix(strings.TrimSuffix(value, "\n"), "\r")
		forms := 1
		if unescape.Replace(value) != value {
			forms = 2
		}
		switch {
		case slices.Contains(added, value):
			continue
		case total+len(value) > MaxAddedBytes:
			flush()
			fmt.Fprintf(&out, "[pipelined: ::add-mask:: masks nothing: the values of a module have 64 KiB at most]\n")
			continue
		case len(added)+forms > MaxAdded:
			flush()
			fmt.Fprintf(&out, "[pipelined: ::add-mask:: masks nothing: a module adds 100 values at most]\n")
			continue
		case len(strings.TrimSpace(value)) < MinLength:
			flush()
			fmt.Fprintf(&out, "[pipelined: ::add-mask:: masks nothing: a value has 6 bytes at least]\n")
			continue
		}
		flush()
		for _, v := range []string{value, unescape.Replace(value)} {
			if !slices.Contains(added, v) {
				added, total = append(added, v), total+len(v)
			}
		}
	}
	flush()
	return out.String(), added
}

func checkOutput(t *testing.T, values []string, text []byte, cuts []int) {
	t.Helper()
	want, added := plainly(values, string(text))
	o := NewOutput(slices.Clone(values))
	if got := take(o, text, cuts); got != want {
		t.Fatalf("values %q, output %.300q cut at %v:\n got %.300q\nwant %.300q", values, text, cuts, got, want)
	}
	if !slices.Equal(o.Added(), added) {
		t.Fatalf("output %.300q: added %q, want %q", text, o.Added(), added)
	}
	for _, v := range added {
		if !TooShort(v) && strings.TrimSpace(v) != "" && o.Set().String(v) == v {
			t.Fatalf("%q is not masked afterwards", v)
		}
	}
}

func TestOutput(t *testing.T) {
	for text, want := range map[string]string{
		"token-1\n::add-mask::token-1\ntoken-1 xtoken-1x\n":         "token-1\n*** x***x\n",
		"::add-mask::token-1\r\ntoken-1\r\n":                        "***\r\n",
		"a ::add-mask::token-1\ntoken-1":                            "a ::add-mask::token-1\ntoken-1",
		" ::add-mask::token-1\ntoken-1":                             " ::add-mask::token-1\ntoken-1",
		"::add-mask:\n:\n::\n::group::x\n":                          "::add-mask:\n:\n::\n::group::x\n",
		"token-1::add-mask::token-1":                                "token-1::add-mask::token-1",
		"::add-mask::one line%0Aanother%25\none line another% x%25": "*** *** x%25",
		"::add-mask::token-1\n::add-mask::token-2\ntoken-2token-1":  "***",
		"::add-mask::abc\nabc":                                      "[pipelined: ::add-mask:: masks nothing: a value has 6 bytes at least]\nabc",
		"::add-mask::first secret":                                  "",
		"known secret\n::add-mask::known secret\n":                  "***\n",
		"dG9rZW4tMQ\n::add-mask::token-1\ndG9rZW4tMQ token%2D1":     "dG9rZW4tMQ\n*** token%2D1",
	} {
		for cut := range len(text) + 1 {
			if got := take(NewOutput([]string{"known secret"}), []byte(text), []int{cut}); got != want {
				t.Errorf("%q cut at %d: got %q, want %q", text, cut, got, want)
			}
		}
	}

	// The next process begins with a line, and what the one before it said holds.
	o := NewOutput(nil)
	for output, want := range map[string]string{"no end": "no end", "::add-mask::token-1": "", "::add": "::add"} {
		if got := take(o, []byte(output), nil); got != want {
			t.Errorf("%q: got %q", output, got)
		}
	}
	if got := take(o, []byte("token-1"), nil); got != Mark {
		t.Errorf("got %q", got)
	}
}

func TestOutput_bounds(t *testing.T) {
	var many strings.Builder
	for i := range MaxAdded + 10 {
		fmt.Fprintf(&many, "::add-mask::value-%05d\nvalue-%05d\n", i, i)
	}
	long := "::add-mask::" + strings.Repeat("0123456789", 7000) + "\n0123456789\n::add-mask::token-1\ntoken-1\n"
	sum := "::add-mask::" + strings.Repeat("abcdefg", 6000) + "\n::add-mask::" + strings.Repeat("hijklmn", 6000) + "\nhijklmn\n"
	for _, text := range []string{many.String(), long, sum} {
		checkOutput(t, nil, []byte(text), []int{1, 15, 4000, 66000})
	}
}

// Whatever is written and wherever it is cut, the result is that of the whole text.
func TestOutput_naive(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	words := []string{"token-1", "token-1token", "secret-2", "tok", "en-1", "short", " ", "\n", "\n", "\r\n", ":", "::add-mask::", "\n::add-mask::", "::add", "-mask::", "%0A", "%25", "known secret"}
	for range 5000 {
		var text []byte
		for range rng.IntN(20) {
			text = append(text, words[rng.IntN(len(words))]...)
		}
		var cuts []int
		for range rng.IntN(8) {
			cuts = append(cuts, rng.IntN(len(text)+1))
		}
		slices.Sort(cuts)
		checkOutput(t, []string{"known secret"}[:rng.IntN(2)], text, cuts)
	}
}

func FuzzOutput(f *testing.F) {
	f.Add("known secret", []byte("x\n::add-mask::token-1\ntoken-1 known secret"), uint16(5), uint16(9))
	f.Add("", []byte("::add-mask::a\r\n::add-mask::%25%0Abcdefg\n"), uint16(3), uint16(20))
	f.Fuzz(func(t *testing.T, value string, text []byte, a, b uint16) {
		if len(text) > 4096 || len(value) > 256 {
			return
		}
		checkOutput(t, []string{value}, text, []int{int(min(a, b)), int(max(a, b))})
	})
}

// A module that names nothing pays little.
func BenchmarkOutput(b *testing.B) {
	text := bytes.Repeat([]byte("2026-01-02T03:04:05Z compiling package github.com/example/project/internal/thing\n"), 800)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	o := NewOutput(nil)
	for b.Loop() {
		o.Take(text, func([]byte) {})
	}
}
