package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// timeEmbedded runs a shape with `pipelined run`, on the node inside that very
// process, and returns the time from the run's acceptance to its end.
func (p *product) timeEmbedded(s shape, argv []string) (time.Duration, error) {
	dir, err := os.MkdirTemp(p.dir, "run-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "bench.hcl")
	if err := os.WriteFile(file, []byte(hcl(s, argv)), 0o600); err != nil {
		return 0, err
	}

	out, err := commandEnv(5*time.Minute, p.env, dir, p.bin, "run", "-json", "-quiet", "-data-dir", filepath.Join(p.dir, "run"), file)
	if err != nil {
		return 0, err
	}

	// A document for each change; the last one is the end.
	var r wire.Run
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var next wire.Run
		if err := dec.Decode(&next); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return 0, fmt.Errorf("read what run -json printed: %w", err)
		}
		r = next
	}

	if r.State != pipeline.RunSucceeded || r.FinishedAt == nil {
		return 0, fmt.Errorf("run -json says %q at last, want the run's end", r.State)
	}

	return r.FinishedAt.Sub(r.SubmittedAt), nil
}

// lastEnd waits until all runs have succeeded and returns the end of the last.
func (c *cluster) lastEnd(a *agent, ids []string) (time.Time, error) {
	var last time.Time
	err := eventually(2*time.Minute, 10*time.Millisecond, func() error {
		var list wire.RunList
		if err := c.call(a, "GET", fmt.Sprintf("/api/v1/runs?limit=%d", len(ids)), nil, &list); err != nil {
			return err
		}

		want := map[string]bool{}
		for _, id := range ids {
			want[id] = true
		}

		last = time.Time{}
		for _, r := range list.Runs {
			if !want[string(r.ID)] || r.FinishedAt == nil {
				continue
			}
			delete(want, string(r.ID))
			if r.FinishedAt.After(last) {
				last = *r.FinishedAt
			}
		}

		if len(want) > 0 {
			return fmt.Errorf("%d of %d runs have not ended", len(want), len(ids))
		}

		return nil
	})

	return last, err
}

func trim(s string) string { return strings.TrimSpace(s) }
