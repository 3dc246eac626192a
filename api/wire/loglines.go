package wire

// LogMeta answers GET …/logs?meta=1 of a module. Without an attempt all of it is 0.
type LogMeta struct {
	Attempt int   `json:"attempt"`
	Size    int64 `json:"size"`
	Lines   int64 `json:"lines"`
	// Ended is set if the output will not grow.
	Ended bool `json:"ended"`
}

// LogMatches answers GET …/logs?search=TEXT of a module: the lines that match, from
// the one on that was asked for.
type LogMatches struct {
	Matches []LogMatch `json:"matches"`
	// Next is the line from which there are more matches; 0 if there are none.
	Next int64 `json:"next"`
	// Total is how many lines match in all. Unless Complete, the search took too long, and
	// the rest was not searched.
	Total    int64 `json:"total"`
	Complete bool  `json:"complete"`
}

// LogMatch is the first match in a line: the number of the line, the offset of its
// first byte in the output, and the column in bytes, from 1.
type LogMatch struct {
	Line   int64 `json:"line"`
	Offset int64 `json:"offset"`
	Column int   `json:"column"`
}
