package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/pipelined/pipelined/test/harness"
)

// TestChaos_cutLink cuts the link between the leader and one other machine. That machine
// knows no leader, and answers calls through the third one, which reaches both: changes,
// repeated with the same key if the answer is lost with the link, and reads.
func TestChaos_cutLink(t *testing.T) {
	readSettings(t)
	c := build(t, 3)
	until(t, harness.Wait, c.whole)
	x := &direct{c: c, token: c.token(), http: http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: c.keys.HTTPClient()}}}
	t.Cleanup(x.http.CloseIdleConnections)
	for round := range 3 {
		leader := c.leader()
		if leader == nil {
			t.Fatal("no leader")
		}
		cut := c.machines[0]
		if cut == leader {
			cut = c.machines[1]
		}

		began := time.Now()
		c.apart(leader, cut, true)
		first := until(t, harness.Wait, func() error { return x.submit(cut, fmt.Sprintf("first-%d", round)) })
		until(t, harness.Wait, func() error {
			if h, err := cut.Health(); err != nil || h.Leader != "" {
				return fmt.Errorf("%s knows the leader %q, %v", cut.Name, h.Leader, err)
			}
			return nil
		})
		var longest time.Duration
		for i := range 20 {
			at := time.Now()
			if err := x.submit(cut, fmt.Sprintf("cut-%d-%d", round, i)); err != nil {
				t.Errorf("%s, whose link to %s is cut: %v", cut.Name, leader.Name, err)
			}
			longest = max(longest, time.Since(at))
		}
		if now := c.leader(); now != leader {
			t.Errorf("%s led, and another does now", leader.Name)
		}
		fmt.Printf("chaos: link between %s and %s cut for %v: the first run after %v, the longest of 20 more took %v\n", leader.Name, cut.Name,
			time.Since(began).Round(time.Millisecond), first.Round(time.Millisecond), longest.Round(time.Millisecond))
		c.apart(leader, cut, false)
		until(t, harness.Wait, c.whole)
	}
}

// direct calls one machine, and no other if that fails.
type direct struct {
	c     *cluster
	token string
	http  http.Client
}

// submit submits a run to a machine, and reads it there.
func (x *direct) submit(m *machine, key string) error {
	doc, err := json.Marshal(map[string]string{"source": `pipeline "p" {` + "\n" + `  module "m" { command = ["true"] }` + "\n}\n", "fileName": "p.hcl"})
	if err != nil {
		return err
	}
	text, err := x.call(m, "POST", "/api/v1/runs", doc, key)
	if err != nil {
		return err
	}
	var run struct{ ID string }
	if err := json.Unmarshal(text, &run); err != nil {
		return err
	}
	_, err = x.call(m, "GET", "/api/v1/runs/"+run.ID, nil, "")
	return err
}

func (x *direct) call(m *machine, method, path string, body []byte, key string) ([]byte, error) {
	req, err := http.NewRequest(method, m.api()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+x.token)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := x.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return text, err
}
