package monitoring

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/test/harness"
)

// measured and rounds are the variables that ask for the tests that measure for long.
const (
	measured = "PIPELINED_MEASURE_FOR"
	rounds   = "PIPELINED_MEASURE_ROUNDS"
)

// viewers are open dashboards: each reads one stream, as a tab does, and counts what
// comes.
type viewers struct {
	done          sync.WaitGroup
	events, bytes atomic.Int64
}

// watch opens n streams of topics at a node, until ctx ends. A stream that breaks is
// opened again.
func (v *viewers) watch(ctx context.Context, n int, node *harness.Node, token string, topics ...string) {
	address := node.URL + "/api/v1/stream?" + url.Values{"topic": topics}.Encode()
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 0}}
	for range n {
		v.done.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				v.read(ctx, client, address, token)
			}
		})
	}
}

func (v *viewers) read(ctx context.Context, client *http.Client, address, token string) {
	req, err := http.NewRequestWithContext(ctx, "GET", address, nil)
	if err != nil {
		return
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	if err != nil {
		return
	}
	defer res.Body.Close()
	for r := bufio.NewReader(res.Body); ; {
		line, err := r.ReadSlice('\n')
		v.bytes.Add(int64(len(line)))
		if bytes.HasPrefix(line, []byte("event:")) {
			v.events.Add(1)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// submitter asks for runs without a process for each.
type submitter struct{ node, token string }

// run asks for a run of a pipeline.
func (s submitter) run(ctx context.Context, source string) (wire.RunCreated, error) {
	var out wire.RunCreated
	body, err := json.Marshal(wire.SubmitRequest{Source: source, FileName: "p.hcl"})
	if err != nil {
		return out, err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", s.node+"/api/v1/runs", bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return out, err
	}
	if res.StatusCode != http.StatusCreated {
		return out, fmt.Errorf("POST runs: %d %s", res.StatusCode, text)
	}
	return out, json.Unmarshal(text, &out)
}

// anonymous is the memory of a process that is no file's, in KiB.
func anonymous(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("/proc has no RssAnon")
	return 0
}

// Ten viewers and a run a second, of which 500 are kept: after an hour, nodes take no
// more memory than after 20 minutes. PIPELINED_MEASURE_FOR=60m asks for it; less time is
// divided alike.
func TestViewers_memory(t *testing.T) {
	span, err := time.ParseDuration(os.Getenv(measured))
	if err != nil {
		t.Skip(measured + " is not set to a time, like 60m")
	}
	c := harness.New(t)
	c.Env = append(c.Env, "PIPELINED_KEEP_RUNS=500")
	for range 3 {
		c.Add()
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	c.Whole()
	leader := c.Leader()
	token := strings.TrimSpace(c.OK("token", "create", "-role", "submit", "-address", leader.URL))

	ctx, cancel := context.WithCancel(t.Context())
	var open viewers
	defer open.done.Wait()
	defer cancel()
	open.watch(ctx, 10, leader, token, "runs", "cluster")

	// A sample is the memory of each node, in each sixtieth of the time.
	var samples [][]int
	began, runs, failed := time.Now(), 0, 0
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for time.Since(began) < span {
		<-second.C
		if _, err := (submitter{c.Nodes[runs%3].URL, token}).run(ctx, small); err != nil {
			if failed++; failed < 10 {
				t.Log(err)
			}
		}
		runs++
		if due := int(time.Since(began) * 60 / span); due > len(samples) {
			var now []int
			for _, n := range c.Nodes {
				now = append(now, anonymous(t, n.PID()))
			}
			samples = append(samples, now)
			t.Logf("%2d/60: %d runs, %d failed, %d events, %.1f MB to viewers; RssAnon in KiB %v; load %s", due, runs, failed, open.events.Load(),
				float64(open.bytes.Load())/1e6, now, load(t))
		}
	}

	for i, n := range c.Nodes {
		early, late := median(samples, i, 18, 22), median(samples, i, 56, 60)
		t.Logf("%s%s: %d KiB after a third, %d KiB at the end: %+.1f %%", n.Name, mark(n == leader), early, late, 100*float64(late-early)/float64(early))
		if late > early+early/10 {
			t.Errorf("%s takes more than 10 %% more memory at the end", n.Name)
		}
	}
}

const small = "pipeline \"small\" {\n  workspace { exclude = [\"**\"] }\n  module \"m\" { command = [\"true\"] }\n}\n"

func mark(leads bool) string {
	if leads {
		return " (led at the beginning)"
	}
	return ""
}

// median is that of a node's samples from one to another.
func median(samples [][]int, node, from, to int) int {
	var list []int
	for _, s := range samples[min(from, len(samples)-1):min(to, len(samples))] {
		list = append(list, s[node])
	}
	slices.Sort(list)
	return list[len(list)/2]
}

// load is how busy the machine is.
func load(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))[0]
}
