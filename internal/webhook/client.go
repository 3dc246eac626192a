package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// answerTime bounds one delivery: from the look-up of the name to the last byte of
	// the answer that is read.
	answerTime = 15 * time.Second
	// maxAnswer bounds how much of an answer is kept, in bytes.
	maxAnswer = 512
	// mediaType is that of an event in the JSON form of CloudEvents.
	mediaType = "application/cloudevents+json"
)

// Target is where a hook sends, and the keys with which it signs.
type Target struct {
	Hook string
	URL  string
	Keys [][]byte
	// Plain receivers get JSON that is no CloudEvent, and not signed: Keys is empty.
	Plain bool
}

// Message is an event as it is sent. The id is the same whenever it is sent.
type Message struct {
	ID   string
	Body []byte
	// Build makes Body when the message is sent, if it is set.
	Build func(ctx context.Context) ([]byte, error)
}

// Answer is what came of sending a message.
type Answer struct {
	// At is when it was sent, Took how long the answer took.
	At   time.Time
	Took time.Duration
	// Status is that of the answer, 0 if there was none. Text is the begin of its body,
	// or why there was none.
	Status int
	Text   string
}

// OK reports whether the receiver has acknowledged the message.
func (a *Answer) OK() bool { return a.Status >= 200 && a.Status < 300 }

// Gone reports whether the receiver wants no more messages.
func (a *Answer) Gone() bool { return a.Status == http.StatusGone }

// String says what came of it, in a few words.
func (a *Answer) String() string {
	switch {
	case a.Status == 0:
		return a.Text
	case a.Status >= 300 && a.Status < 400:
		return fmt.Sprintf("%s; redirects are not followed", statusText(a.Status))
	}
	return statusText(a.Status)
}

func statusText(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

// Client sends messages.
type Client struct {
	http  *http.Client
	agent string
}

// NewClient makes a client that sends where the rules allow it. version is that of the
// program.
func NewClient(rules Rules, version string) *Client {
	dialer := &net.Dialer{Timeout: answerTime, Control: rules.control}
	return &Client{agent: "pipelined/" + version, http: &http.Client{
		// A proxy of the environment would be dialled instead of the receiver, and so
		// pass by the rules.
		Transport: &http.Transport{
			Proxy: nil, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
			DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
			TLSHandshakeTimeout: answerTime, MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Send sends a message once.
func (c *Client) Send(ctx context.Context, to *Target, m *Message) Answer {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()

	a := Answer{At: time.Now()}
	res, err := c.post(ctx, to, m, a.At)
	if err != nil {
		a.Took, a.Text = time.Since(a.At), failureText(err)
		return a
	}
	defer res.Body.Close()

	// A body that breaks off does not take back what the status says.
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	a.Took, a.Status, a.Text = time.Since(a.At), res.StatusCode, cleanText(text)
	return a
}

func (c *Client) post(ctx context.Context, to *Target, m *Message, at time.Time) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, bytes.NewReader(m.Body))
	if err != nil {
		return nil, err
	}

	h := req.Header
	h.Set("User-Agent", c.agent)
	if to.Plain {
		h.Set("Content-Type", "application/json")
		return c.http.Do(req)
	}
	h.Set("Content-Type", mediaType)
	h.Set("Webhook-Id", m.ID)
	h.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
	h.Set("Webhook-Signature", Sign(to.Keys, m.ID, at, m.Body))
	return c.http.Do(req)
}

// failureText says why there was no answer. The method and the address in front of
// errors of net/http are left out: the address may have a secret in it.
func failureText(err error) string {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s", answerTime)
	}
	return cleanText([]byte(err.Error()))
}

// cleanText makes text of a receiver fit for a line of a list.
func cleanText(b []byte) string {
	s := strings.ToValidUTF8(string(b), "")
	s = strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t' || c == '\r':
			return ' '
		case c < ' ' || c >= 0x7f && c < 0xa0 || c == '\u2028' || c == '\u2029' || c >= '\u202a' && c <= '\u202e' || c >= '\u2066' && c <= '\u2069':
			return -1
		}
		return c
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	for len(s) > maxAnswer {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}
