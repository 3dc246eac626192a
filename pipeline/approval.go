package pipeline

import (
	"encoding/json"
	"path"
	"time"
)

// Approval makes of a module one that runs nothing and waits for the word of a
// person.
type Approval struct {
	// Message says what is asked; "" where it is an expression that waits for
	// results (Module.Deferred["approval.message"]).
	Message string `json:"message,omitempty"`
	// Approvers are the names of those who may decide, with * for anything; none
	// means everybody who may submit.
	Approvers []string `json:"approvers,omitempty"`
	// Timeout bounds the wait, from its start; 0 means none.
	Timeout time.Duration `json:"timeout,omitempty"`
	// OnTimeout is "" or TimeoutReject, or TimeoutApprove or TimeoutSkip: what
	// becomes of the module where nobody decided in time.
	OnTimeout string `json:"onTimeout,omitempty"`
}

// What Approval.OnTimeout may hold.
const (
	TimeoutReject  = "reject"
	TimeoutApprove = "approve"
	TimeoutSkip    = "skip"
)

// DefaultApprovalTimeout is 30 days.
const DefaultApprovalTimeout = 720 * time.Hour

// DeferredMessage is the key of an approval's message in Module.Deferred.
const DeferredMessage = "approval.message"

// May reports whether somebody may decide.
func (a *Approval) May(name string) bool {
	for _, pattern := range a.Approvers {
		if ok, err := path.Match(pattern, name); err == nil && ok {
			return true
		}
	}

	return len(a.Approvers) == 0
}

// ApprovalWait is the wait for an approval in the replicated state.
type ApprovalWait struct {
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
	// Deadline is when the module's on_timeout decides; zero means never.
	Deadline time.Time `json:"deadline,omitzero"`
	// Decision is "" while it waits.
	Decision Decision `json:"decision,omitempty"`
	// By is who decided, "" where nobody did in time. Comment is what they said.
	By        string    `json:"by,omitempty"`
	Comment   string    `json:"comment,omitempty"`
	DecidedAt time.Time `json:"decidedAt,omitzero"`
}

// WaitsForApproval is the reason of a module that waits for one.
func WaitsForApproval(message string) string { return "waits for approval: " + message }

// Decision is how the wait for an approval ended.
type Decision string

// The decisions. Skipped is that of nobody: the time was over.
const (
	Approved Decision = "approved"
	Rejected Decision = "rejected"
	Skipped  Decision = "skipped"
)

// TimedOutBy is who decided, for expressions, where nobody did in time.
const TimedOutBy = "timeout"

// State is what a decision makes of its module; "" for none.
func (d Decision) State() ModuleState {
	switch d {
	case Approved:
		return ModuleSucceeded
	case Rejected:
		return ModuleFailed
	case Skipped:
		return ModuleSkipped
	}

	return ""
}

// Result is what expressions see of a decided gate as the module's result.
func (g *ApprovalWait) Result() json.RawMessage {
	by := g.By
	if by == "" {
		by = TimedOutBy
	}

	out := struct {
		Approved   bool   `json:"approved"`
		ApprovedBy string `json:"approved_by"`
		RejectedBy string `json:"rejected_by"`
		Comment    string `json:"comment"`
		DecidedAt  string `json:"decided_at"`
	}{Approved: g.Decision == Approved, Comment: g.Comment, DecidedAt: g.DecidedAt.UTC().Format(time.RFC3339)}

	switch g.Decision {
	case Approved:
		out.ApprovedBy = by
	case Rejected:
		out.RejectedBy = by
	}

	raw, err := json.Marshal(out)
	if err != nil {
		return nil // texts and a flag: cannot be
	}

	return raw
}

// MaxComment bounds what is said with a decision, in bytes.
const MaxComment = 4 << 10
