package wire

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// WhoAmI answers GET /api/v1/whoami: who calls, and at which node.
type WhoAmI struct {
	Name string `json:"name"`
	Role string `json:"role"`
	// TokenID and ExpiresAt are of a token of the cluster that has an end.
	TokenID   string     `json:"tokenId,omitempty"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	Untrusted bool       `json:"untrusted,omitempty"`

	Node      string          `json:"node"`
	NodeID    pipeline.NodeID `json:"nodeId"`
	ClusterID string          `json:"clusterId"`
	Version   string          `json:"version"`
	// Addresses are the base URLs of the nodes, that of this one first.
	Addresses []string `json:"addresses"`
}

// SignInCode answers POST /api/v1/signin/codes. URL opens the dashboard of the node
// that was asked, and hands over the code.
type SignInCode struct {
	Code      string    `json:"code"`
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// SignInRequest goes to POST /api/v1/signin.
type SignInRequest struct {
	Code string `json:"code"`
}

// SignedIn answers it: a token that every node accepts until ExpiresAt.
type SignedIn struct {
	Token     string    `json:"token"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	ExpiresAt time.Time `json:"expiresAt"`
}
