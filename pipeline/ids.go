package pipeline

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// RunID identifies one execution of a pipeline and is never used again in the
// cluster. It is made by the node that accepts a submission and is safe as a
// file name.
type RunID string

// NodeID identifies a node. It is random, made when a data directory is first
// used, and never given to another data directory (reliability H14). External
// workers have the id they registered with, after ExternalPrefix.
type NodeID string

// ExternalPrefix begins the ids of external workers: programs that speak the
// HTTP protocol and are no nodes of the cluster.
const ExternalPrefix = "ext-"

// External reports whether the id is that of an external worker.
func (id NodeID) External() bool { return strings.HasPrefix(string(id), ExternalPrefix) }

// AttemptID names one attempt of one module of one run. It is the unit of
// execution: a worker starts the process of an AttemptID at most once.
type AttemptID struct {
	Run     RunID  `json:"run"`
	Module  string `json:"module"`
	Attempt int    `json:"attempt"`
}

// String returns the form "run/module/attempt" used in logs and in log
// positions.
func (a AttemptID) String() string {
	return string(a.Run) + "/" + a.Module + "/" + strconv.Itoa(a.Attempt)
}

// ParseAttemptID parses the result of String. Module instances may have a slash
// in their key, so the run ends at the first slash and the attempt begins after
// the last.
func ParseAttemptID(s string) (AttemptID, error) {
	first, last := strings.IndexByte(s, '/'), strings.LastIndexByte(s, '/')
	if first <= 0 || last <= first+1 {
		return AttemptID{}, fmt.Errorf("attempt id %q: expected run/module/attempt", s)
	}

	n, err := strconv.Atoi(s[last+1:])
	if err != nil || n < 1 {
		return AttemptID{}, fmt.Errorf("attempt id %q: the attempt is not a number from 1 on", s)
	}

	return AttemptID{Run: RunID(s[:first]), Module: s[first+1 : last], Attempt: n}, nil
}

// Digest is the SHA-256 of some bytes as 64 lower-case hexadecimal digits. The
// zero value means "none".
type Digest string

// EmptyDigest is the digest of no bytes at all. Stores always have it.
const EmptyDigest Digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// ParseDigest accepts 64 lower-case hexadecimal digits, with or without the
// prefix "sha256:".
func ParseDigest(s string) (Digest, error) {
	s = strings.TrimPrefix(s, "sha256:")
	if len(s) != 64 {
		return "", fmt.Errorf("digest %.80q: expected 64 hexadecimal digits", s)
	}

	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("digest %q: expected lower-case hexadecimal digits", s)
		}
	}

	return Digest(s), nil
}

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$`)
	idPattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
)

// Admits reports whether one of the patterns, which are those of path.Match, matches a
// pipeline's name, or there are none.
func Admits(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); err == nil && ok {
			return true
		}
	}
	return len(patterns) == 0
}

// ValidName reports whether s may name a pipeline or a module: letters,
// digits, "_" and "-", at most 63 of them.
func ValidName(s string) bool { return namePattern.MatchString(s) }

// ParseRunID checks the form of a run id that came from outside.
func ParseRunID(s string) (RunID, error) {
	if !idPattern.MatchString(s) {
		return "", Errorf(Invalid, "run id %.80q: expected at most 63 of a-z, 0-9, _ and -", s)
	}
	return RunID(s), nil
}
