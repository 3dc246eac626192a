package wire

import (
	"time"
)

// SecretRequest goes to PUT /api/v1/secrets/{name}. No answer ever holds the
// value.
type SecretRequest struct {
	Value string `json:"value"`
}

// SecretInfo describes a secret, without its value. Unmasked says that its value is too
// short to be masked in output.
type SecretInfo struct {
	Name     string    `json:"name"`
	SetAt    time.Time `json:"setAt"`
	SetBy    string    `json:"setBy,omitempty"`
	Unmasked bool      `json:"unmasked,omitempty"`
}

// SecretList answers GET /api/v1/secrets.
type SecretList struct {
	Secrets []SecretInfo `json:"secrets"`
}
