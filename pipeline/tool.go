package pipeline

import (
	"strings"
	"time"
)

// ToolSpace is the key space of an entry that another tool stores in the
// cluster: keys of different spaces are independent.
type ToolSpace string

// The spaces.
const (
	// ToolActions has whatever was put, under 64 hexadecimal digits of the tool's
	// choice: Bazel's action results, everything of ccache.
	ToolActions ToolSpace = "ac"
	// ToolContents has bytes under their own SHA-256.
	ToolContents ToolSpace = "cas"
	// ToolTurbo has Turborepo's artifacts.
	ToolTurbo ToolSpace = "turbo"
)

// ToolSpaces lists the spaces there are.
var ToolSpaces = [...]ToolSpace{ToolActions, ToolContents, ToolTurbo}

// MaxToolName bounds teams and keys, in bytes; MaxToolTag what a tool may keep
// beside its bytes.
const (
	MaxToolName = 128
	MaxToolTag  = 1 << 10
)

// ToolKey names an entry.
type ToolKey struct {
	Space ToolSpace `cbor:"1,keyasint"`
	// Team keeps users of one space apart; "" is a team like any other.
	Team string `cbor:"2,keyasint,omitempty"`
	Key  string `cbor:"3,keyasint"`
}

// Check reports what is wrong with a key, with kind Invalid.
func (k ToolKey) Check() error {
	if k.Team != "" && !toolName(k.Team) {
		return Errorf(Invalid, "team %.80q: expected at most %d of a-z, A-Z, 0-9, '_', '-' and '.'", k.Team, MaxToolName)
	}

	switch k.Space {
	case ToolActions, ToolContents:
		return checkHexKey(k.Key)
	case ToolTurbo:
		if !toolName(k.Key) {
			return Errorf(Invalid, "hash %.80q: expected 1 to %d of a-z, A-Z, 0-9, '_', '-' and '.'", k.Key, MaxToolName)
		}
		return nil
	}

	return Errorf(Invalid, "space %.40q: expected ac, cas or turbo", k.Space)
}

// checkHexKey expects 64 lower-case hexadecimal digits. Another spelling of the
// same number is refused: it would be another key.
func checkHexKey(key string) error {
	lower := strings.ToLower(key)
	_, err := ParseDigest(lower)
	switch {
	case err != nil || len(key) != 64:
		return Errorf(Invalid, "key %.80q has %d characters: expected 64 of 0-9 and a-f", key, len(key))
	case lower != key:
		return Errorf(Invalid, "key %s: expected its digits in lower case: %s", key, lower)
	}

	return nil
}

// toolName reports whether s may be a team or a key.
func toolName(s string) bool {
	if s == "" || len(s) > MaxToolName {
		return false
	}

	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}

	return true
}

// String is space/team/key, which ParseToolKey reads.
func (k ToolKey) String() string { return string(k.Space) + "/" + k.Team + "/" + k.Key }

// ParseToolKey reads what String gave.
func ParseToolKey(s string) (ToolKey, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return ToolKey{}, Errorf(Invalid, "entry %.80q: expected SPACE/TEAM/KEY", s)
	}

	k := ToolKey{Space: ToolSpace(parts[0]), Team: parts[1], Key: parts[2]}

	return k, k.Check()
}

// ToolEntry is what another tool keeps under a key.
type ToolEntry struct {
	ToolKey
	Digest Digest
	Size   int64 // in bytes
	// Tag and Took are returned to the tool with the bytes: its own signature,
	// and how long it took to make them.
	Tag  string
	Took time.Duration
	// StoredAt and TakenAt are exact to the second; TakenAt lags behind by up to an
	// hour, so that reading costs no entry of the log.
	StoredAt, TakenAt time.Time
	// Index is that of the log entry which put it: it distinguishes it from the
	// next entry under the same key.
	Index uint64
}

// ToolCount counts entries of a space, and their bytes, each by itself.
type ToolCount struct {
	Entries int   `cbor:"1,keyasint,omitempty"`
	Bytes   int64 `cbor:"2,keyasint,omitempty"`
}

// ToolStats counts what other tools keep.
type ToolStats struct {
	Actions  ToolCount `cbor:"1,keyasint,omitempty"`
	Contents ToolCount `cbor:"2,keyasint,omitempty"`
	Turbo    ToolCount `cbor:"3,keyasint,omitempty"`
	// Evicted counts those that went because there were too many.
	Evicted int64 `cbor:"4,keyasint,omitempty"`
}

// Of returns the count of a space; nil if there is no such space.
func (s *ToolStats) Of(space ToolSpace) *ToolCount {
	switch space {
	case ToolActions:
		return &s.Actions
	case ToolContents:
		return &s.Contents
	case ToolTurbo:
		return &s.Turbo
	}

	return nil
}

// Bytes is those of all spaces.
func (s *ToolStats) Bytes() int64 { return s.Actions.Bytes + s.Contents.Bytes + s.Turbo.Bytes }
