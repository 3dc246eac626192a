package chaos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// maxOverlap is how long two holders of a lock may work at once after one of
// their machines was paused (docs/failure-modes.md), and some time for a busy
// machine.
const maxOverlap = 4 * time.Second

// verifier compares at the end.
type verifier struct {
	c   *cluster
	l   *load
	api *client.Client

	mu    sync.Mutex // guards following
	wrong []string
	count map[string]int
}

func (v *verifier) fail(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count["violations"]++
	if len(v.wrong) < 50 {
		v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
	}
}

func (v *verifier) add(what string, n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count[what] += n
}

// all makes every check. Runs have until the deadline to end.
func (v *verifier) all(ctx context.Context, deadline time.Time) {
	v.listed(ctx)

	work := make(chan submission)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for s := range work {
				v.run(ctx, s, deadline)
			}
		})
	}
	for _, s := range v.l.acked {
		work <- s
	}
	close(work)
	wg.Wait()

	v.starts()
	v.locks("lock", 1)
	v.locks("pair", 2)
	v.outputs()
	v.wrong = append(v.wrong, v.l.errors...)
	v.count["violations"] += len(v.l.errors)
}

// listed compares the runs that the cluster has with those that it acknowledged:
// each is there, and no other.
func (v *verifier) listed(ctx context.Context) {
	acked := map[pipeline.RunID]string{}
	for _, s := range v.l.acked {
		if other, twice := acked[s.id]; twice {
			v.fail("run %s was made by %s and by %s", s.id, other, s.key)
		}
		acked[s.id] = s.key
	}
	cursor := ""
	for {
		list, err := v.api.Runs().List(ctx, client.ListOptions{Limit: 500, Cursor: cursor})
		if err != nil {
			v.fail("list runs: %v", err)
			return
		}
		for i := range list.Runs {
			if acked[list.Runs[i].ID] == "" {
				v.fail("run %s was made by no submission", list.Runs[i].ID)
			}
			delete(acked, list.Runs[i].ID)
		}
		if cursor = list.Cursor; cursor == "" {
			break
		}
	}
	for id, key := range acked {
		v.fail("run %s of %s was acknowledged and is gone", id, key)
	}
}

// run waits for the end of a run and checks its modules, logs and artifacts.
func (v *verifier) run(ctx context.Context, s submission, deadline time.Time) {
	var run wire.Run
	for {
		var err error
		run, err = v.api.Runs().Get(ctx, s.id)
		if err == nil && run.State.Final() {
			break
		}
		if time.Now().After(deadline) {
			v.fail("run %s does not end: %s, %v", s.id, run.State, err)
			return
		}
		<-time.After(200 * time.Millisecond)
	}
	v.add("runs "+string(run.State), 1)
	if run.State != pipeline.RunSucceeded {
		v.fail("run %s %s: %s", s.id, run.State, reasons(&run))
	}

	for i := range run.Modules {
		m := &run.Modules[i]
		succeeded := 0
		for _, a := range m.Attempts {
			v.add("attempts "+string(a.State), 1)
			if a.State == pipeline.AttemptSucceeded {
				succeeded++
			}
		}
		if m.State != pipeline.ModuleSucceeded {
			continue
		}
		// An output that was lost with its nodes is made once more.
		if succeeded != 1 && !strings.Contains(reasons(&run), "output_lost") {
			v.fail("module %s of run %s succeeded %d times", m.Name, s.id, succeeded)
		}
		v.log(ctx, s, m.Name)
		v.artifact(ctx, s, m.Name)
	}
}

// reasons are those of everything in a run.
func reasons(run *wire.Run) string {
	list := []string{run.Reason}
	for _, m := range run.Modules {
		list = append(list, m.Reason)
		for _, a := range m.Attempts {
			list = append(list, fmt.Sprintf("%d %s %s", a.Number, a.State, a.Reason))
		}
	}
	return strings.Join(list, "; ")
}

func (v *verifier) log(ctx context.Context, s submission, module string) {
	want := "artifact of " + s.key
	if module == "a" {
		var b strings.Builder
		for i := range lines {
			fmt.Fprintf(&b, "line %d of %s\n", i, s.key)
		}
		want = b.String()
	}
	r, _, err := v.api.Modules().Log(ctx, s.id, module, client.LogOptions{})
	v.same("log", s, module, want, r, err)
}

func (v *verifier) artifact(ctx context.Context, s submission, module string) {
	file := map[string]string{"a": "out.txt", "b": "copy.txt"}[module]
	r, _, err := v.api.Artifacts().Open(ctx, s.id, module, file)
	v.same("artifact", s, module, "artifact of "+s.key, r, err)
}

func (v *verifier) same(what string, s submission, module, want string, r io.ReadCloser, err error) {
	var got []byte
	if err == nil {
		got, err = io.ReadAll(r)
		r.Close()
	}
	if err != nil || string(got) != want {
		v.fail("%s of %s of run %s: %v, %.200q", what, module, s.id, err, got)
		return
	}
	v.add(what+"s equal", 1)
}

// starts checks what the processes said: no attempt began twice.
func (v *verifier) starts() {
	seen := map[string]bool{}
	for line := range v.truth("starts") {
		if seen[line] {
			v.fail("attempt %q was executed twice", line)
		}
		seen[line] = true
	}
	v.add("executions", len(seen))
}

// truth reads a file that modules wrote.
func (v *verifier) truth(name string) func(func(string) bool) {
	return func(yield func(string) bool) {
		f, err := os.Open(filepath.Join(v.l.truth, name))
		if err != nil {
			return // nothing wrote it
		}
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if !yield(s.Text()) {
				return
			}
		}
	}
}

// hold is the time in which an attempt said that it works under the lock.
type hold struct {
	who      string
	from, to time.Duration
}

// locks checks that no more attempts than limit worked under the lock of a file at the
// same time.
func (v *verifier) locks(file string, limit int) {
	byAttempt := map[string]*hold{}
	var list []*hold
	for line := range v.truth(file) {
		words := strings.Fields(line)
		if len(words) != 3 {
			continue
		}
		seconds, err := strconv.ParseFloat(words[2], 64)
		if err != nil {
			continue
		}
		at, who := time.Duration(seconds*float64(time.Second)), words[0]+" "+words[1]
		h := byAttempt[who]
		if h == nil {
			h = &hold{who: who, from: at, to: at}
			byAttempt[who], list = h, append(list, h)
		}
		h.to = max(h.to, at)
	}
	slices.SortFunc(list, func(a, b *hold) int { return int(a.from - b.from) })
	for i, h := range list {
		var long []string // those that began before it and overlap for too long
		short := 0
		for _, before := range list[:i] {
			if over := min(before.to, h.to) - h.from; over > maxOverlap {
				long = append(long, before.who)
			} else if over > 0 {
				short++
			}
		}
		switch {
		case len(long) >= limit:
			v.fail("the %s was held by %q and %q at once", file, long, h.who)
		case len(long)+short >= limit:
			v.add("lock overlaps after a pause", 1)
		}
	}
	v.add("locks held ("+file+")", len(list))
}

// outputs looks for stack traces in what the agents wrote.
func (v *verifier) outputs() {
	for _, m := range v.c.machines {
		b, err := os.ReadFile(m.LogFile())
		if err != nil {
			v.fail("output of %s: %v", m.Name, err)
			continue
		}
		if trace := harness.CrashIn(b); trace != "" {
			v.fail("%s panicked: %s", m.Name, trace)
		}
	}
}
