package wire

// Estimate answers POST /api/v1/estimate, whose body is a SubmitRequest: what the
// run would look like on the workers there are, were they idle.
type Estimate struct {
	// Known says that something is known of how long the modules take. Else the
	// seconds are 0, and the path is empty.
	Known   bool    `json:"known"`
	Seconds float64 `json:"seconds"`
	// CriticalPath is the chain of modules that takes longest, and how long: no
	// number of workers makes the run shorter than that.
	CriticalPath        []string         `json:"criticalPath"`
	CriticalPathSeconds float64          `json:"criticalPathSeconds"`
	Modules             []ModuleEstimate `json:"modules"`
}

// ModuleEstimate is one module of an Estimate.
type ModuleEstimate struct {
	Name string `json:"name"`
	// ExpectedSeconds is how long it takes: the median of what its newest
	// successes took. Unset where there is none.
	ExpectedSeconds float64 `json:"expectedSeconds,omitempty"`
	// StartSeconds and EndSeconds are counted from the begin of the run.
	StartSeconds float64 `json:"startSeconds"`
	EndSeconds   float64 `json:"endSeconds"`
	// Worker is a node name.
	Worker string `json:"worker,omitempty"`
	// Waits says why it would not start.
	Waits string `json:"waits,omitempty"`
	// Succeeded, Failed and Other count how it ended so far.
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
	Other     int `json:"other"`
}
