package gossip

import (
	"errors"
	"fmt"
	"log"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// repeatAfter is the minimum interval between two lines of the same kind.
const repeatAfter = 10 * time.Second

// bridge returns a logger for memberlist whose lines go to hclog: at a lower
// level if they are about ordinary events, reworded if an operator should act,
// each kind at most once in repeatAfter. keyName is the origin of this node's
// cluster key.
func bridge(to hclog.Logger, keyName string) *log.Logger {
	return log.New(&bridgeWriter{log: to, keyName: keyName, seen: map[string]time.Time{}}, "", 0)
}

type bridgeWriter struct {
	log     hclog.Logger
	keyName string

	mu   sync.Mutex // guards following
	seen map[string]time.Time
}

var (
	fromAddr = regexp.MustCompile(`from=(\S+)`)
	numbers  = regexp.MustCompile(`[0-9a-f]*[0-9][0-9a-f.:]*`)
)

// Write processes one line of memberlist's.
func (w *bridgeWriter) Write(p []byte) (int, error) {
	line := strings.TrimSpace(string(p))
	level := hclog.Info
	for prefix, l := range map[string]hclog.Level{"[DEBUG]": hclog.Debug, "[INFO]": hclog.Debug,
		"[WARN]": hclog.Debug, "[ERR]": hclog.Debug, "[ERROR]": hclog.Debug} {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			line, level = strings.TrimSpace(rest), l
		}
	}

	line = strings.TrimPrefix(line, "memberlist: ")
	switch {
	case strings.Contains(line, `unacceptable label ""`):
		// A node of another key has another label: this is a probe of the port, or a
		// connection that was given up before it said anything.
		line = sender(line) + " connected and named no cluster"
	case strings.Contains(line, "unacceptable label"), strings.Contains(line, "no installed keys could decrypt"),
		strings.Contains(line, "packet label header"):
		wrong := WrongKeyError{Addr: sender(line), KeyName: w.keyName}
		level, line = hclog.Warn, wrong.Error()
	case strings.Contains(line, "gives up its own empty cluster"):
	case strings.Contains(line, "refused "):
		level = hclog.Warn
		if i := strings.Index(line, "refused "); i >= 0 {
			line = line[i:]
		}
	case strings.HasPrefix(line, "Conflicting address"):
		level = hclog.Warn
	}

	if level > hclog.Debug && w.repeated(line) {
		level = hclog.Trace
	}

	w.log.Log(level, line)

	return len(p), nil
}

// sender is the address that a line names.
func sender(line string) string {
	if m := fromAddr.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return "a node"
}

// repeated reports whether a line of this kind was logged within repeatAfter. The
// number of kinds is bounded by forgetting all when there are too many.
func (w *bridgeWriter) repeated(line string) bool {
	kind := line
	if len(kind) > 400 {
		kind = kind[:400]
	}

	if strings.Contains(line, differentKey) {
		kind = numbers.ReplaceAllString(kind, "N")
	}

	w.mu.Lock()
	defer w.mu.Unlock()

	now := time.Now()
	if last, ok := w.seen[kind]; ok && now.Sub(last) < repeatAfter {
		return true
	}

	if len(w.seen) > 256 {
		clear(w.seen)
	}

	w.seen[kind] = now

	return false
}

const differentKey = " uses a different cluster key than "

// WrongKeyError is in the chain of Join's error if the other node closes the
// connection without an answer: it has another cluster key, or none.
type WrongKeyError struct {
	// Addr is the other node, KeyName the origin of this node's key; "" if
	// unknown.
	Addr, KeyName string
}

// Error names the node and our key.
func (e *WrongKeyError) Error() string {
	name := e.KeyName
	if name == "" {
		name = "this node"
	}
	return e.Addr + differentKey + name
}

// ErrOtherPort is in the chain of Join's error if something else than gossip answers at
// the address.
var ErrOtherPort = errors.New("is not the gossip port of a node: join takes HOST, or HOST:PORT with the number of its -gossip-port")

// explain rewords memberlist's error of a join.
func (g *Gossip) explain(addr string, err error) error {
	if err == nil {
		return nil
	}

	text := err.Error()

	// memberlist lists its errors; there is one, as there was one address.
	if _, rest, ok := strings.Cut(text, "* "); ok {
		text = strings.TrimSpace(rest)
	}

	if i := strings.Index(text, "refused "); i >= 0 && !strings.Contains(text, "connection refused") {
		return errors.New(text[i:])
	}

	if errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(text, "connection refused") {
		return fmt.Errorf("%s: connection refused", addr)
	}

	// Nodes always encrypt, so who answers in the clear is no node, or another of its ports.
	if strings.Contains(text, "remote state is not encrypted") {
		return fmt.Errorf("%s %w", addr, ErrOtherPort)
	}

	// A node that cannot decrypt our message closes the connection without an
	// answer; with encryption there is no other sign.
	for _, sign := range []string{"EOF", "connection reset", "label", "decrypt", "encrypted", "broken pipe"} {
		if strings.Contains(text, sign) {
			return &WrongKeyError{Addr: addr, KeyName: g.cfg.KeyName}
		}
	}

	text = strings.TrimPrefix(text, "failed to join "+addr+": ")

	return fmt.Errorf("%s: %s", addr, text)
}
