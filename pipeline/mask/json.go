package mask

import (
	"bytes"
	"encoding/json"
)

// Value masks a decoded JSON value, with its numbers as json.Number: one in
// which something is found becomes text. Lists are changed in place.
func (s *Set) Value(v any) any {
	switch v := v.(type) {
	case string:
		return s.String(v)
	case json.Number:
		if text := s.String(v.String()); text != v.String() {
			return text
		}
	case []any:
		for i := range v {
			v[i] = s.Value(v[i])
		}
	case map[string]any:
		masked := make(map[string]any, len(v))
		for key, value := range v {
			masked[s.String(key)] = s.Value(value)
		}
		return masked
	}

	return v
}

// JSON masks the values of a JSON text, and returns JSON. Any other text is
// masked as text.
func (s *Set) JSON(text []byte) []byte {
	if s == nil {
		return text
	}

	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()

	var v any
	if d.Decode(&v) == nil && !d.More() {
		if out, err := json.Marshal(s.Value(v)); err == nil {
			return out
		}
	}

	return s.Bytes(text)
}
