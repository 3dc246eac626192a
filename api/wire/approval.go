package wire

import "time"

// Approval is what a module waits for that runs nothing.
type Approval struct {
	// Message is what is asked; "" if that is not known yet.
	Message string `json:"message"`
	// Approvers are the names of those who may decide; none means everybody who
	// may submit.
	Approvers []string `json:"approvers,omitempty"`
	// Since and Deadline are of the wait, once it has begun.
	Since    *time.Time `json:"since,omitempty"`
	Deadline *time.Time `json:"deadline,omitempty"`
	// Decision is approved, rejected or, without a decision in time, skipped;
	// "" before. By is "" without a decision in time.
	Decision  string     `json:"decision,omitempty"`
	By        string     `json:"by,omitempty"`
	Comment   string     `json:"comment,omitempty"`
	DecidedAt *time.Time `json:"decidedAt,omitempty"`
	// Repeated is set in the answer to a decision that had been made before: nothing
	// was changed.
	Repeated bool `json:"repeated,omitempty"`
}

// ApproveRequest goes to POST /api/v1/runs/{id}/modules/{module}/approve. The
// answer is the Module.
type ApproveRequest struct {
	Comment string `json:"comment,omitempty"`
}

// RejectRequest goes to POST /api/v1/runs/{id}/modules/{module}/reject. The
// answer is the Module.
type RejectRequest struct {
	Reason string `json:"reason,omitempty"`
}
