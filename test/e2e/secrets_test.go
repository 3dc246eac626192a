package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// What may be shown nowhere: 40 characters each, with some that URLs, JSON and
// base64 write differently.
const (
	hiddenSecret    = `Kq7/zR"2+vL9&x=mT4<w\8Yc%dG5 nB1?hJ6;pS3`
	hiddenSensitive = `Wf3'uE+8/bN"5&kQ=2rX<7\Zg%mV9 tC4?jH1;aD`
)

// windowLength is how much of a hidden value counts as shown. The module writes
// longer pieces.
const windowLength = 10

// leaks are the texts by which a value is recognised, as a look-up by their first
// windowLength bytes.
func leaks(value string) map[string]string {
	out := map[string]string{}
	add := func(form, text string) {
		for i := 0; i+windowLength <= len(text); i++ {
			out[text[i:i+windowLength]] = form
		}
	}
	add("as it is", value)
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			// Only the characters that hold nothing but bits of the value.
			text := enc.EncodeToString([]byte(strings.Repeat("\x00", shift) + value))
			first, last := (shift*8+5)/6, (shift+len(value))*8/6
			add(fmt.Sprintf("in base64, %d bytes after its start", shift), text[first:last])
		}
	}
	add("in a URL", url.QueryEscape(value))
	add("in a path", url.PathEscape(value))
	add("in hexadecimal", hex.EncodeToString([]byte(value)))
	for _, asJSON := range []func(any) ([]byte, error){json.Marshal, func(v any) ([]byte, error) {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		err := e.Encode(v)
		return []byte(strings.TrimSpace(b.String())), err
	}} {
		if b, err := asJSON(value); err == nil {
			add("in JSON", string(b[1:len(b)-1]))
		}
	}
	return out
}

// shows tells in which form a text shows one of the values, or "".
func shows(text string, hidden map[string]string) string {
	for i := 0; i+windowLength <= len(text); i++ {
		if form, ok := hidden[text[i:i+windowLength]]; ok {
			return fmt.Sprintf("%s (%q)", form, text[i:i+windowLength])
		}
	}
	return ""
}

// secretsPipeline prints the values in every way that masking promises to find:
// in pieces with pauses, encoded, in results and in what becomes a reason. What
// it may show, it shows as control-….
const secretsPipeline = `pipeline "secrets" {
  variable "token" {
    sensitive = true
    default   = ""
  }
  module "show" {
    matrix         = { n = range(6) }
    secrets        = ["HIDDEN"]
    ignore_failure = true
    env            = { TOKEN = var.token }
    script         = <<-SH
      #!/usr/bin/env python3
      import base64, json, os, sys, time, urllib.parse
      out = sys.stdout.buffer
      def write(b, pause=0.0):
          out.write(b)
          out.flush()
          time.sleep(pause)
      write(b"control-" + b"output\n")
      results = {}
      for name in ("HIDDEN", "TOKEN"):
          value = os.environ[name]
          raw = value.encode()
          for piece in (raw[:11], raw[11:24], raw[24:]):
              write(piece, 0.6)
          write(b"\n")
          for shift in range(3):
              coded = base64.b64encode(b"\x00" * shift + raw)
              write(coded[:17], 0.1)
              write(coded[17:] + b"\n")
              results["%s_base64_%d" % (name, shift)] = coded.decode()
          for text in (urllib.parse.quote(value), urllib.parse.quote_plus(value), urllib.parse.quote(value, safe=""),
                       json.dumps({"key": value}), raw.hex()):
              write(text[:9].encode(), 0.1)
              write(text[9:].encode() + b"\n")
          results[name] = "so " + value
          results["%s_url" % name] = urllib.parse.quote(value)
          results["%s_deep" % name] = {"list": [json.dumps(value)]}
      results["control"] = "control-" + "result"
      with open(os.environ["PIPELINED_OUTPUT"], "w") as f:
          json.dump(results, f)
    SH
  }
  module "broken" {
    secrets        = ["HIDDEN"]
    ignore_failure = true
    script         = "printf 'control-%s %s\\n' reason \"$HIDDEN\" >> $PIPELINED_OUTPUT"
  }
  module "failing" {
    secrets        = ["HIDDEN"]
    ignore_failure = true
    script         = "exec \"/nowhere/$HIDDEN\""
  }
  module "absent" {
    ignore_failure = true
    command        = ["control-${"command"} ${var.token}"]
  }
  module "used" {
    command = ["echo", "control-${"later"}", jsonencode(module.show["0"].result), var.token]
  }
}
`

// Secrets and sensitive variables, written by modules on all of three nodes in the
// forms that other tools make of them, while the leader is killed, show in none
// of them: in no file of a node, no answer, no list of processes. Any ten bytes
// in a row count, and what may be seen must be seen.
func TestSecretsShowNowhere(t *testing.T) {
	hidden := leaks(hiddenSecret)
	for text, form := range leaks(hiddenSensitive) {
		hidden[text] = form
	}
	c := harness.Start(t, 3, "-max-parallel", "3", "-log-level", "debug")
	file := c.WriteFile("secrets/pipeline.hcl", secretsPipeline)
	value := c.WriteFile("value", hiddenSecret)
	c.OK("secrets", "set", "-file", value, "-address", c.Nodes[1].URL, "HIDDEN")
	if err := os.Remove(value); err != nil {
		t.Fatal(err)
	}
	plain := c.Env
	c.Env = append(append([]string{}, plain...), "PIPELINED_VAR_token="+hiddenSensitive)
	id := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[2].URL, file))
	c.Env = plain

	testutil.Eventually(t, harness.Wait, func() error {
		if out := c.CLI("logs", "-address", liveURL(c), id).Stdout; !strings.Contains(out, "***") {
			return fmt.Errorf("nothing is masked yet: %s", out)
		}
		return nil
	})
	noProcessShows(t, hidden)
	leader := c.Leader()
	leader.Kill()
	noProcessShows(t, hidden)
	leader.Start()
	c.Whole()
	testutil.Eventually(t, time.Minute, func() error {
		r, err := c.Run(id)
		if err == nil && !r.State.Final() {
			err = fmt.Errorf("the run is %s: %s", r.State, r.Reason)
		}
		if err == nil && r.State != pipeline.RunWarnings {
			t.Fatalf("the run is %s: %s", r.State, r.Reason)
		}
		return err
	})
	answersShowNothing(t, c, id, hidden)
	for _, n := range c.Nodes {
		n.Term() // all is on the disks
	}
	filesShowNothing(t, c.Dir, hidden)
}

// answersShowNothing asks every node for all that is known of the run.
func answersShowNothing(t *testing.T, c *harness.Cluster, id string, hidden map[string]string) {
	t.Helper()
	all := ""
	for _, n := range c.Nodes {
		for _, args := range [][]string{{"logs", id}, {"logs", "-timestamps", id, "show[0]"}, {"status", "-json", id}, {"why", "-json", id}, {"why", id, "broken"},
			{"list", "-json"}, {"secrets", "ls", "-json"}, {"schedules", "-json"}, {"artifacts", id}, {"status", "-json"}} {
			r := c.CLI(append([]string{"-address", n.URL}, args...)...)
			all += r.Stdout + r.Stderr
			if form := shows(r.Stdout+r.Stderr, hidden); form != "" {
				t.Errorf("%s, asked for %v, shows it %s", n.Name, args, form)
			}
		}
	}
	for _, control := range []string{"control-output", "control-result", "control-reason", "control-command", "control-later"} {
		if !strings.Contains(all, control) {
			t.Errorf("no answer has %s: the test looks in the wrong place", control)
		}
	}
}

// noProcessShows looks at the command lines of all processes that there are.
func noProcessShows(t *testing.T, hidden map[string]string) {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		if form := shows(string(b), hidden); form != "" {
			t.Errorf("%s shows it %s", f, form)
		}
	}
}

// unpacked gives what is in a file that may be packed: a blob.
func unpacked(b []byte) []byte {
	if !bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}) { // zstd's frames begin so
		return b
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return b
	}
	defer z.Close()
	plain, err := z.DecodeAll(b, nil)
	if err != nil {
		return b
	}
	return plain
}

// filesShowNothing looks into all that the nodes have written.
func filesShowNothing(t *testing.T, dir string, hidden map[string]string) {
	t.Helper()
	found := map[string]int{"control-output": 0, "control-result": 0, "control-reason": 0}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(path, filepath.Join(dir, "secrets")) {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := string(unpacked(b))
		if form := shows(text, hidden); form != "" {
			t.Errorf("%s shows it %s", path, form)
		}
		for control := range found {
			found[control] += strings.Count(text, control)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for control, n := range found {
		if n == 0 {
			t.Errorf("no file has %s: the test looks in the wrong place", control)
		}
	}
}

// addMaskPipeline names its value at run time, on each node, and then waits for the file
// that lets it go on.
const addMaskPipeline = `pipeline "addmask" {
  module "show" {
    matrix = { n = range(3) }
    script = <<-SH
      cd %[1]s
      VALUE=$(rev value-${matrix.n})
      echo "::add-mask::$VALUE"
      echo "control-output $VALUE"
      touch up-${matrix.n}
      while [ ! -e go ]; do sleep 0.1; done
      echo "$VALUE" | tee /dev/stderr | base64
      echo control-"reason"
      printf '{"control": "control-%%s", "value": "so %%s"}' result "$VALUE" > "$PIPELINED_OUTPUT"
    SH
  }
  module "used" {
    command = ["echo", "control-${"later"}", jsonencode(module.show["0"].result)]
  }
}
`

// What modules mask by their output, with every agent killed in the middle of it, shows in
// no answer and in no file of a node.
func TestAddMask_agentsKilled(t *testing.T) {
	const value = "Zt4-made-at-run-time-9yQ"
	hidden := leaks(value)
	c := harness.Start(t, 3, "-max-parallel", "1", "-log-level", "debug")
	reversed := []byte(value)
	slices.Reverse(reversed)
	apart := t.TempDir()
	for n := range 3 {
		if err := os.WriteFile(filepath.Join(apart, fmt.Sprintf("value-%d", n)), reversed, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	file := c.WriteFile("addmask/pipeline.hcl", fmt.Sprintf(addMaskPipeline, apart))
	id := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[0].URL, file))
	testutil.Eventually(t, harness.Wait, func() error {
		if up, _ := filepath.Glob(filepath.Join(apart, "up-*")); len(up) < 3 {
			return fmt.Errorf("only %q began", up)
		}
		return nil
	})
	for _, n := range c.Nodes {
		n.Kill()
		n.Start()
		c.Whole()
	}
	if err := os.WriteFile(filepath.Join(apart, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, time.Minute, func() error {
		r, err := c.Run(id)
		if err == nil && r.State != pipeline.RunSucceeded {
			err = fmt.Errorf("the run is %s: %s", r.State, r.Reason)
		}
		return err
	})

	all := ""
	for _, n := range c.Nodes {
		for _, args := range [][]string{{"logs", id}, {"logs", "-timestamps", id, "show[0]"}, {"status", "-json", id}, {"why", "-json", id}, {"events", "-json"}} {
			r := c.CLI(append([]string{"-address", n.URL}, args...)...)
			all += r.Stdout + r.Stderr
			if form := shows(r.Stdout+r.Stderr, hidden); form != "" {
				t.Errorf("%s, asked for %v, shows it %s", n.Name, args, form)
			}
		}
	}
	for _, control := range []string{"control-output ***", "control-result", "control-later", "so ***"} {
		if !strings.Contains(all, control) {
			t.Errorf("no answer has %s: the test looks in the wrong place", control)
		}
	}
	for _, n := range c.Nodes {
		n.Term() // all is on the disks
	}
	filesShowNothing(t, c.Dir, hidden)
}
