package webhook_test

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	reference "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/pipelined/pipelined/internal/webhook"
)

func mustKey(tb testing.TB, secret string) []byte {
	tb.Helper()
	key, err := webhook.ParseSecret(secret)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// The library of the standard accepts what is signed, with either of two secrets, and
// nothing that was changed.
func TestSign(t *testing.T) {
	now, body := time.Now(), []byte(`{"specversion":"1.0"}`)
	first, second := webhook.NewSecret(), webhook.NewSecret()
	header := http.Header{}
	header.Set("webhook-id", "c1-7-0")
	header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	header.Set("webhook-signature", webhook.Sign([][]byte{mustKey(t, first), mustKey(t, second)}, "c1-7-0", now, body))

	for _, secret := range []string{first, second} {
		wh, err := reference.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := wh.Verify(body, header); err != nil {
			t.Errorf("refused: %v", err)
		}
		if wh.Verify([]byte(`{"specversion":"1.1"}`), header) == nil {
			t.Error("another body is accepted")
		}
		other := header.Clone()
		other.Set("webhook-id", "c1-7-1")
		if wh.Verify(body, other) == nil {
			t.Error("another id is accepted")
		}
	}

	wh, err := reference.NewWebhook(webhook.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	if wh.Verify(body, header) == nil {
		t.Error("a third secret is accepted")
	}
}

func TestParseSecret(t *testing.T) {
	for _, bad := range []string{"", "whsec_", "whsec_short", "sk_" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)), "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)), "whsec_!" + strings.Repeat("A", 43)} {
		if _, err := webhook.ParseSecret(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		} else if len(bad) > 12 && strings.Contains(err.Error(), bad[7:]) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	if n := len(mustKey(t, webhook.NewSecret())); n != 32 {
		t.Errorf("a new secret has %d bytes", n)
	}
	if one, two := webhook.NewSecret(), webhook.NewSecret(); one == two {
		t.Error("two secrets are the same")
	}
}
