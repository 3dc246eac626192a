// Package result reads the form in which modules leave their results.
package result

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/pipeline"
)

// Bounds of a result besides pipeline.MaxResultBytes.
const (
	maxKey   = 128
	maxDepth = 64
)

// Parse reads what a module wrote to $PIPELINED_OUTPUT and gives it as one
// JSON object with sorted keys; nil where there is nothing but white space.
//
// There are two forms, and using both is an error. Lines: key=value, where the
// value is the rest of the line and always a string, or key<<END, where the
// value is the lines up to one that is exactly END. Empty lines mean nothing;
// a key given twice has its last value, as when a script appends a better one.
// Or one JSON object, whose values keep their types.
//
// A key begins with a letter or "_" and goes on with letters, digits, "_" and
// "-". All errors are of kind Invalid (TooLarge beyond the limits), name the
// line, and are meant for the module's author.
func Parse(data []byte) (json.RawMessage, error) {
	if len(data) > pipeline.MaxResultBytes {
		return nil, executor.ResultTooLarge(int64(len(data)))
	}
	if !utf8.Valid(data) {
		return nil, lineError(badUTF8Line(data), "it is not valid UTF-8; write big or binary data to an output file")
	}
	trimmed := bytes.TrimSpace(data)
	if len(trimmed) == 0 {
		return nil, nil
	}
	var object any
	var err error
	if trimmed[0] == '{' {
		object, err = parseObject(trimmed)
	} else {
		object, err = parseLines(string(data))
	}
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(object); err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "result: %w", err)
	}
	out := bytes.TrimRight(buf.Bytes(), "\n")
	// Quoting can lengthen control characters six-fold; the bound keeps raft's
	// entries small whatever the module wrote.
	if len(out) > 2*pipeline.MaxResultBytes {
		return nil, executor.ResultTooLarge(int64(len(out)))
	}
	return json.RawMessage(out), nil
}

func lineError(line int, format string, args ...any) error {
	return pipeline.Errorf(pipeline.Invalid, "result: line %d of $PIPELINED_OUTPUT: %s", line, fmt.Sprintf(format, args...))
}

// parseObject reads the form of one JSON object.
func parseObject(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := checkDepth(data); err != nil {
		return nil, err
	}
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "result: $PIPELINED_OUTPUT begins with \"{\" but is no JSON object: %w", err)
	}
	if rest := bytes.TrimSpace(data[dec.InputOffset():]); len(rest) > 0 {
		line := 1 + bytes.Count(data[:len(data)-len(rest)], []byte("\n"))
		return nil, lineError(line, "text after the JSON object: a result is either one JSON object or key=value lines, not both")
	}
	for key := range object {
		if !validKey(key) {
			return nil, pipeline.Errorf(pipeline.Invalid, "result: %s", badKey(key))
		}
	}
	return object, nil
}

// checkDepth refuses nesting that would cost every later reader a deep stack.
// Brackets inside strings are skipped; malformed text is left to the decoder.
func checkDepth(data []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return pipeline.Errorf(pipeline.Invalid, "result: the JSON in $PIPELINED_OUTPUT is nested deeper than %d", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// parseLines reads the form of key=value lines and here-documents.
func parseLines(text string) (any, error) {
	object := make(map[string]string)
	for line := 1; text != ""; line++ {
		var current string
		current, text, _ = strings.Cut(text, "\n")
		if strings.TrimSpace(current) == "" {
			continue
		}
		if current[0] == '{' {
			return nil, lineError(line, "a JSON object after key=value lines: a result is either one or the other, not both")
		}
		equals, here := strings.IndexByte(current, '='), strings.Index(current, "<<")
		if here >= 0 && (equals < 0 || here < equals) {
			key, end := current[:here], current[here+2:]
			if !validKey(key) {
				return nil, lineError(line, "%s", badKey(key))
			}
			if end == "" {
				return nil, lineError(line, "%s<< names no end; write %s<<EOF, the lines, and a line EOF", key, key)
			}
			value, rest, lines, ok := hereDocument(text, end)
			if !ok {
				return nil, lineError(line, "%s<<%s has no closing line %q", key, end, end)
			}
			object[key] = value
			text, line = rest, line+lines
			continue
		}
		if equals < 0 {
			return nil, lineError(line, "expected key=value, key<<EOF or one JSON object, got %.60q", current)
		}
		key := current[:equals]
		if !validKey(key) {
			return nil, lineError(line, "%s", badKey(key))
		}
		object[key] = current[equals+1:]
	}
	return object, nil
}

// hereDocument cuts the value that stands before the line end, and counts the
// lines it took, the closing one included.
func hereDocument(text, end string) (value, rest string, lines int, ok bool) {
	for offset := 0; offset < len(text); {
		line, _, found := strings.Cut(text[offset:], "\n")
		lines++
		next := offset + len(line)
		if found {
			next++
		}
		if line == end {
			return strings.TrimSuffix(text[:offset], "\n"), text[next:], lines, true
		}
		offset = next
	}
	return "", "", 0, false
}

func validKey(key string) bool {
	if key == "" || len(key) > maxKey {
		return false
	}
	for i := range len(key) {
		c := key[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}

func badKey(key string) string {
	return fmt.Sprintf("key %.60q: expected a letter or _, then letters, digits, _ and -, at most %d of them", key, maxKey)
}

// badUTF8Line finds the line of the first byte that is no UTF-8.
func badUTF8Line(data []byte) int {
	line := 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			break
		}
		if r == '\n' {
			line++
		}
		data = data[n:]
	}
	return line
}
