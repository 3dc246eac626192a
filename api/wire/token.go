package wire

import (
	"time"
)

// TokenRequest goes to POST /api/v1/tokens; TokenCreated answers, and is the
// only time that the token itself is seen.
type TokenRequest struct {
	Name       string  `json:"name,omitempty"`
	Role       string  `json:"role"`
	TTLSeconds float64 `json:"ttlSeconds,omitempty"`
	// Untrusted, with the role submit: no other submission reads what runs of this
	// token leave in caches.
	Untrusted bool `json:"untrusted,omitempty"`
	// Uses, with the roles submit and worker, is how many runs the token may begin, or
	// workers may register with it; 0 is any number.
	Uses int `json:"uses,omitempty"`
	WorkerScope
}

// WorkerScope is what a token of the role worker admits. Tags are what its workers
// may claim, Pipelines are patterns of the pipelines whose modules they get; without
// any, that is every one. Secrets admits modules that have secrets.
type WorkerScope struct {
	Tags      []string `json:"tags,omitempty"`
	Pipelines []string `json:"pipelines,omitempty"`
	Secrets   bool     `json:"secrets,omitempty"`
}

// TokenCreated is a new token.
type TokenCreated struct {
	TokenInfo
	Token string `json:"token"`
}

// TokenInfo is what is kept of a token.
type TokenInfo struct {
	ID        string     `json:"id"`
	Name      string     `json:"name,omitempty"`
	Role      string     `json:"role"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	Untrusted bool       `json:"untrusted,omitempty"`
	// Used of Uses are taken; without Uses there is no bound.
	Uses int `json:"uses,omitempty"`
	Used int `json:"used,omitempty"`
	// SignIn is set for the token of a browser that signed in.
	SignIn bool `json:"signIn,omitempty"`
	WorkerScope
}

// TokenList answers GET /api/v1/tokens.
type TokenList struct {
	Tokens []TokenInfo `json:"tokens"`
}
