package keys

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// TokenPrefix begins every token made from the cluster key.
const TokenPrefix = "pk_"

// TokenLife is how long such a token is good for, by the server's clock.
const TokenLife = 60 * time.Second

// maxToken bounds what VerifyToken looks at.
const maxToken = 2048

// ErrBadToken is returned for everything that is not a valid token. It says no
// more, since it is an attacker who would learn from it.
var ErrBadToken = errors.New("the token is not valid")

// Claims is what a token made from the cluster key says.
type Claims struct {
	// Subject is who made it, for the audit.
	Subject string `json:"s"`
	// Role is what it allows: read, submit, worker or admin.
	Role string `json:"r"`
	// Expires is in seconds since 1970, by the clock of the server.
	Expires int64 `json:"e"`
	// Node is the server that it is for; it is worthless elsewhere.
	Node pipeline.NodeID `json:"n"`
	// Nonce is what that server handed out.
	Nonce string `json:"c"`
}

// MintToken makes a token of the given claims. A holder of the cluster key can
// make any: it proves that, and nothing else.
func (k *Keys) MintToken(c Claims) (string, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	enc := base64.RawURLEncoding
	return TokenPrefix + enc.EncodeToString(body) + "." + enc.EncodeToString(k.mac(body)), nil
}

// VerifyToken reads a token that is meant for the given node, was made with our
// key, and has not expired at now. The caller checks that the nonce is one it
// handed out. Tokens that are good for longer than TokenLife are refused.
func (k *Keys) VerifyToken(token string, node pipeline.NodeID, now time.Time) (Claims, error) {
	rest, ok := strings.CutPrefix(token, TokenPrefix)
	if !ok || len(token) > maxToken {
		return Claims{}, ErrBadToken
	}
	b, m, ok := strings.Cut(rest, ".")
	if !ok {
		return Claims{}, ErrBadToken
	}
	enc := base64.RawURLEncoding.Strict()
	body, err := enc.DecodeString(b)
	if err != nil {
		return Claims{}, ErrBadToken
	}
	mac, err := enc.DecodeString(m)
	if err != nil || !hmac.Equal(mac, k.mac(body)) {
		return Claims{}, ErrBadToken
	}
	var c Claims
	if err := json.Unmarshal(body, &c); err != nil {
		return Claims{}, ErrBadToken
	}
	left := time.Unix(c.Expires, 0).Sub(now)
	if c.Node != node || c.Role == "" || left <= 0 || left > TokenLife+time.Second {
		return Claims{}, ErrBadToken
	}
	return c, nil
}

// Nonce makes a nonce that this key's holders can recognize for a while
// without keeping it: it names its time. It lets a server hand out nonces by
// health answers and remember nothing.
func (k *Keys) Nonce(node pipeline.NodeID, now time.Time) string {
	stamp := fmt.Sprintf("%x", now.Unix())
	return stamp + "-" + k.nonceSum(node, stamp)
}

// CheckNonce reports whether the node handed the nonce out within TokenLife.
func (k *Keys) CheckNonce(nonce string, node pipeline.NodeID, now time.Time) bool {
	stamp, sum, ok := strings.Cut(nonce, "-")
	if !ok || len(nonce) > 64 || !hmac.Equal([]byte(sum), []byte(k.nonceSum(node, stamp))) {
		return false
	}
	var sec int64
	if _, err := fmt.Sscanf(stamp, "%x", &sec); err != nil {
		return false
	}
	age := now.Sub(time.Unix(sec, 0))
	return age >= -time.Second && age <= TokenLife
}

func (k *Keys) nonceSum(node pipeline.NodeID, stamp string) string {
	m := k.mac([]byte("nonce\x00" + string(node) + "\x00" + stamp))
	return base64.RawURLEncoding.EncodeToString(m[:12])
}

func (k *Keys) mac(b []byte) []byte {
	h := hmac.New(sha256.New, k.token)
	h.Write(b)
	return h.Sum(nil)
}
