package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// lines is how long the log of a module is.
const lines = 20

// source is a pipeline. What a module does it also writes to files outside of the
// cluster: who started, and, under a lock, who works when.
func source(kind, key, truth string) string {
	begin := fmt.Sprintf(`echo "$PIPELINED_RUN_ID $PIPELINED_MODULE $PIPELINED_ATTEMPT" >> %s`, filepath.Join(truth, "starts"))
	talk := fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo \"line $i of %s\"; i=$((i+1)); done; printf 'artifact of %s' > out.txt", lines, key, key)
	work := ""
	switch kind {
	case "long":
		work = "sleep 4"
	case "lock", "pair":
		work = fmt.Sprintf(`j=0; while [ $j -lt 6 ]; do echo "$PIPELINED_RUN_ID $PIPELINED_ATTEMPT $(cut -d' ' -f1 /proc/uptime)" >> %s; sleep 0.1; j=$((j+1)); done`,
			filepath.Join(truth, kind))
	}

	var b strings.Builder
	b.WriteString("pipeline \"chaos\" {\n  workspace { exclude = [\"**\"] }\n")
	fmt.Fprintf(&b, "  module \"a\" {\n    script  = <<EOT\n%s\n%s\n%s\nEOT\n    outputs = [\"out.txt\"]\n", begin, talk, work)
	switch kind {
	case "lock":
		b.WriteString("    not_in_parallel = [\"chaos\"]\n")
	case "pair":
		b.WriteString("    not_in_parallel = { pair = 2 }\n")
	}
	b.WriteString("  }\n")
	if kind == "chain" {
		fmt.Fprintf(&b, "  module \"b\" {\n    depends_on = [module.a]\n    script     = <<EOT\n%s\ncat out.txt\ncp out.txt copy.txt\nEOT\n    outputs    = [\"copy.txt\"]\n  }\n", begin)
	}
	b.WriteString("}\n")
	return b.String()
}

// kindOf chooses what the pipeline of a key does.
func kindOf(n int) string {
	switch n % 20 {
	case 0, 7:
		return "lock"
	case 2, 8, 12:
		return "pair"
	case 3:
		return "long"
	case 5, 10, 15, 18:
		return "chain"
	}
	return "short"
}

// submission is a run that was acknowledged.
type submission struct {
	n   int
	key string
	id  pipeline.RunID
}

// load submits runs until it is stopped.
type load struct {
	c     *cluster
	token string
	truth string
	// every is the pause between two runs of one submitter.
	every time.Duration

	mu    sync.Mutex // guards following
	next  int
	acked []submission
	// last is when the last run was acknowledged, longest the longest time without
	// one.
	last    time.Time
	longest time.Duration
	errors  []string
}

// keyOf is the idempotency key of a run, and what its log says.
func keyOf(n int) string { return fmt.Sprintf("key-%06d", n) }

// submit submits runs one after the other. Each is repeated with its key until it
// is acknowledged; some are sent twice although they were.
func (l *load) submit(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		l.mu.Lock()
		n := l.next
		l.next++
		l.mu.Unlock()

		s := submission{n: n, key: keyOf(n)}
		l.once(rng, &s)
		if rng.IntN(20) == 0 {
			again := s
			l.once(rng, &again)
			if again.id != s.id {
				l.fail("key %s made run %s, and then run %s", s.key, s.id, again.id)
			}
		}
		l.acknowledged(s)
		select {
		case <-ctx.Done():
		case <-time.After(l.every):
		}
	}
}

// once submits until there is an answer: a run that was begun must be known.
func (l *load) once(rng *rand.Rand, s *submission) {
	order := rng.Perm(len(l.c.machines))
	machines := make([]*machine, len(order))
	for i, j := range order {
		machines[i] = l.c.machines[j]
	}
	api, err := l.c.client(l.token, machines...)
	if err != nil {
		l.fail("client: %v", err)
		return
	}
	defer api.CloseIdle()
	deadline := time.Now().Add(10 * time.Minute)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		out, err := api.Runs().Submit(ctx, s.key, wire.SubmitRequest{Source: source(kindOf(s.n), s.key, l.truth), FileName: "chaos.hcl"})
		cancel()
		if err == nil {
			s.id = out.ID
			return
		}
		kind := pipeline.KindOf(err)
		if time.Now().After(deadline) || kind == pipeline.Invalid || kind == pipeline.Conflict || kind == pipeline.Forbidden {
			l.fail("submit %s: %v", s.key, err)
			return
		}
		<-time.After(100 * time.Millisecond)
	}
}

func (l *load) acknowledged(s submission) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.id == "" {
		return
	}
	l.acked = append(l.acked, s)
	now := time.Now()
	l.longest = max(l.longest, now.Sub(l.last))
	l.last = now
}

// fail notes what must not happen.
func (l *load) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors = append(l.errors, fmt.Sprintf(format, args...))
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}
