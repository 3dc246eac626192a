package wire

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Clock is a duration that travels as "hh:mm:ss[.fff]", as the five protocol
// endpoints have it. Hours may have more than two digits; "d.hh:mm:ss" is read
// too.
type Clock time.Duration

// MarshalJSON writes "hh:mm:ss.fff".
func (c Clock) MarshalJSON() ([]byte, error) {
	d := time.Duration(c)
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	ms := d.Round(time.Millisecond).Milliseconds()
	return fmt.Appendf(nil, `"%s%02d:%02d:%02d.%03d"`, sign, ms/3600000, ms/60000%60, ms/1000%60, ms%1000), nil
}

// UnmarshalJSON reads what MarshalJSON writes; null and "" are zero.
func (c *Clock) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf(`duration %.40s: want a string "hh:mm:ss"`, b)
	}
	d, err := ParseClock(s)
	*c = Clock(d)
	return err
}

// ParseClock reads "hh:mm:ss[.fff]" or "d.hh:mm:ss[.fff]"; "" is zero.
func ParseClock(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	bad := fmt.Errorf(`duration %.40q: want "hh:mm:ss" or "hh:mm:ss.fff"`, s)
	parts := strings.Split(s, ":")
	if len(parts) != 3 || strings.HasPrefix(s, "-") { // "-00" would be read as 0
		return 0, bad
	}
	days := 0
	if d, h, ok := strings.Cut(parts[0], "."); ok {
		n, err := strconv.Atoi(d)
		if err != nil || n < 0 || n > 36500 {
			return 0, bad
		}
		days, parts[0] = n, h
	}
	h, err1 := strconv.Atoi(parts[0])
	m, err2 := strconv.Atoi(parts[1])
	sec, err3 := strconv.ParseFloat(parts[2], 64)
	if err1 != nil || err2 != nil || err3 != nil || h < 0 || h > 900000 || m < 0 || m > 59 || !(sec >= 0 && sec < 60) {
		return 0, bad
	}
	return time.Duration(days)*24*time.Hour + time.Duration(h)*time.Hour + time.Duration(m)*time.Minute +
		time.Duration(sec*float64(time.Second)), nil
}

// ExecuteRequest goes to POST /api/execution/execute, from a client to a node
// (it becomes a run of one module) and from the orchestrator to a worker.
type ExecuteRequest struct {
	ExecutionID string `json:"executionId"`
	// SerializedModule is a JSON object, or a string that holds one.
	SerializedModule     json.RawMessage            `json:"serializedModule"`
	ModuleTypeName       string                     `json:"moduleTypeName"`
	DependencyResults    map[string]json.RawMessage `json:"dependencyResults,omitempty"`
	EnvironmentVariables map[string]string          `json:"environmentVariables,omitempty"`
	WorkingDirectory     string                     `json:"workingDirectory,omitempty"`
	Timeout              Clock                      `json:"timeout,omitempty"`
	Timestamp            time.Time                  `json:"timestamp,omitzero"`
}

// SerializedModule is what ExecuteRequest.SerializedModule holds.
type SerializedModule struct {
	Name    string   `json:"name"`
	Command []string `json:"command,omitempty"`
	Script  string   `json:"script,omitempty"`
	// Inputs is the digest of a tree (GET /api/v1/blobs/{digest}: a JSON array
	// of {path, mode, size, digest}); its files are laid out before the start.
	Inputs  pipeline.Digest `json:"inputs,omitempty"`
	Outputs []string        `json:"outputs,omitempty"`
	// OutputsOptional are globs that may match nothing.
	OutputsOptional []string `json:"outputsOptional,omitempty"`
	Timeout         Clock    `json:"timeout,omitempty"`
	Grace           Clock    `json:"grace,omitempty"`
}

// ExecuteAccepted answers an execution with Prefer: respond-async that has not
// ended: the same execution again is answered with its state.
type ExecuteAccepted struct {
	ExecutionID string `json:"executionId"`
	WorkerID    string `json:"workerId,omitempty"`
}

// ExecuteResponse is the result of an execution: 200 if it succeeded, 500
// with the error's fields if not, and the body of POST
// /api/execution/result. With 202 only ExecutionID and WorkerID are set.
type ExecuteResponse struct {
	ExecutionID string `json:"executionId"`
	Success     bool   `json:"success"`
	// SerializedResult is a JSON text: {"result": {…}, "exitCode": N,
	// "outputs": DIGEST, "log": DIGEST}.
	SerializedResult string    `json:"serializedResult,omitempty"`
	Duration         Clock     `json:"duration"`
	StartTime        time.Time `json:"startTime,omitzero"`
	EndTime          time.Time `json:"endTime,omitzero"`
	WorkerID         string    `json:"workerId,omitempty"`
	ErrorMessage     string    `json:"errorMessage,omitempty"`
	ExceptionType    string    `json:"exceptionType,omitempty"`
	StackTrace       string    `json:"stackTrace,omitempty"`
}

// SerializedResult is what ExecuteResponse.SerializedResult holds.
type SerializedResult struct {
	Result   json.RawMessage `json:"result,omitempty"`
	ExitCode *int            `json:"exitCode,omitempty"`
	Outputs  pipeline.Digest `json:"outputs,omitempty"`
	Log      pipeline.Digest `json:"log,omitempty"`
}

// ResultResponse answers POST /api/execution/result. The sender repeats until
// Committed.
type ResultResponse struct {
	Committed bool   `json:"committed"`
	Reason    string `json:"reason,omitempty"`
}

// CancelExecution goes to POST /api/execution/cancel.
type CancelExecution struct {
	ExecutionID string    `json:"executionId"`
	Reason      string    `json:"reason,omitempty"`
	Timestamp   time.Time `json:"timestamp,omitzero"`
}

// Success answers the protocol's calls that only say whether they worked.
type Success struct {
	Success      bool   `json:"success"`
	ErrorMessage string `json:"errorMessage,omitempty"`
}

// Health answers GET /api/health; with 503 if the node reaches no leader.
type Health struct {
	Status           string          `json:"status"` // healthy or degraded
	NodeID           pipeline.NodeID `json:"nodeId"`
	Node             string          `json:"node"`
	Mode             pipeline.Mode   `json:"mode"`
	Role             string          `json:"role"` // leader, voter, standby, worker
	Leader           string          `json:"leader"`
	Term             uint64          `json:"term"`
	CommitIndex      uint64          `json:"commitIndex"`
	AppliedIndex     uint64          `json:"appliedIndex"`
	Quorum           bool            `json:"quorum"`
	Voters           []string        `json:"voters"`
	AvailableWorkers int             `json:"availableWorkers"`
	CurrentLoad      int             `json:"currentLoad"`
	MaxLoad          int             `json:"maxLoad"`
	Version          string          `json:"version"`
	Timestamp        time.Time       `json:"timestamp"`
	// Reasons say why the status is degraded; none if it is healthy.
	Reasons []string `json:"reasons"`
	// Blobs is what the node's blobs take; absent before they were first counted.
	Blobs *BlobUse `json:"blobs,omitempty"`
	// Leaving is true while the node leaves its cluster; LeaveRefused says why the last
	// attempt failed.
	Leaving      bool   `json:"leaving,omitempty"`
	LeaveRefused string `json:"leaveRefused,omitempty"`
	// Nonce is what the command line's own token must name (settled 13).
	Nonce string `json:"nonce,omitempty"`
}

// BlobUse is what the blobs of a node take on its disk.
type BlobUse struct {
	Blobs int `json:"blobs"`
	// Bytes is the sum of their lengths.
	Bytes int64 `json:"bytes"`
	// At is when they were counted.
	At time.Time `json:"at"`
}

// RegisterRequest goes to POST /api/workers/register.
type RegisterRequest struct {
	WorkerNode WorkerNode `json:"workerNode"`
	Timestamp  time.Time  `json:"timestamp,omitzero"`
}

// WorkerNode is a worker in the protocol's words.
type WorkerNode struct {
	ID           string                `json:"id"`
	Name         string                `json:"name,omitempty"`
	Endpoint     string                `json:"endpoint"`
	Capabilities pipeline.Capabilities `json:"capabilities"`
	CurrentLoad  int                   `json:"currentLoad"`
	// Reserved is what its modules have asked for together.
	Reserved pipeline.Resources `json:"reserved,omitzero"`
	Status   string             `json:"status"`
	External bool               `json:"external,omitempty"`
}

// RegisterResponse answers a registration. Secret is presented by the leader
// as bearer token on every call to the worker's endpoint.
type RegisterResponse struct {
	Success                  bool   `json:"success"`
	WorkerID                 string `json:"workerId,omitempty"`
	HeartbeatIntervalSeconds int    `json:"heartbeatIntervalSeconds,omitempty"`
	Secret                   string `json:"secret,omitempty"`
	ErrorMessage             string `json:"errorMessage,omitempty"`
}

// HeartbeatRequest goes to POST /api/workers/heartbeat.
type HeartbeatRequest struct {
	WorkerID    string    `json:"workerId"`
	CurrentLoad int       `json:"currentLoad"`
	Timestamp   time.Time `json:"timestamp,omitzero"`
}

// HeartbeatResponse answers a heartbeat. Acknowledged false means: register
// again.
type HeartbeatResponse struct {
	Acknowledged bool `json:"acknowledged"`
	ShouldDrain  bool `json:"shouldDrain"`
}

// WorkerList answers GET /api/workers.
type WorkerList struct {
	Workers []WorkerNode `json:"workers"`
}
