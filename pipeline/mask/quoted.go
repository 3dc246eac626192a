package mask

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// entities are the ways to write a text in XML and HTML: what must be escaped, with
// quotes as Go, XML, Python and others write them, and white space as Go does.
var entities = []*strings.Replacer{
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;"),
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;"),
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;"),
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;"),
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;"),
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;"),
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;", "\t", "&#x9;", "\n", "&#xA;", "\r", "&#xD;"),
}

// shellQuotes are the ways in which shells write a text in single quotes (set -x).
var shellQuotes = []*strings.Replacer{
	strings.NewReplacer("'", `'\''`),
	strings.NewReplacer("'", `'"'"'`),
}

// backslashed are what bash's %q writes a backslash before.
const backslashed = "\t !\"$&'()*,;<>?[\\]^`{|}"

// addQuoted adds what a text looks like as a literal of a language or a shell, and
// in XML and HTML.
func addQuoted(add func(string), text string) {
	for _, r := range entities {
		add(r.Replace(text))
	}
	for _, r := range shellQuotes {
		add(r.Replace(text))
	}

	for _, quoted := range []string{strconv.Quote(text), strconv.QuoteToASCII(text)} { // Go's %q and %+q, C
		inner := quoted[1 : len(quoted)-1]
		add(inner)
		add(strings.ReplaceAll(inner, `\"`, `"`))
		single := strings.ReplaceAll(strings.ReplaceAll(inner, `\"`, `"`), "'", `\'`) // Python, JavaScript, $'...'
		add(single)
	}

	add(regexp.QuoteMeta(text))
	var b, octal strings.Builder
	for i := range len(text) {
		c := text[i]
		if strings.IndexByte(backslashed, c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)

		switch { // $'...' of bash without a locale
		case c == '\\' || c == '\'':
			octal.Write([]byte{'\\', c})
		case c >= 0x7f:
			fmt.Fprintf(&octal, `\%03o`, c)
		default:
			octal.WriteByte(c)
		}
	}
	add(b.String())
	add(strings.NewReplacer("\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(octal.String()))
}

// escape is a backslash escape that the echo of dash, and %b, carry out.
var escape = regexp.MustCompile(`\\(0[0-7]{0,3}|[abfnrtv\\c])`)

// echoed is what the echo of dash writes of a text.
func echoed(text string) string {
	if i := strings.Index(text, `\c`); i >= 0 && !strings.HasSuffix(text[:i], `\`) {
		text = text[:i]
	}
	return escape.ReplaceAllStringFunc(text, func(s string) string {
		if i := strings.IndexByte(`abfnrtv\`, s[1]); i >= 0 {
			return "\a\b\f\n\r\t\v\\"[i : i+1]
		}
		n, _ := strconv.ParseUint("0"+s[2:], 8, 16) // at most three digits
		return string([]byte{byte(n)})
	})
}
