package wire

// The headers of the protocol that HTTP itself does not know.
const (
	// HeaderRequestID names a request in answers and logs. A caller may choose
	// it; the server makes one otherwise.
	HeaderRequestID = "X-Request-Id"
	// HeaderIdempotencyKey makes a repeated POST harmless: printable ASCII, at
	// most MaxIdempotencyKey bytes.
	HeaderIdempotencyKey = "Idempotency-Key"
	// HeaderTraceParent, HeaderTraceState and HeaderBaggage are those of W3C: the trace
	// that a submission is part of.
	HeaderTraceParent = "Traceparent"
	HeaderTraceState  = "Tracestate"
	HeaderBaggage     = "Baggage"
	// HeaderKind is the pipeline.Kind of a failure, for answers whose body is
	// not a problem document.
	HeaderKind = "X-Pipelined-Kind"
	// HeaderNode is the name of the node whose answer this is.
	HeaderNode = "X-Pipelined-Node"
	// HeaderIndex is the raft index that an answer reflects. HeaderStale is set
	// on an answer to ?stale=1 that did not come from the leader; HeaderLag says
	// how many committed entries that node had not applied, or "unknown" if it
	// knows no leader.
	HeaderIndex = "X-Pipelined-Index"
	HeaderStale = "X-Pipelined-Stale"
	HeaderLag   = "X-Pipelined-Lag"
	// HeaderAttempt, HeaderOffset, HeaderSize and HeaderFinal describe a log:
	// whose it is, where the body begins, how much there is, and whether it will
	// not grow.
	HeaderAttempt = "X-Pipelined-Attempt"
	HeaderOffset  = "X-Pipelined-Offset"
	HeaderSize    = "X-Pipelined-Size"
	HeaderFinal   = "X-Pipelined-Final"
	// HeaderLine is the number of the first line of a body, from 1, HeaderLines how
	// many lines there are.
	HeaderLine  = "X-Pipelined-Line"
	HeaderLines = "X-Pipelined-Lines"
	// HeaderMode holds the permission bits of an artifact, in octal.
	HeaderMode = "X-Pipelined-Mode"
	// HeaderNotExecuted is set on a refusal that surely changed nothing, since
	// the node that was asked is not the one that may.
	HeaderNotExecuted = "X-Pipelined-Not-Executed"
)

// ProtoCluster is what a client offers by ALPN that wants a certificate of the
// cluster's authority, whatever certificate the port has besides. It never speaks
// it: what is chosen is the HTTP that it offers too.
const ProtoCluster = "pipelined-cluster"

// Headers between nodes. They are honoured on the peer port only; the public
// port drops them.
const (
	// HeaderForwardedBy is the id of the node that passed the request on. A
	// request that has it is not passed on again, unless HeaderRelay is set as well.
	HeaderForwardedBy = "X-Forwarded-By"
	// HeaderRelay is set by a node that knows no leader: the other one may pass the
	// request on to the leader that it knows, once.
	HeaderRelay = "X-Pipelined-Relay"
	// HeaderSubject (percent-encoded), HeaderRole, HeaderWorker and HeaderUntrusted say
	// on whose behalf the request is.
	HeaderSubject   = "X-Pipelined-Subject"
	HeaderRole      = "X-Pipelined-Role"
	HeaderWorker    = "X-Pipelined-Worker"
	HeaderUntrusted = "X-Pipelined-Untrusted"
	// HeaderUse is the id of that caller's token, if it has a number of uses.
	HeaderUse = "X-Pipelined-Use"
	// HeaderLoopback is set if that caller reached the node over loopback.
	HeaderLoopback = "X-Pipelined-Loopback"
)

// MaxIdempotencyKey bounds an idempotency key, in bytes.
const MaxIdempotencyKey = 200

// The types of server-sent events in a followed log.
const (
	EventLog    = "log"     // a piece of output
	EventEnd    = "end"     // an attempt ended
	EventRunEnd = "run-end" // the run ended and every log was sent
	EventBye    = "bye"     // the node stops: go on at another one
	EventError  = "error"   // the stream broke; the data is a Problem
)
