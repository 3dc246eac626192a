package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a JSON document.
const maxDepth = 64

// decode reads one JSON object into v. It refuses what encoding/json accepts: repeated keys, invalid UTF-8, lone surrogates, deep nesting and
// trailing bytes, and with strict also unknown fields and fields in another
// case. Errors are of kind Invalid and name the place.
func decode(data []byte, v any, strict bool) error {
	if !utf8.Valid(data) {
		return invalid("body: not valid UTF-8")
	}
	if err := checkDepth(data); err != nil {
		return err
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return invalid("body: byte %d: %w", syntax.Offset, err)
		}
		return invalid("body: %w", err)
	}
	if t := bytes.TrimLeft(data, " \t\r\n"); len(t) == 0 || t[0] != '{' {
		return invalid("body: expected a JSON object")
	}
	s := scan{data: data, strict: strict}
	if err := s.value(reflect.TypeOf(v).Elem(), ""); err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return typeError(err)
	}
	return nil
}

// typeError rewords the error of encoding/json for a value of a wrong type.
func typeError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		place := wrong.Field
		if place == "" {
			place = "body"
		}
		return invalid("%s: got a JSON %s, expected %s", place, wrong.Value, expectedName(wrong.Type))
	}
	return invalid("body: %w", err)
}

func expectedName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Uint, reflect.Uint32, reflect.Uint64:
		return "a whole number in range"
	case reflect.Float32, reflect.Float64:
		return "a number in range"
	}
	return t.String()
}

// checkDepth refuses deep nesting in one pass over the bytes, before anything
// recursive sees them.
func checkDepth(data []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return invalid("body: byte %d: nested deeper than %d", i+1, maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// scan walks a document that is known to be valid JSON, beside the type that
// it will be decoded into.
type scan struct {
	data   []byte
	pos    int
	strict bool
}

func (s *scan) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\r', '\n', ',', ':':
			s.pos++
		default:
			return
		}
	}
}

// value checks the value at pos. t is nil if the type says nothing about
// its content; path is its place, for messages.
func (s *scan) value(t reflect.Type, path string) error {
	s.space()
	t = structural(t)
	switch s.data[s.pos] {
	case '{':
		return s.object(t, path)
	case '[':
		return s.array(t, path)
	case '"':
		_, err := s.text(path)
		return err
	}
	for s.pos < len(s.data) && !bytes.ContainsRune([]byte(" \t\r\n,]}"), rune(s.data[s.pos])) {
		s.pos++
	}
	return nil
}

func (s *scan) array(t reflect.Type, path string) error {
	var elem reflect.Type
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		elem = t.Elem()
	}
	s.pos++
	for i := 0; ; i++ {
		if s.space(); s.data[s.pos] == ']' {
			s.pos++
			return nil
		}
		at := path
		if c := s.data[s.pos]; c == '{' || c == '[' {
			at += "[" + strconv.Itoa(i) + "]" // a scalar is named by its array
		}
		if err := s.value(elem, at); err != nil {
			return err
		}
	}
}

func (s *scan) object(t reflect.Type, path string) error {
	var fields map[string]reflect.Type
	var elem reflect.Type
	if t != nil && t.Kind() == reflect.Struct {
		fields = fieldsOf(t)
	} else if t != nil && t.Kind() == reflect.Map {
		elem = t.Elem()
	}
	seen := map[string]bool{}
	s.pos++
	for {
		if s.space(); s.data[s.pos] == '}' {
			s.pos++
			return nil
		}
		key, err := s.text(path)
		if err != nil {
			return err
		}
		at := key
		if path != "" {
			at = path + "." + key
		}
		inner := elem
		if fields != nil {
			name, ft, ok := known(fields, key)
			switch {
			case s.strict && !ok:
				return invalid("body: %q: unknown field", at)
			case s.strict && name != key:
				return invalid("body: %q: unknown field; did you mean %q?", at, name)
			case ok:
				key = name // decoded into the same field, so it counts as the same key
			}
			inner = ft
		}
		if seen[key] {
			return invalid("body: %q: given twice", at)
		}
		seen[key] = true
		if err := s.value(inner, at); err != nil {
			return err
		}
	}
}

// text reads the string at pos and refuses lone surrogates, which
// encoding/json would replace silently.
func (s *scan) text(path string) (string, error) {
	start := s.pos
	escaped := false
	for s.pos++; s.data[s.pos] != '"'; s.pos++ {
		if s.data[s.pos] == '\\' {
			escaped = true
			s.pos++
		}
	}
	s.pos++
	raw := s.data[start:s.pos]
	if !escaped {
		return string(raw[1 : len(raw)-1]), nil
	}
	if at := loneSurrogate(raw); at >= 0 {
		return "", invalid("body: byte %d: a lone surrogate in %q", start+at+1, path)
	}
	var out string
	if err := json.Unmarshal(raw, &out); err != nil {
		return "", invalid("body: byte %d: %w", start+1, err)
	}
	return out, nil
}

// loneSurrogate finds a \uD800-\uDFFF escape that is not half of a pair; -1
// if there is none.
func loneSurrogate(raw []byte) int {
	hex := func(i int) int {
		if i+6 > len(raw) || raw[i] != '\\' || raw[i+1] != 'u' {
			return -1
		}
		n, err := strconv.ParseUint(string(raw[i+2:i+6]), 16, 16)
		if err != nil {
			return -1
		}
		return int(n)
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		switch n := hex(i); {
		case n >= 0xD800 && n < 0xDC00:
			if low := hex(i + 6); low < 0xDC00 || low > 0xDFFF {
				return i
			}
			i += 11
		case n >= 0xDC00 && n <= 0xDFFF:
			return i
		default:
			i++
		}
	}
	return -1
}

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// structural strips pointers, and gives nil for types that decode themselves.
func structural(t reflect.Type) reflect.Type {
	for t != nil {
		if p := reflect.PointerTo(t); p.Implements(jsonUnmarshaler) || p.Implements(textUnmarshaler) {
			return nil
		}
		if t.Kind() != reflect.Pointer {
			break
		}
		t = t.Elem()
	}
	if t != nil && t.Kind() == reflect.Interface {
		return nil
	}
	return t
}

// fieldCache holds fieldsOf by type.
var fieldCache sync.Map

// fieldsOf gives the JSON names of a struct's fields with their types,
// embedded structs included.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if m, ok := fieldCache.Load(t); ok {
		return m.(map[string]reflect.Type)
	}
	m := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		m[name] = f.Type
	}
	fieldCache.Store(t, m)
	return m
}

// known finds a key among the fields: exactly, or in any case as encoding/json
// does.
func known(fields map[string]reflect.Type, key string) (name string, t reflect.Type, ok bool) {
	if t, ok := fields[key]; ok {
		return key, t, true
	}
	for name, t := range fields {
		if strings.EqualFold(name, key) {
			return name, t, true
		}
	}
	return "", nil, false
}

// idempotencyKey checks the header that makes a repeated POST harmless.
func idempotencyKey(values []string, max int) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", invalid("Idempotency-Key: given %d times", len(values))
	}
	key := values[0]
	if key == "" || len(key) > max {
		return "", invalid("Idempotency-Key: %d bytes, expected 1 to %d", len(key), max)
	}
	for i := range len(key) {
		if c := key[i]; c < 0x20 || c > 0x7e {
			return "", invalid("Idempotency-Key: byte %d is not printable ASCII", i+1)
		}
	}
	return key, nil
}
