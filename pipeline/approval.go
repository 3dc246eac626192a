package pipeline

import (
	"encoding/json"
	"path"
	"time"
)

// Approval turns a module into an approval: it runs nothing and waits until a
// person decides.
type Approval struct {
	// Message is the question; "" if it is an expression that depends on
	// results (Module.Deferred["approval.message"]).
	Message string `json:"message,omitempty"`
	// Approvers are patterns of the names that may decide, with * for anything.
	// If empty, everyone who may submit may decide.
	Approvers []string `json:"approvers,omitempty"`
	// Timeout bounds the wait, from its start; 0 means none.
	Timeout time.Duration `json:"timeout,omitempty"`
	// OnTimeout is the decision if none was made in time: "" or TimeoutReject,
	// TimeoutApprove, or TimeoutSkip.
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

// May reports whether the user with this name may decide.
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
	// By is the user who decided, "" if the time ran out. Comment is that
	// user's.
	By        string    `json:"by,omitempty"`
	Comment   string    `json:"comment,omitempty"`
	DecidedAt time.Time `json:"decidedAt,omitzero"`
}

// WaitsForApproval is the reason of a module that waits for one.
func WaitsForApproval(message string) string { return "waits for approval: " + message }

// Decision is how the wait for an approval ended.
type Decision string

// The decisions. Skipped is never a user's: it is TimeoutSkip after the time
// ran out.
const (
	Approved Decision = "approved"
	Rejected Decision = "rejected"
	Skipped  Decision = "skipped"
)

// TimedOutBy is what expressions see as the approver if the time ran out.
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

// Result is what expressions see of a decided approval as the module's result.
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

// MaxComment is the maximum length of a decision's comment, in bytes.
const MaxComment = 4 << 10
