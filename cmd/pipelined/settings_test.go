package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// configOf runs `agent` and gives the configuration of the node that it would
// open.
func configOf(c *command, args ...string) (cfg nodeConfig, code int, stderr string) {
	c.open = func(_ context.Context, got nodeConfig) (clusterNode, error) {
		cfg = got
		return nil, io.EOF
	}
	code, _, stderr = c.exec(append([]string{"agent"}, args...)...)
	return cfg, code, stderr
}

// TestAgent_precedence gives one setting from each place: flag, environment,
// file, default.
func TestAgent_precedence(t *testing.T) {
	file := write(t, t.TempDir(), "agent.hcl", "http-port = 3\nmode = \"worker\"\ntag = [\"file\", \"two\"]\nhttp_plain = true\njoin = \"a, b:1\"\n")
	for _, tc := range []struct {
		name string
		env  map[string]string
		args []string
		want func(nodeConfig) any
		is   any
	}{
		{"default", nil, nil, func(c nodeConfig) any { return c.HTTPPort }, 8080},
		{"file", nil, []string{"-config", file}, func(c nodeConfig) any { return c.HTTPPort }, 3},
		{"file by environment", map[string]string{"PIPELINED_CONFIG": file}, nil, func(c nodeConfig) any { return c.HTTPPort }, 3},
		{"environment", map[string]string{"PIPELINED_HTTP_PORT": "2"}, []string{"-config", file}, func(c nodeConfig) any { return c.HTTPPort }, 2},
		{"flag", map[string]string{"PIPELINED_HTTP_PORT": "2"}, []string{"-config", file, "-http-port", "1"}, func(c nodeConfig) any { return c.HTTPPort }, 1},
		{"flag of zero", map[string]string{"PIPELINED_HTTP_PORT": "2"}, []string{"--http-port=0"}, func(c nodeConfig) any { return c.HTTPPort }, 0},
		{"list of a file", nil, []string{"-config", file}, func(c nodeConfig) any { return c.Tags }, []string{"file", "two"}},
		{"list of the environment", map[string]string{"PIPELINED_TAG": "x, y"}, []string{"-config", file}, func(c nodeConfig) any { return c.Tags }, []string{"x", "y"}},
		{"list of flags", map[string]string{"PIPELINED_TAG": "x"}, []string{"-config", file, "-tag", "p", "-tag", "q,r"}, func(c nodeConfig) any { return c.Tags }, []string{"p", "q", "r"}},
		{"text where a list may be", nil, []string{"-config", file, "-bind", "127.0.0.9"}, func(c nodeConfig) any { return c.Join }, []string{"a", "b:1"}},
		{"switch of a file", nil, []string{"-config", file}, func(c nodeConfig) any { return c.HTTPPlain }, true},
		{"switch off by flag", nil, []string{"-config", file, "-http-plain=false"}, func(c nodeConfig) any { return c.HTTPPlain }, false},
		{"switch off by environment", map[string]string{"PIPELINED_HTTP_PLAIN": "false"}, []string{"-config", file}, func(c nodeConfig) any { return c.HTTPPlain }, false},
		{"mode of a file", nil, []string{"-config", file}, func(c nodeConfig) any { return c.Mode }, pipeline.ModeWorker},
		{"default bind", nil, nil, func(c nodeConfig) any { return c.Bind }, "127.0.0.1"},
		{"default data directory", nil, []string{"-bind", "127.0.0.7"}, func(c nodeConfig) any { return c.DataDir }, storage.DefaultDataDir("127.0.0.7")},
		{"default key file", nil, []string{}, func(c nodeConfig) any { return c.KeyFile }, ""},
		{"key file", map[string]string{"PIPELINED_KEY_FILE": "/env"}, nil, func(c nodeConfig) any { return c.KeyFile }, "/env"},
		{"key file by flag", map[string]string{"PIPELINED_KEY_FILE": "/env"}, []string{"-key-file", "/flag"}, func(c nodeConfig) any { return c.KeyFile }, "/flag"},
		{"key itself", map[string]string{"PIPELINED_KEY": keys.Format(make([]byte, 32))}, nil, func(c nodeConfig) any { return c.Key }, make([]byte, 32)},
		{"key file before key", map[string]string{"PIPELINED_KEY": "x"}, []string{"-key-file", "/flag"}, func(c nodeConfig) any { return c.KeyFile }, "/flag"},
		{"dev is embedded", nil, []string{"-dev"}, func(c nodeConfig) any { return c.Embedded }, true},
	} {
		c := newCommand(t, nil)
		delete(c.env, "PIPELINED_KEY_FILE")
		for k, v := range tc.env {
			c.env[k] = v
		}
		cfg, _, stderr := configOf(c, tc.args...)
		if diff := cmp.Diff(tc.is, tc.want(cfg)); diff != "" {
			t.Errorf("%s: %s%s", tc.name, diff, stderr)
		}
	}
}

func TestAgent_wrongSettings(t *testing.T) {
	dir := t.TempDir()
	conf := func(text string) []string { return []string{"conf", text} }
	at := filepath.Join(dir, "c.hcl")
	for _, tc := range []struct {
		env  map[string]string
		args []string
		want string
	}{
		{nil, []string{"-http-port", "x"}, `-http-port "x": expected a number from 0 to 65535`},
		{map[string]string{"PIPELINED_PEER_PORT": "70000"}, nil, `PIPELINED_PEER_PORT "70000": expected a number from 0 to 65535`},
		{nil, conf("gossip-port = -1"), at + `:1:1: gossip-port "-1": expected a number from 0 to 65535`},
		{nil, conf("\n  htp-port = 1"), at + `:2:3: unknown setting "htp-port": did you mean "http_port"?`},
		{nil, conf("zzzzz = 1"), at + `:1:1: unknown setting "zzzzz"`},
		{nil, conf("name = [1]"), at + `:1:1: name: expected a string`},
		{nil, conf("tag = { a = 1 }"), at + `:1:1: tag: expected a list of strings`},
		{nil, conf("http-port = 1\nhttp_port = 2"), "http_port is set twice"},
		{nil, conf("name = \"a\"\nname = \"b\""), at + ":2:1: second attribute \"name\": the first is at "},
		{nil, conf("server {}"), at + `:1:1: unknown block "server": a configuration has settings`},
		{nil, conf("name = "), "missing value"},
		{nil, conf(strings.Repeat("#\n", 150_000)), "c.hcl has 293 KiB: a configuration has at most 256 KiB\n"},
		// All mistakes at once.
		{nil, conf("name =\nnmae = 1"), `true, false, a list […], an object {…}, or a name such as var.NAME; ` + at + `:2:1: unknown setting "nmae": did you mean "name"?`},
		{nil, conf("bnd = 1\nmode = \"x\"\nname = {}"), at + `:1:1: unknown setting "bnd": did you mean "bind"?; ` + at + `:3:1: name: expected a string; ` + at + `:2:1: mode "x": expected one of`},
		{nil, conf("webhook \"a\" {\n url =\n type = []\n}"), `var.NAME; ` + at + `:3:2: unknown setting "type" of a webhook, which has url, types, pipelines, format, secret_file: did you mean "types"?` + "\n"},
		{nil, conf("webhook \"a\" {\n url = \"x\"\n types = []\n}\nwebhook \"a\" {\n url = {}\n x {\n }\n}\nwebhook {\n}"),
			at + `:1:1: webhook "a" has no secret_file; ` + at + `:5:1: webhook "a" is defined twice: the first is at ` + at + `:1; ` + at + `:5:1: webhook "a" has no secret_file; ` + at + `:6:2: url: expected a string; ` + at + `:7:2: unknown block "x" in a webhook: it has url, types, pipelines, format, secret_file; ` + at + `:10:1: a webhook has one name`},
		{nil, conf("webhook \"a\" {\n url = \"x\"\n secret_file = \"/no1\"\n}\nwebhook \"b\" {\n url = \"x\"\n secret_file = \"-\"\n}"),
			at + `:1: webhook "a": secret_file: /no1: no such file or directory; ` + at + `:5: webhook "b": secret_file "-": expected a file`},
		{nil, []string{"-config", "/nowhere.hcl"}, "-config: /nowhere.hcl: no such file or directory"},
		{nil, []string{"-mode", "worke"}, `-mode "worke": expected one of auto, orchestrator, worker, standalone: did you mean "worker"?`},
		{nil, []string{"-max-parallel", "0"}, `-max-parallel "0": expected a number from 1 to 10000`},
		{nil, []string{"-log-level", "loud"}, `-log-level "loud": expected one of trace`},
		{map[string]string{"PIPELINED_KEEP_WORK": "perhaps"}, nil, `PIPELINED_KEEP_WORK "perhaps": expected true or false`},
		{nil, []string{"-bind", "somewhere"}, `-bind "somewhere": expected an IP address, private or public`},
		{nil, []string{"-tls-cert", "x"}, "-tls-cert and -tls-key must be given together"},
		{nil, []string{"-http-plain", "-tls-cert", "x", "-tls-key", "y"}, "-http-plain and -tls-cert exclude each other"},
		{nil, []string{"-print-config", "-name", "a b"}, `-name "a b": at most 63 characters`},
		{nil, []string{"-print-config", "-bind", "0.0.0.0"}, "-bind 0.0.0.0 listens everywhere"},
		{nil, []string{"-sweep-grace", "1s"}, "sweep_grace is a setting without a flag: write sweep_grace = … into the file of -config, or set PIPELINED_SWEEP_GRACE"},
		{nil, conf("nmae = \"x\""), `unknown setting "nmae": did you mean "name"?`},
		{nil, []string{"-dev", "-data-dir", "x"}, "-dev and -data-dir exclude each other"},
		{map[string]string{"PIPELINED_KEY": "short", "PIPELINED_KEY_FILE": ""}, nil, "PIPELINED_KEY: not a cluster key"},
	} {
		c := newCommand(t, nil)
		for k, v := range tc.env {
			c.env[k] = v
		}
		if len(tc.args) > 0 && tc.args[0] == "conf" {
			tc.args = []string{"-config", write(t, dir, "c.hcl", tc.args[1])}
		}
		c.open = func(context.Context, nodeConfig) (clusterNode, error) {
			t.Errorf("%q: a node was opened", tc.args)
			return nil, io.EOF
		}
		code, _, stderr := c.exec(append([]string{"agent"}, tc.args...)...)
		if code != exitUsage || !strings.HasPrefix(stderr, "pipelined: ") || !strings.Contains(stderr, tc.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit %d, %q, want %q", tc.args, code, stderr, tc.want)
		}
	}
}

func TestResolveBind(t *testing.T) {
	for _, join := range [][]string{nil, {"127.0.0.1"}, {"127.0.0.1:7946", "localhost:1"}} {
		if ip, told, err := resolveBind("", join); ip != "127.0.0.1" || told != "" || err != nil {
			t.Errorf("-join %q: %s, %q, %v", join, ip, told, err)
		}
	}
	if ip, told, err := resolveBind("", []string{"no such host"}); ip != "127.0.0.1" || !strings.Contains(told, "no route to no such host") || err != nil {
		t.Errorf("%s, %q, %v", ip, told, err)
	}
	if ip, _, err := resolveBind("0.0.0.0", nil); ip != "0.0.0.0" || err != nil {
		t.Errorf("%s, %v", ip, err)
	}
	for _, word := range []string{"private", "public"} {
		ip, _, err := resolveBind(word, nil)
		if err == nil && ip == "" || err != nil && !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %q, %v", word, ip, err)
		}
	}
}

// TestAgent_dev wants a data directory that is gone after the agent.
func TestAgent_dev(t *testing.T) {
	cfg, _, stderr := configOf(newCommand(t, nil), "-dev")
	if cfg.DataDir == "" || !cfg.Embedded {
		t.Fatalf("%+v: %s", cfg, stderr)
	}
	if _, err := os.Stat(cfg.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", cfg.DataDir, err)
	}
}

// TestAgent_printConfig wants every setting once, with where it comes from, in a
// form that -config reads back to the same settings.
func TestAgent_printConfig(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "agent.hcl", "# limits\nscrub_rate = \"1MiB\"\ntag = [\"js\", \"$${x}\"]\n")
	args := []string{"-config", file, "-name", "n1", "-dev=false", "-data-dir", "/data"}

	c := newCommand(t, nil)
	c.env["PIPELINED_HTTP_PORT"] = "0"
	code, stdout, stderr := c.exec(append([]string{"agent", "-print-config"}, args...)...)
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d: %s", code, stderr)
	}

	lines := map[string]string{}
	for line := range strings.Lines(stdout) {
		value, from, _ := strings.Cut(strings.TrimSpace(line), "  # ")
		key, _, _ := strings.Cut(strings.TrimPrefix(value, "# "), " ")
		lines[key] = strings.TrimSpace(value) + " | " + strings.TrimSpace(strings.TrimLeft(from, "# "))
	}
	for key, want := range map[string]string{
		"name":       `name = "n1" | -name`,
		"http_port":  "http_port = 0 | PIPELINED_HTTP_PORT",
		"scrub_rate": `scrub_rate = "1MiB" | ` + file + ":2",
		"tag":        `tag = ["js", "$${x}"] | ` + file + ":3",
		"bind":       `bind = "127.0.0.1" | default`,
		"dev":        "dev = false | -dev",
		"mode":       `mode = "auto" | default`,
		"low_water":  "# low_water | default: 512MiB or 5 % of the disk, whichever is less",
		"key_file":   `key_file = "` + c.env["PIPELINED_KEY_FILE"] + `" | PIPELINED_KEY_FILE`,
	} {
		if lines[key] != want {
			t.Errorf("%s: got %s, want %s", key, lines[key], want)
		}
	}
	if len(lines) != len(agentTable) {
		t.Errorf("%d lines for %d settings", len(lines), len(agentTable))
	}

	before, _, _ := configOf(c, args...)
	delete(c.env, "PIPELINED_HTTP_PORT")
	again, _, stderr := configOf(c, "-config", write(t, dir, "printed.hcl", stdout))
	if stderr == "" || again.HTTPPort != 0 || again.Limits.ScrubRate != before.Limits.ScrubRate || !slices.Equal(again.Tags, []string{"js", "${x}"}) {
		t.Errorf("the printed configuration reads as %+v: %s", again, stderr)
	}

	if code, stdout, _ := c.exec("agent", "-print-config", "-mode", "worke"); code != exitUsage || stdout != "" {
		t.Errorf("a wrong setting: exit %d, %s", code, stdout)
	}
}

// TestAgent_printConfigKey wants the cluster key itself never printed.
func TestAgent_printConfigKey(t *testing.T) {
	c := newCommand(t, nil)
	delete(c.env, "PIPELINED_KEY_FILE")
	c.env["PIPELINED_KEY"] = keys.Format(make([]byte, 32))
	code, stdout, stderr := c.exec("agent", "-print-config")
	if code != 0 || strings.Contains(stdout, c.env["PIPELINED_KEY"]) || !strings.Contains(stdout, "# PIPELINED_KEY\n") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
}

// TestAgentTable checks the table that flags, help, documentation and
// -print-config follow from.
func TestAgentTable(t *testing.T) {
	flags := len(agentFlags()) + 1 // -key-file is a flag of every command
	if flags > 25 {
		t.Errorf("the agent has %d flags, at most 25 are allowed: new settings are keys of the configuration file", flags)
	}

	seen := map[string]bool{}
	for i := range agentTable {
		s := &agentTable[i]
		if seen[s.name] {
			t.Errorf("%s is defined twice", s.name)
		}
		seen[s.name] = true

		if s.def != "" {
			if err := s.set(&agentSettings{}, []string{s.def}); err != nil {
				t.Errorf("%s: its default %q: %v", s.name, s.def, err)
			}
		}
		if s.usage == "" || s.kind != kindSwitch && strings.Count(s.usage, "`") != 2 {
			t.Errorf("%s: the help %q names no value", s.name, s.usage)
		}
		if s.def != "" && s.computed != "" {
			t.Errorf("%s has two defaults", s.name)
		}
	}
}

// TestAgentTable_documented compares the table of docs/configuration.md with the code.
func TestAgentTable_documented(t *testing.T) {
	const path, begin, end = "../../docs/configuration.md", "<!-- settings: written by go test ./cmd/pipelined -update -->\n", "<!-- end of settings -->\n"

	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the settings", path)
	}

	want := settingsTable()
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-update writes it anew):\n%s", path, diff)
	}
}

var update = flag.Bool("update", false, "write what the documentation says of the settings anew")

// settingsTable is the table of docs/configuration.md.
func settingsTable() string {
	var b strings.Builder
	b.WriteString("| key | flag | default | what it is |\n|---|---|---|---|\n")
	for i := range agentTable {
		s := &agentTable[i]
		flag, def := "", s.computed
		if s.flag != fileOnly {
			flag = "`-" + s.name + "`"
		}
		if s.def != "" {
			def = "`" + s.def + "`"
		}
		if s.kind == kindSwitch {
			def = "`false`"
		}
		usage := strings.NewReplacer("`", "", "|", "\\|").Replace(s.usage)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.key(), flag, def, usage)
	}
	return b.String()
}
