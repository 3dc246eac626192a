package pipeline

import (
	"errors"
	"fmt"
)

// Kind is what an error means to the caller. The kinds cross the network: the
// API turns them into statuses and the client turns statuses back.
type Kind int

const (
	// Internal is everything that is the system's own fault. It is the zero
	// value, so an error without a kind is internal.
	Internal Kind = iota
	// Invalid is input that can never work unchanged.
	Invalid
	// Unauthenticated is a missing or unknown token.
	Unauthenticated
	// Forbidden is a known caller whose role does not allow the call.
	Forbidden
	// NotFound names something that does not exist.
	NotFound
	// Conflict is a call that the current state does not allow.
	Conflict
	// TooLarge is input beyond a limit.
	TooLarge
	// Unavailable is a passing condition: no leader, no quorum, stopping.
	Unavailable
	// Unknown is an outcome that may or may not have taken effect. Repeating
	// the call with the same idempotency key is safe and returns the outcome.
	Unknown
	// Canceled is a call that its caller gave up.
	Canceled
	// Timeout is a bound that passed while waiting.
	Timeout
)

var kindNames = [...]string{"internal", "invalid", "unauthenticated", "forbidden", "not_found",
	"conflict", "too_large", "unavailable", "unknown", "canceled", "timeout"}

// String returns the kind's name in problem documents.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return "internal"
	}
	return kindNames[k]
}

// ParseKind reads the name of a kind; an unknown name is Internal.
func ParseKind(s string) Kind {
	for i, n := range kindNames {
		if n == s {
			return Kind(i)
		}
	}

	return Internal
}

// Error is an error with a kind and a message for the caller. Err, the cause,
// is for logs and for errors.Is; it is never sent.
type Error struct {
	Kind    Kind
	Message string
	Err     error
}

// Error returns the message alone: it already includes what it reports of the
// cause.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrNoLeader) hold for an error that was rebuilt
// from the network: same kind and same message.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Message == e.Message
}

// Errorf makes an error of a kind. A %w in the format keeps its cause.
func Errorf(k Kind, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: k, Message: err.Error(), Err: errors.Unwrap(err)}
}

// KindOf returns the kind of err: that of the first *Error in its chain, else
// Internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

var (
	// ErrNoLeader is returned by every call that needs the orchestrator while
	// none is known.
	ErrNoLeader = &Error{Kind: Unavailable, Message: "no leader: the cluster is electing one, or this node cannot reach a majority"}
	// ErrNotLeader is returned by a node that was asked to do what only the
	// orchestrator may.
	ErrNotLeader = &Error{Kind: Unavailable, Message: "this node is not the leader"}
	// ErrUnknownOutcome is returned when a change was proposed and nothing is
	// known of its fate: leadership was lost, or the wait was bounded.
	ErrUnknownOutcome = &Error{Kind: Unknown, Message: "the outcome is unknown: repeat the call with the same idempotency key"}
)
