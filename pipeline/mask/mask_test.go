package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestSet_forms(t *testing.T) {
	const value = "s3cr\"et/+<&>\\ü value?"
	s := New([]string{value})
	quoted, _ := json.Marshal(value)
	forms := map[string]string{
		"plain": value, "query": url.QueryEscape(value), "path": url.PathEscape(value), "lower query": lowerEscapes(url.QueryEscape(value)),
		"hex": hex.EncodeToString([]byte(value)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(value))),
		"json": strings.Trim(string(quoted), `"`),
		// As the tools of others write them.
		"Python quote": `s3cr%22et/%2B%3C%26%3E%5C%C3%BC%20value%3F`, "encodeURIComponent": `s3cr%22et%2F%2B%3C%26%3E%5C%C3%BC%20value%3F`,
		"encodeURI": `s3cr%22et/+%3C&%3E%5C%C3%BC%20value?`, "form": `s3cr%22et%2F%2B%3C%26%3E%5C%C3%BC+value%3F`,
		"XML": `s3cr&quot;et/+&lt;&amp;&gt;\ü value?`, "Go XML": `s3cr&#34;et/+&lt;&amp;&gt;\ü value?`, "text of XML": `s3cr"et/+&lt;&amp;&gt;\ü value?`,
		"Go %q": `s3cr\"et/+<&>\\ü value?`, "Go %+q": `s3cr\"et/+<&>\\\u00fc value?`, "Python repr": `s3cr"et/+<&>\\ü value?`,
		"bash %q": `s3cr\"et/+\<\&\>\\ü\ value\?`, "bash $''": `s3cr"et/+<&>\\\303\274 value?`, "regexp": `s3cr"et/\+<&>\\ü value\?`,
		"Python json": `s3cr\"et/+<&>\\\u00fc value?`, "PHP json": `s3cr\"et\/+<&>\\\u00fc value?`,
	}

	for name, form := range forms {
		if got := s.String("[" + form + "]"); got != "["+Mark+"]" {
			t.Errorf("%s: %q becomes %q", name, form, got)
		}
	}

	// In base64 the characters at the edges depend on neighbours too; a whole
	// encoding leaves nothing of it.
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if got := s.String(enc.EncodeToString([]byte(value))); got != Mark {
			t.Errorf("base64: %q", got)
		}

		for before := range 4 {
			for after := range 4 {
				text := enc.EncodeToString([]byte("uvwx"[:before] + value + "uvwx"[:after]))
				got := s.String(text)
				rest := strings.Replace(got, Mark, "", 1)
				// Up to 4 characters of each neighbour, and padding.
				if rest == got || len(rest) > 4*before/3+4*after/3+6 {
					t.Errorf("base64 with %d before and %d after: %q becomes %q", before, after, text, got)
				}
			}
		}
	}
}

func TestSet_lines(t *testing.T) {
	s := New([]string{"first line\n  second \nabc\r\n"})
	for text, want := range map[string]string{
		"x first line y": "x *** y", "+ second": "+ ***", "abc": "abc", "first line\n  second \nabc\r\nz": "***\r\nz",
		`{"v":"first line\n  second \nabc"}`: `{"v":"***"}`,
	} {
		if got := s.String(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}

	// What tools wrap is masked line by line.
	long := strings.Repeat("0123456789abcdef", 12)
	all := base64.StdEncoding.EncodeToString([]byte(long))
	for _, n := range wraps {
		var b strings.Builder
		for line := range slices.Chunk([]byte(all), n) {
			b.Write(append(line, '\n'))
		}
		got := New([]string{long}).String(b.String())
		if strings.Trim(got, "*\n") != "" {
			t.Errorf("wrapped at %d: %q", n, got)
		}
	}
}

// Quotes in a value, as set -x of dash and bash writes them, and what Python does.
func TestSet_quotes(t *testing.T) {
	const value = `it's "tricky" & long`
	s := New([]string{value})
	for _, form := range []string{
		`it'\''s "tricky" & long`, `it'"'"'s "tricky" & long`, `it\'s "tricky" & long`, `it\'s\ \"tricky\"\ \&\ long`,
		`it&#39;s &quot;tricky&quot; &amp; long`, `it&apos;s &quot;tricky&quot; &amp; long`, `it&#x27;s &quot;tricky&quot; &amp; long`, `it&#39;s &#34;tricky&#34; &amp; long`,
	} {
		if got := s.String("'" + form + "'"); got != "'"+Mark+"'" {
			t.Errorf("%s becomes %s", form, got)
		}
	}

	lines := New([]string{"-----BEGIN\nthe 'middle' of it\n-----END---"})
	for text, want := range map[string]string{
		`$'-----BEGIN\nthe \'middle\' of it\n-----END---'`: `$'***'`, "x the '\\''middle'\\'' of it": "x ***",
	} {
		if got := lines.String(text); got != want {
			t.Errorf("%s becomes %s, want %s", text, got, want)
		}
	}

	// The echo of dash carries escapes out.
	echoed := New([]string{`first part\nsecond\tpart\\end\0101`})
	for text, want := range map[string]string{"first part\nsecond\tpart\\endA": Mark, "second\tpart\\endA": Mark, "first part": Mark} {
		if got := echoed.String(text); got != want {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

// With anything before and behind it, and broken into lines of any length of whole
// groups, nothing of nine bytes or more can be read back.
func TestSet_base64Lines(t *testing.T) {
	value := "github_pat_" + strings.Repeat("Ab3xQ9%", 14)
	s := New([]string{value})
	for before := range 80 {
		for _, n := range []int{60, 64, 72, 76} {
			text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("u", before) + value + strings.Repeat(":", before%4)))
			var b strings.Builder
			for line := range slices.Chunk([]byte(text), n) {
				b.Write(append(line, '\n'))
			}
			for part := range strings.FieldsFuncSeq(s.String(b.String()), func(r rune) bool { return r == '*' || r == '\n' || r == '=' }) {
				for skip := range min(4, len(part)) {
					rest := part[skip : skip+(len(part)-skip)/4*4]
					plain, _ := base64.RawStdEncoding.DecodeString(rest)
					for i := 0; i+9 <= len(value); i++ {
						if bytes.Contains(plain, []byte(value[i:i+9])) {
							t.Fatalf("%d before, lines of %d: %q shows %q", before, n, part, value[i:i+9])
						}
					}
				}
			}
		}
	}
}

func TestSet_short(t *testing.T) {
	for value, want := range map[string]bool{"": false, "\n": false, "12345": true, "  1234 \n": true, "123456": false, "123456\n": false} {
		if TooShort(value) != want {
			t.Errorf("TooShort(%q) is %v", value, !want)
		}
	}

	if s := New([]string{"", "12345", "1234\n"}); s != nil {
		t.Errorf("short values: %v", s)
	}

	var none *Set
	if none.String("text text") != "text text" || none.Stream() != nil {
		t.Error("a set of nothing does something")
	}
}

// naive masks by looking for every pattern at every place.
func naive(patterns map[string]struct{}, text []byte) string {
	covered := make([]bool, len(text))
	for i := range text {
		for p := range patterns {
			if bytes.HasPrefix(text[i:], []byte(p)) {
				for j := range len(p) {
					covered[i+j] = true
				}
			}
		}
	}

	var b strings.Builder
	for i := range text {
		if !covered[i] {
			b.WriteByte(text[i])
		} else if i == 0 || !covered[i-1] {
			b.WriteString(Mark)
		}
	}

	return b.String()
}

func checkStream(t *testing.T, patterns map[string]struct{}, text []byte, cuts []int) {
	t.Helper()

	s := build(patterns)
	if s == nil {
		return
	}

	longest := 0
	for p := range patterns {
		longest = max(longest, len(p))
	}

	st, at, out := s.Stream(), 0, []byte(nil)
	for _, cut := range append(cuts, len(text)) {
		if cut < at || cut > len(text) {
			continue
		}

		out = st.Append(out, text[at:cut])
		if at = cut; len(st.held) >= longest {
			t.Fatalf("%d bytes are held with patterns up to %d", len(st.held), longest)
		}

		// What is held may be the beginning of a pattern, and nothing else is.
		begins := len(st.held) == 0
		for p := range patterns {
			begins = begins || strings.HasPrefix(p, string(st.held))
		}

		if !begins {
			t.Fatalf("%q is held without need", st.held)
		}
	}

	want := naive(patterns, text)
	if out = st.Close(out); string(out) != want {
		t.Fatalf("patterns %q, text %q cut at %v: %q, want %q", patterns, text, cuts, out, want)
	}

	if got := string(s.Bytes(text)); len(text) >= MinLength && got != want {
		t.Fatalf("patterns %q, text %q: %q as a whole, want %q", patterns, text, got, want)
	}
}

// TestStream_cuts compares each cut, and many random ones, with the naive way,
// over an alphabet so small that patterns overlap all the time.
func TestStream_cuts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(n, letters int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = 'a' + byte(r.IntN(letters))
		}
		return b
	}

	for range 3000 {
		letters := 1 + r.IntN(3)
		patterns := map[string]struct{}{}
		for range 1 + r.IntN(4) {
			patterns[string(word(1+r.IntN(7), letters))] = struct{}{}
		}

		text := word(r.IntN(40), letters+r.IntN(2))
		for cut := range len(text) + 1 {
			checkStream(t, patterns, text, []int{cut})
		}

		cuts := make([]int, r.IntN(20))
		for i := range cuts {
			cuts[i] = r.IntN(len(text) + 1)
		}

		slices.Sort(cuts)
		checkStream(t, patterns, text, cuts)
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte("abcdef\nbcdefgh"), []byte("xxabcdefghabcdefyy"), uint16(5), uint16(9))
	f.Fuzz(func(t *testing.T, values, text []byte, a, b uint16) {
		if len(values) > 200 || len(text) > 2000 {
			return
		}
		patterns := map[string]struct{}{}
		for v := range bytes.SplitSeq(values, []byte{'\n'}) {
			addForms(patterns, string(v))
		}
		checkStream(t, patterns, text, []int{int(min(a, b)), int(max(a, b))})
	})
}

func BenchmarkStream(b *testing.B) {
	s := New([]string{"correct horse battery staple", "ghp_0123456789abcdefghijklmnopqrstuvwxyz"})
	text := bytes.Repeat([]byte("2026-01-02T03:04:05Z compiling package github.com/example/project/internal/thing\n"), 800)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	st, out := s.Stream(), make([]byte, 0, len(text)+100)
	for b.Loop() {
		out = st.Append(out[:0], text)
	}
}

func BenchmarkNew(b *testing.B) {
	values := []string{"ghp_0123456789abcdefghijklmnopqrstuvwxyz", strings.Repeat("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n", 26)}
	b.ReportAllocs()
	for b.Loop() {
		New(values)
	}
}
