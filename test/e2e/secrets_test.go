package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// A secret of 40 characters and a sensitive variable, printed in pieces, in
// base64, in a URL and inside JSON, put into a result and into an output file's
// name, while the leader is killed: neither is found anywhere but in the
// processes that were given it.
func TestSecretsShowNowhere(t *testing.T) {
	const secret = `s3cr3t/+"\quoted&=?%~0123456789abcdefXYZ`
	const variable = "an open word that must not be seen 42"
	c := harness.Start(t, 3)
	c.OK("secrets", "set", "-address", c.Nodes[2].URL, "-file", c.WriteFile("given/token", secret), "TOKEN")
	if err := os.RemoveAll(filepath.Join(c.Dir, "given")); err != nil {
		t.Fatal(err)
	}
	gate := filepath.Join(c.Dir, "go")
	file := c.WriteFile("p/leaks.hcl", fmt.Sprintf(`pipeline "leaks" {
  workspace {
    exclude = ["**"]
  }
  variable "word" {
    sensitive = true
  }
  module "print" {
    secrets = ["TOKEN"]
    env     = { WORD = var.word }
    timeout = "1m"
    script  = <<-SH
      echo "whole: $TOKEN and $WORD"
      printf 'pieces: '
      printf %%s "$TOKEN" | fold -w 7 | while IFS= read -r piece || test -n "$piece"; do printf %%s "$piece"; sleep 0.05; done
      echo
      for lead in '' a ab; do printf '%%s%%s' "$lead" "$TOKEN" | base64 -w 0; echo; done
      for lead in '' a ab; do printf '%%s%%s' "$lead" "$WORD" | base64 | tr -d '\n'; echo; done
      printf '%%s\n' '{"token": "s3cr3t/+\"\\quoted&=?%%~0123456789abcdefXYZ"}'
      printf '%%s\n' 'https://example.com/?t=%[2]s'
      until test -e %[1]s; do sleep 0.05; done
      echo "shown=$TOKEN" >> "$PIPELINED_OUTPUT"
      echo "after: $TOKEN" >&2
    SH
  }
  module "use" {
    command = ["echo", "got", module.print.result.shown, var.word]
  }
  module "fail" {
    depends_on     = ["use"]
    secrets        = ["TOKEN"]
    ignore_failure = true
    script         = "exec \"/nowhere/$TOKEN\""
  }
}
`, gate, url.QueryEscape(secret)))
	values := c.WriteFile("vars/values.hcl", fmt.Sprintf("word = %q\n", variable))
	id := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[0].URL, "-var-file", values, file))
	if err := os.RemoveAll(filepath.Join(c.Dir, "vars")); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, harness.Wait, func() error {
		r := c.CLI("logs", "-address", liveURL(c), id, "print")
		if r.Code != 0 || !strings.Contains(r.Stdout, "example.com") {
			return fmt.Errorf("exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
	found := needles(secret, variable)
	found.commandLines(t)
	leader := c.Leader()
	leader.Kill()
	c.WriteFile("go", "")
	leader.Start()
	c.Whole()
	harness.Eventually(t, time.Minute, func() error {
		r, err := c.Run(id)
		if err == nil && !r.State.Final() {
			err = fmt.Errorf("run %s is %s", id, r.State)
		}
		if err == nil && r.State != pipeline.RunWarnings {
			t.Fatalf("run %s is %s: %s", id, r.State, r.Reason)
		}
		return err
	})
	for _, n := range c.Nodes {
		for _, args := range [][]string{{"status", "-json", id}, {"status", id}, {"logs", id}, {"logs", id, "print"}, {"logs", id, "fail"}, {"why", id}, {"why", id, "print"},
			{"list", "-json"}, {"secrets", "ls", "-json"}, {"artifacts", id}} {
			r := c.CLI(append(args, "-address", n.URL)...)
			found.in(t, strings.Join(args, " ")+" at "+n.Name, []byte(r.Stdout+r.Stderr))
		}
	}
	if out := c.OK("logs", "-address", c.Nodes[1].URL, id, "use"); !strings.Contains(out, "got *** ***") {
		t.Errorf("the module that takes the result printed %q", out)
	}
	found.files(t, c.Dir)
	for _, n := range c.Nodes {
		n.Term()
	}
	found.files(t, c.Dir)
}

// needle is a form of a value that must not be found.
type needle struct {
	what string
	text []byte
}

type haystack []needle

// needles are the values as they are, in base64 wherever they may begin, in URLs
// and in JSON, whole and in parts of 16 bytes.
func needles(values ...string) haystack {
	var list haystack
	for i, v := range values {
		for name, text := range map[string]string{"": v, " in a URL": url.QueryEscape(v), " in JSON": strings.ReplaceAll(strings.ReplaceAll(v, `\`, `\\`), `"`, `\"`)} {
			list = append(list, needle{fmt.Sprintf("value %d%s", i, name), []byte(text)})
		}
		list = append(list, needle{fmt.Sprintf("the middle of value %d", i), []byte(v[12:28])})
		for lead := range 3 {
			text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("a", lead) + v))
			list = append(list, needle{fmt.Sprintf("value %d in base64, %d bytes after a start", i, lead), []byte(text[4 : len(text)-4])})
		}
	}
	return list
}

func (h haystack) in(t *testing.T, place string, b []byte) {
	t.Helper()
	for _, n := range h {
		if i := bytes.Index(b, n.text); i >= 0 {
			t.Errorf("%s shows %s: %q", place, n.what, b[max(0, i-60):min(len(b), i+len(n.text)+20)])
		}
	}
}

// files looks into everything that the agents have on disk.
func (h haystack) files(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // swept meanwhile
		}
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, "leaks.hcl") {
			return err
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		h.in(t, path, b)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// commandLines looks at what ps shows of all processes.
func (h haystack) commandLines(t *testing.T) {
	t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(list) == 0 {
		t.Fatalf("no processes: %v", err)
	}
	for _, path := range list {
		if b, err := os.ReadFile(path); err == nil {
			h.in(t, path, b)
		}
	}
}
