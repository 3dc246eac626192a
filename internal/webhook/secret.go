package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// secretPrefix begins every secret.
	secretPrefix = "whsec_"
	// secretBytes is how long a new secret is; the standard asks for 24 to 64 bytes.
	secretBytes, minSecret, maxSecret = 32, 24, 64
)

// NewSecret makes a secret.
func NewSecret() string {
	key := make([]byte, secretBytes)
	_, _ = rand.Read(key) // never fails
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// ParseSecret gives the key in a secret. The error never shows it.
func ParseSecret(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret {
		return nil, pipeline.Errorf(pipeline.Invalid, "not a secret of a webhook: expected %s and %d to %d bytes in base64", secretPrefix, minSecret, maxSecret)
	}
	return key, nil
}

// Sign gives the signatures of a message, one for each key: the value of the header
// webhook-signature.
func Sign(keys [][]byte, id string, at time.Time, body []byte) string {
	var b strings.Builder
	for i, key := range keys {
		h := hmac.New(sha256.New, key)
		fmt.Fprintf(h, "%s.%s.", id, strconv.FormatInt(at.Unix(), 10))
		h.Write(body)
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("v1,")
		b.WriteString(base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return b.String()
}
