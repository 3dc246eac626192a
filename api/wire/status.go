package wire

import (
	"net/http"

	"github.com/pipelined/pipelined/pipeline"
)

// StatusClientClosed is the status of a request that its caller gave up. No
// caller reads it; it appears in the access log.
const StatusClientClosed = 499

// statusOfKind is the program's only table from error kinds to HTTP statuses.
// The API and the peer port both answer by it.
var statusOfKind = map[pipeline.Kind]int{
	pipeline.Internal:        http.StatusInternalServerError,
	pipeline.Invalid:         http.StatusBadRequest,
	pipeline.Unauthenticated: http.StatusUnauthorized,
	pipeline.Forbidden:       http.StatusForbidden,
	pipeline.NotFound:        http.StatusNotFound,
	pipeline.Conflict:        http.StatusConflict,
	pipeline.TooLarge:        http.StatusRequestEntityTooLarge,
	pipeline.Unavailable:     http.StatusServiceUnavailable,
	pipeline.Unknown:         http.StatusServiceUnavailable,
	pipeline.Canceled:        StatusClientClosed,
	pipeline.Timeout:         http.StatusGatewayTimeout,
}

// StatusOf gives the HTTP status that an error of a kind is answered with.
func StatusOf(k pipeline.Kind) int { return statusOfKind[k] }
