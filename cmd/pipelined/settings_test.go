package main

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

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
		{"default data folder", nil, []string{"-bind", "127.0.0.7"}, func(c nodeConfig) any { return c.DataDir }, storage.DefaultDataDir("127.0.0.7")},
		{"default key file", nil, []string{}, func(c nodeConfig) any { return c.KeyFile }, keys.DefaultFile(storage.DefaultRoot())},
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
		{nil, []string{"-http-port", "x"}, `-http-port "x": want a number from 0 to 65535`},
		{map[string]string{"PIPELINED_PEER_PORT": "70000"}, nil, `PIPELINED_PEER_PORT "70000": want a number from 0 to 65535`},
		{nil, conf("gossip-port = -1"), at + `:1:1: gossip-port "-1": want a number from 0 to 65535`},
		{nil, conf("\n  htp-port = 1"), at + `:2:3: unknown setting "htp-port": did you mean "http-port"?`},
		{nil, conf("zzzzz = 1"), at + `:1:1: unknown setting "zzzzz"`},
		{nil, conf("name = [1]"), at + `:1:1: name: want a text in quotes`},
		{nil, conf("tag = { a = 1 }"), at + `:1:1: tag: want a list of texts`},
		{nil, conf("http-port = 1\nhttp_port = 2"), "http-port is set twice"},
		{nil, conf("name = \"a\"\nname = \"b\""), at + ":2:1: Attribute redefined"},
		{nil, conf("server {}"), at + ":1:1: Unexpected \"server\" block"},
		{nil, conf("name = "), "Missing expression"},
		{nil, []string{"-config", "/nowhere.hcl"}, "-config: /nowhere.hcl: no such file or directory"},
		{nil, []string{"-mode", "worke"}, `-mode "worke": want one of auto, orchestrator, worker, standalone: did you mean "worker"?`},
		{nil, []string{"-max-parallel", "0"}, `-max-parallel "0": want a number from 1 to 10000`},
		{nil, []string{"-log-level", "loud"}, `-log-level "loud": want one of trace`},
		{map[string]string{"PIPELINED_KEEP_WORK": "perhaps"}, nil, `PIPELINED_KEEP_WORK "perhaps": want true or false`},
		{nil, []string{"-bind", "somewhere"}, `-bind "somewhere": want an IP address, private or public`},
		{nil, []string{"-tls-cert", "x"}, "-tls-cert and -tls-key belong together"},
		{nil, []string{"-http-plain", "-tls-cert", "x", "-tls-key", "y"}, "-http-plain and -tls-cert exclude each other"},
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

func TestDevDir(t *testing.T) {
	c := newCommand(t, nil)
	cfg, remove, err := agentCommand{c.environment}.nodeConfig(&agentSettings{dev: true}, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	write(t, cfg.DataDir, "a/b", "x")
	remove()
	if found, _ := filepath.Glob(cfg.DataDir); len(found) != 0 {
		t.Errorf("%s is still there", cfg.DataDir)
	}
}
