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

// repeatAfter is how often the same kind of line is let through.
const repeatAfter = 10 * time.Second

// bridge gives memberlist a logger whose lines go to hclog: lowered where they
// are ordinary life, put plainly where people should act, each kind at most
// once in repeatAfter.
func bridge(to hclog.Logger) *log.Logger {
	return log.New(&bridgeWriter{log: to, seen: map[string]time.Time{}}, "", 0)
}

type bridgeWriter struct {
	log hclog.Logger

	mu   sync.Mutex // guards following
	seen map[string]time.Time
}

var (
	fromAddr = regexp.MustCompile(`from=(\S+)`)
	numbers  = regexp.MustCompile(`[0-9a-f]*[0-9][0-9a-f.:]*`)
)

// Write takes one line of memberlist's.
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
	case strings.Contains(line, "unacceptable label"), strings.Contains(line, "no installed keys could decrypt"),
		strings.Contains(line, "remote state is not encrypted"), strings.Contains(line, "packet label header"):
		level, line = hclog.Warn, speaker(line)+" does not speak with our cluster key"
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

func speaker(line string) string {
	if m := fromAddr.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return "somebody"
}

// repeated reports whether a line of this kind was let through of late. The
// number of kinds is bounded by forgetting all when there are too many.
func (w *bridgeWriter) repeated(line string) bool {
	kind := line
	if len(kind) > 400 {
		kind = kind[:400]
	}
	if strings.HasSuffix(line, "cluster key") {
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

// ErrWrongKey is in the chain of Join's error where the other side hangs up on
// us: it has another cluster key, or none.
var ErrWrongKey = errors.New("does not speak with our cluster key")

// explain puts memberlist's error of a join into words for people. Refusals
// keep their type.
func explain(addr string, err error) error {
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
		return fmt.Errorf("%s: nobody listens there", addr)
	}
	// Who cannot read us hangs up without a word; encryption leaves nothing
	// else to tell by.
	for _, sign := range []string{"EOF", "connection reset", "label", "decrypt", "encrypted", "broken pipe"} {
		if strings.Contains(text, sign) {
			return fmt.Errorf("%s %w", addr, ErrWrongKey)
		}
	}
	text = strings.TrimPrefix(text, "failed to join "+addr+": ")
	return fmt.Errorf("%s: %s", addr, text)
}
