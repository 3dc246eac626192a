package safetext

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAppendSafe(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext":                            "plain\ttext",
		"grüße, 世界 👍":                            "grüße, 世界 👍",
		"\x1b[1;31mred\x1b[0m":                   "\x1b[1;31mred\x1b[0m",
		"\x1b[38:2:1:2:3mx\x1b[m":                "\x1b[38:2:1:2:3mx\x1b[m",
		"a\x1b[2Jb\x1b[Hc\x1b[5;5fd":             "abcd",
		"a\x1b]0;title\x07b":                     "ab",
		"a\x1b]52;c;ZXZpbA==\x1b\\b":             "ab",
		"\x1b]8;;http://x\x1b\\link\x1b]8;;\x07": "link",
		"a\x1bPq#0\x1b\\b\x1b_x\x1b\\c":          "abc",
		"a\x1bcb\x1b(Bc\x1b7d":                   "abcd",
		"a\x1b[?25lb\x1b[>4;1mc\x1b[ qd":         "abcd",
		"a\x1b[12":                               "a",
		"a\x1b]never ends":                       "a",
		"a\x1b":                                  "a",
		"a\x1b[1\x01mb":                          "amb",
		"a\u009b31mb\u0085c":                     "a31mbc",
		"a\xffb\x9bc":                            "a\uFFFDb\uFFFDc",
		"a\u202eb\u202ac\u2066d\u2069e\u200ff":   "abcde\u200ff",
		"a\x00b\x07c\x08d\x7fe":                  "abcde",
		"10%\r50%\r100%":                         "100%",
		"windows\r":                              "windows",
		"50%\r100%\r\r":                          "100%",
	} {
		if got := string(Append(nil, []byte(in), true)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
		if got := string(Append(nil, []byte(in), false)); strings.Contains(got, "\x1b") {
			t.Errorf("%q without colour: %q", in, got)
		}
	}
}

// FuzzAppendSafe wants that nothing but colours reaches the terminal.
func FuzzAppendSafe(f *testing.F) {
	for _, s := range []string{"a", "\x1b[31mx", "\x1b]8;;x\x07", "\x9b2J", "\u009bm", "\u202e", "\x1b[\x1b[m", "\x1b\x1b[2J"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out := Append(nil, in, true)
		if !utf8.Valid(out) {
			t.Fatalf("%q: %q is no text", in, out)
		}
		for i := 0; i < len(out); {
			if out[i] == 0x1b {
				n, sgr := escapeLength(out[i:])
				if !sgr {
					t.Fatalf("%q: %q holds a sequence that is no colour", in, out)
				}
				i += n
				continue
			}
			r, n := utf8.DecodeRune(out[i:])
			if r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 || Reorders(r) {
				t.Fatalf("%q: %q holds %U", in, out, r)
			}
			i += n
		}
	})
}
