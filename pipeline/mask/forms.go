package mask

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxForms is up to which length other forms than the plain one are made.
const maxForms = 16 << 10

// window is how many characters of base64 are masked wherever a tool breaks lines
// behind something that stands before the value: nine bytes of it.
const window = 12

// wraps are the line lengths that common tools break base64 at.
var wraps = []int{64, 76}

// TooShort reports whether a value cannot be masked: without the white space
// around it, it is shorter than MinLength. Nothing needs masking in an empty one.
func TooShort(value string) bool {
	n := len(strings.TrimSpace(value))
	return n > 0 && n < MinLength
}

// addForms adds everything that a value may look like.
func addForms(to map[string]struct{}, value string) {
	trimmed := strings.TrimSpace(value)
	if len(trimmed) < MinLength {
		return
	}

	add := func(p string) {
		if len(p) >= MinLength {
			to[p] = struct{}{}
		}
	}

	// The value without its last newline is what a shell makes of it, and white
	// space around it is no secret: it stays as it is.
	add(trimmed)
	addEncoded(add, trimmed)

	if value != trimmed {
		addEncoded(add, value)
	}

	addLines(add, trimmed)
	if len(trimmed) <= maxForms {
		addQuoted(add, trimmed)
	}
	if strings.Contains(trimmed, `\`) {
		out := strings.TrimSpace(echoed(trimmed))
		add(out)
		addLines(add, out)
	}
}

// addLines adds the lines of a text with several, as they are and as a literal may
// have them.
func addLines(add func(string), text string) {
	if !strings.Contains(text, "\n") {
		return
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		add(line)
		if len(text) <= maxForms {
			addQuoted(add, line)
		}
	}
}

// addEncoded adds the encodings of a text.
func addEncoded(add func(string), text string) {
	if len(text) > maxForms {
		return
	}

	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		addBase64(add, enc, text)
	}

	addURL(add, text)
	lower := hex.EncodeToString([]byte(text))
	add(lower)
	add(strings.ToUpper(lower))

	for _, html := range []bool{true, false} {
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(html)
		if enc.Encode(text) == nil {
			quoted := strings.TrimSuffix(b.String(), "\n")
			addJSON(add, quoted[1:len(quoted)-1])
		}
	}
}

// urlSafe are the marks, beside letters, digits and "-_.", that one or another
// writer of URLs leaves as they are: nothing else (forms in browsers, Java), "~"
// (RFC 3986, curl), "~/" (Python's quote), and encodeURIComponent, encodeURI,
// and Go's for a path.
var urlSafe = []string{"*", "~", "~/", "~!'()*", "~!'()*;,/?:@&=+$#", "~$&+,/:;=@"}

// addURL adds the ways to write a text in a URL.
func addURL(add func(string), text string) {
	add2 := func(escaped string) {
		add(escaped)
		add(lowerEscapes(escaped))
	}

	add2(url.QueryEscape(text))
	add2(url.PathEscape(text))

	for _, safe := range urlSafe {
		escaped := escapeURL(text, safe)
		add2(escaped)
		add2(strings.ReplaceAll(escaped, "%20", "+"))
	}
}

// escapeURL escapes all bytes except letters, digits, "-_." and those in safe.
func escapeURL(text, safe string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.", c) >= 0 || strings.IndexByte(safe, c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}

	return b.String()
}

// addJSON adds a text that is escaped for JSON already, and its forms from
// writers that also escape non-ASCII characters (Python) and slashes (PHP).
func addJSON(add func(string), quoted string) {
	var ascii strings.Builder
	for _, r := range quoted {
		switch {
		case r < utf8.RuneSelf:
			ascii.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&ascii, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&ascii, `\u%04x`, r)
		}
	}

	for _, q := range []string{quoted, ascii.String()} {
		add(q)
		add(strings.ReplaceAll(q, "/", `\/`))
	}
}

// lowerEscapes writes percent escapes in lower case: %2F becomes %2f.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(s[i+1:i+3]))
			i += 2
		}
	}
	return string(b)
}

// addBase64 adds what a text looks like in base64 wherever it begins in a group
// of three bytes: the characters that it alone decides, and at the end of the
// data also the last one, with and without padding.
func addBase64(add func(string), enc *base64.Encoding, text string) {
	for before, skip := range []int{0, 2, 3} {
		data := append(make([]byte, before), text...)
		all := enc.EncodeToString(data)
		core := all[skip : len(data)*8/6]
		add(core)

		end := all[max(skip, len(all)-window):]
		if rest := len(data) % 3; rest > 0 {
			for _, tail := range []string{all[skip:], end} {
				add(tail)
				add(tail + "=="[:3-rest])
			}
		}

		// Lines begin and end between groups of four characters, but where they do
		// depends on what stands before.
		for i := (skip + 3) / 4 * 4; i+window <= len(data)*8/6; i += 4 {
			add(all[i : i+window])
		}
		if len(core) > window {
			add(core[:window])
		}

		if before > 0 {
			continue
		}

		for _, n := range wraps {
			for i := 0; len(all) > n && i < len(all); i += n {
				add(all[i:min(i+n, len(all))])
			}
		}
	}
}
