package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language/bounded"
)

// TestUsage_errors wants one clear line and exit code 2 for every mistake.
func TestUsage_errors(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"statsu"}, `unknown command "statsu": did you mean "status"?`},
		{[]string{"lsit"}, `unknown command "lsit": did you mean "list"?`},
		{[]string{"token", "nope"}, `unknown token command "nope": the commands are create, ls, rm (see pipelined token -h)`},
		{[]string{"runs"}, `unknown command "runs": did you mean "list"?`},
		{[]string{"list", "-n", "3"}, `unknown flag -n of list: did you mean "-limit"?`},
		{[]string{"list", "-n=3"}, `unknown flag -n of list: did you mean "-limit"?`},
		{[]string{"logs", "-n", "3", "r1"}, `unknown flag -n of logs: did you mean "-tail"?`},
		{[]string{"run", "-detach", "f"}, "unknown flag -detach of run: pipelined submit -detach gives the run to a cluster and returns at once"},
		{[]string{"submit", "-wait"}, "unknown flag -wait of submit: not needed: submit follows the run to its end"},
		{[]string{"retry", "1", "--background=yes"}, `unknown flag -background of retry: did you mean "-detach"?`},
		{[]string{"plan", "-f", "x.hcl"}, "unknown flag -f of plan: FILE is an argument: pipelined plan FILE"},
		{[]string{"cancel", "-detach", "1"}, "unknown flag -detach of cancel: submit and retry take it (see pipelined cancel -h)"},
		{[]string{"top", "-json"}, "unknown flag -json of top: other commands take it (see pipelined top -h)"},
		{[]string{"-detach", "submit"}, "unknown flag -detach: it stands behind its command, as in pipelined submit -detach"},
		{[]string{"locks", "-x"}, "unknown flag -x of locks (see pipelined locks -h)"},
		{[]string{"-x"}, "unknown flag -x (see pipelined help)"},
		{[]string{"ci.hcl"}, `unknown command "ci.hcl": did you mean "run ci.hcl"?`},
		{[]string{"members", "rm", "n1"}, `unknown members command "rm": did you mean "remove"?`},
		{[]string{"secrets", "delete", "X"}, `unknown secrets command "delete": did you mean "rm"?`},
		{[]string{"secrets", "set", "X", "geheim"}, "secrets set: the value is read from standard input, or from the file of -file, not from the command line: " +
			`printf %s "$VALUE" | pipelined secrets set X, or pipelined secrets set -file FILE X`},
		{[]string{"secrets", "set", "X=geheim"}, "secrets set: the value is read from standard input, or from the file of -file, not from the command line: " +
			`printf %s "$VALUE" | pipelined secrets set X, or pipelined secrets set -file FILE X`},
		{[]string{"secrets", "set", "-value=geheim", "X"}, "unknown flag -value of secrets set: the value is read from standard input, or from the file of -file"},
		{[]string{"agent", "-address", "10.0.0.1"}, "agent: -address names the node that a command talks to: write -bind ADDRESS for the address of this node, -join HOST to join a cluster"},
		{[]string{"run", "-address", "10.0.0.1", "f"}, "run: runs on a node of its own and takes no -address: pipelined submit gives the run to a cluster"},
		{[]string{"zzzzzz"}, `unknown command "zzzzzz" (see pipelined help)`},
		{[]string{"token"}, "token: missing command: create, ls or rm (see pipelined token -h)"},
		{[]string{"token", "crate"}, `unknown token command "crate": did you mean "create"?`},
		{[]string{"help", "submti"}, `unknown command "submti": did you mean "submit"?`},
		{[]string{"status", "-jsno"}, `unknown flag -jsno of status: did you mean "-json"?`},
		{[]string{"status", "--adress", "x"}, `unknown flag -adress of status: did you mean "-address"?`},
		{[]string{"-tokn", "x", "status"}, `unknown flag -tokn: did you mean "-token"?`},
		{[]string{"status", "-address"}, "-address needs a value"},
		{[]string{"list", "-limit", "many"}, `-limit "many": expected a whole number`},
		{[]string{"list", "-limit", "-3"}, "-limit -3: expected 0 or more"},
		{[]string{"cache", "prune", "-all", "-unused", "1h"}, "cache prune: -all excludes -unused and -max-size"},
		{[]string{"cache", "prune", "-all", "-max-size", "1GiB"}, "cache prune: -all excludes -unused and -max-size"},
		{[]string{"list", "-state", "faild"}, `-state "faild": expected one of waiting, running, cancelling, succeeded, succeeded_with_warnings, failed, cancelled: did you mean "failed"?`},
		{[]string{"list", "extra"}, `unexpected argument "extra": list takes no argument`},
		{[]string{"wait", "r1", "-timeout", "soon"}, `-timeout "soon": expected a duration such as 90s or 5m`},
		{[]string{"wait", "r1", "-timeout", "-1s"}, "-timeout -1s: expected a positive duration such as 90s"},
		{[]string{"submit"}, "submit: no FILE is given, and this directory has no pipeline.hcl: pipelined init writes one"},
		{[]string{"graph"}, "graph: no FILE is given, and this directory has no pipeline.hcl: pipelined init writes one"},
		{[]string{"run", "a.hcl", "b.hcl"}, `unexpected argument "b.hcl": run takes at most one FILE`},
		{[]string{"plan", ".github/workflows/ci.yml"}, ".github/workflows/ci.yml is a file of another tool: a pipeline is written in HCL; pipelined init writes one for this directory, pipelined convert makes one of a workflow of GitHub Actions or a DAG of Dagu"},
		{[]string{"init", "nowhere"}, "init: nowhere: no such file or directory"},
		{[]string{"init", "main.go"}, "init: main.go is no directory: init takes the directory of a project"},
		{[]string{"submit", "nofile.hcl"}, "read pipeline: nofile.hcl does not exist: pipelined init writes one"},
		{[]string{"submit", "."}, "read pipeline: . is a directory, and a FILE is expected: pipelined init writes one"},
		{[]string{"validate", "-var", "x", "f"}, "read pipeline: f does not exist: pipelined init writes one"},
		{[]string{"status", "No Run"}, `run "No Run": expected an id or the beginning of one, a number, PIPELINE/NUMBER, last or PIPELINE/last`},
		{[]string{"logs", "r1", "-attempt", "2"}, "logs: -attempt needs MODULE"},
		{[]string{"logs", "r1", "a b"}, `logs: "a b" cannot be the name of a module`},
		{[]string{"logs", "r1", "build", "-attempt=-1"}, "-attempt -1: attempts are counted from 1"},
		{[]string{"artifacts", "r1", "-o", ""}, "artifacts: -o names no directory"},
		{[]string{"drain"}, "drain: missing NODE (see pipelined drain -h)"},
		{[]string{"drain", "n", "-off", "-deadline", "5s"}, "drain: -off and -deadline exclude each other"},
		{[]string{"token", "create"}, "token create: missing -role (read, submit, worker, admin)"},
		{[]string{"token", "create", "-role", "admn"}, `-role "admn": expected one of read, submit, worker, admin: did you mean "admin"?`},
		{[]string{"token", "create", "-role", "read", "-ttl", "1ms"}, "-ttl 1ms: expected at least a second"},
		{[]string{"token", "create", "-role", "read", "-ttl", "0"}, `-ttl "0": expected a time such as 90m, 36h or 30d`},
		{[]string{"cache", "prune", "-unused", "30"}, `-unused "30": expected a time such as 90m, 36h or 30d`},
		{[]string{"status", "-address", "http://a:b:c"}, `address "http://a:b:c": expected HOST:PORT, or a URL that begins with http:// or https://`},
		{[]string{"events", "-since", "x"}, `-since "x": expected a time such as 2026-03-01T12:00:10Z, or a duration such as 10m or 2d, or the index of an event`},
		{[]string{"events", "-limit", "0"}, "-limit 0: expected 1 to 1000"},
		{[]string{"history", "p", "-compare", "1,2"}, "history: -compare excludes PIPELINE"},
		{[]string{"history", "-compare", ""}, "-compare: expected RUN or RUN,RUN"},
		{[]string{"history", "p", "-limit", "0"}, "-limit 0: expected 1 to 200"},
		{[]string{"approvals", "r1"}, `unexpected argument "r1": approvals takes no argument`},
		{[]string{"agent", "extra"}, `unexpected argument "extra": agent takes no argument`},
	} {
		c := newCommand(t, nil)
		c.env["PIPELINED_TOKEN"] = "x"
		code, stdout, stderr := c.exec(tc.args...)
		if code != exitUsage || stdout != "" || stderr != "pipelined: "+tc.want+"\n" {
			t.Errorf("%q: exit %d, stdout %q, stderr\n%swant\npipelined: %s", tc.args, code, stdout, stderr, tc.want)
		}
	}
}

// TestMain lets this binary be its own helper for expensive expressions.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == bounded.Command {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	if filepath.Base(os.Args[0]) == "pipelined" { // for shells that complete
		main()
	}
	os.Exit(runTests(m))
}

// runTests runs the tests with a state directory of their own.
func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "pipelined-test-state-*")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv("XDG_STATE_HOME", dir); err != nil {
		panic(err)
	}
	return m.Run()
}

// Each flag whose value is parsed says what it expects, not what strconv says.
func TestUsage_wanted(t *testing.T) {
	var check func(cmd *cli.Command)
	check = func(cmd *cli.Command) {
		for _, f := range cmd.Flags {
			switch f.(type) {
			case *cli.StringFlag, *cli.StringSliceFlag:
			default:
				if wantedBy(f) == "" {
					t.Errorf("%s -%s is a %T, of which wantedBy knows nothing", cmd.Name, f.Names()[0], f)
				}
			}
		}
		for _, sub := range cmd.Commands {
			check(sub)
		}
	}
	check((&program{env: newCommand(t, nil).environment}).command())
}

func TestUsage_help(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"-help"}, {"--help"}, {"help", "agent"}, {"agent", "-h"}, {"token", "-help"}, {"help", "token", "create"}} {
		code, stdout, stderr := newCommand(t, nil).exec(args...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "USAGE:") || strings.Contains(stdout, "--") {
			t.Errorf("%q: exit %d, stderr %q, stdout\n%s", args, code, stderr, stdout)
		}
	}
	code, stdout, stderr := newCommand(t, nil).exec()
	if lines := strings.Count(stderr, "\n"); code != exitUsage || stdout != "" || !strings.Contains(stderr, "submit") || lines > 13 {
		t.Errorf("without a command: exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// Every command has a group, and the groups are in the order of their use.
func TestHelp_groups(t *testing.T) {
	_, help, _ := newCommand(t, nil).exec("help")
	if code, same, _ := newCommand(t, nil).exec("-h"); code != 0 || same != help {
		t.Errorf("-h: exit %d, and differs from help:\n%s", code, same)
	}
	at := 0
	for _, title := range []string{groupRun, groupLook, groupNodes, groupState, groupOperate, "FLAGS OF EVERY COMMAND", "EXIT CODES"} {
		i := strings.Index(help, "\n"+title+":\n")
		if i < at {
			t.Errorf("%s is not there, or out of order:\n%s", title, help)
		}
		at = i
	}
	if strings.Contains(help, "\n:\n") || strings.Contains(help, "   man ") {
		t.Errorf("a command without a group, or a hidden one:\n%s", help)
	}
}

// TestExitCodes sends every kind of refusal through a command.
func TestExitCodes(t *testing.T) {
	for kind, want := range map[pipeline.Kind]struct{ status, code int }{
		pipeline.Internal: {500, 1}, pipeline.Invalid: {400, 2}, pipeline.Unauthenticated: {401, 4}, pipeline.Forbidden: {403, 4},
		pipeline.NotFound: {404, 2}, pipeline.Conflict: {409, 1}, pipeline.TooLarge: {413, 2}, pipeline.Timeout: {504, 6},
	} {
		f := newFakeCluster(t)
		f.refuse["GET /api/v1/runs/r1"] = wire.Problem{Status: want.status, Kind: kind.String(), Detail: "no,\nbecause \x1b[31mof this"}
		code, stdout, stderr := newCommand(t, f).exec("status", "r1")
		if code != want.code || stdout != "" || stderr != "pipelined: no,; because [31mof this\n" {
			t.Errorf("%s: exit %d, want %d; stdout %q, stderr %q", kind, code, want.code, stdout, stderr)
		}
	}
}

func TestStatus_run(t *testing.T) {
	f := newFakeCluster(t)
	f.add(finished("r1", pipeline.RunFailed))
	c := newCommand(t, f)
	code, stdout, stderr := c.exec("status", "r1", "-address", f.address())
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	for _, want := range []string{"run       r1 (number 7)", "state     failed", "modules   1 succeeded, 1 failed", "by ada",
		"MODULE  STATE      WORKER  ATTEMPTS  EXIT  TOOK  REASON", "test    failed     node-2  1         3     3.0s  exit code 3"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	if code, _, _ = c.exec("-json=true", "status", "r1"); code != exitUsage {
		t.Errorf("-json before the command: exit %d", code)
	}
	code, stdout, _ = c.exec("status", "-json", "r1")
	var doc map[string]any
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil || code != 0 {
		t.Fatalf("exit %d, %v in %s", code, err, stdout)
	}
	module := doc["modules"].([]any)[1].(map[string]any)
	for _, key := range []string{"name", "state", "reason", "worker", "exitCode", "outputs", "attempts"} {
		if _, ok := module[key]; !ok || module[key] == nil {
			t.Errorf("module has no %q: %v", key, module)
		}
	}
	if code, _, stderr := c.exec("status", "r9"); code != exitUsage || stderr != "pipelined: no run \"r9\"\n" {
		t.Errorf("unknown run: exit %d, %q", code, stderr)
	}
}

func TestStatus_cluster(t *testing.T) {
	f := newFakeCluster(t)
	f.add(finished("r1", pipeline.RunSucceeded))
	c := newCommand(t, f)
	code, stdout, stderr := c.exec("status")
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	for _, want := range []string{"cluster  healthy", "leader   node-1 (term 3), voters node-1", "nodes    1, 1 of 4 slots in use",
		"node-1  alive   leader  auto  1/4", "r1   7       release   succeeded  2/2      10s ago    5.0s"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	_, stdout, _ = c.exec("status", "-json")
	var doc clusterState
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil || doc.Health.Node != "node-1" || len(doc.Runs) != 1 || len(doc.Members) != 1 {
		t.Errorf("%v: %+v", err, doc)
	}
}

// TestStatus_check gives the state of the cluster by the exit code, for monitoring.
func TestStatus_check(t *testing.T) {
	f, other := newFakeCluster(t), newFakeCluster(t)
	f.members = append(f.members, wire.Member{ID: "n2", Name: "node-2", HTTP: other.address(), Status: "alive"},
		wire.Member{ID: "n3", Name: "node-3", HTTP: "127.0.0.1:1", Status: "failed", MaxLoad: 4, CurrentLoad: 2})
	other.health.NodeID, other.health.Node = "n2", "node-2"
	for _, tc := range []struct {
		own, others []string
		leader      string
		code        int
		want        string
	}{
		{nil, nil, "node-1", exitOK, "cluster  healthy\n"},
		{[]string{"a"}, []string{"a", "disk low"}, "node-1", exitFailed, "cluster  degraded\n         a\n         node-2: disk low\n"},
		{nil, []string{"disk low"}, "node-1", exitFailed, "cluster  degraded\n         node-2: disk low\n"},
		{[]string{"no leader"}, nil, "", exitUnavailable, "cluster  degraded\n         no leader\n"},
	} {
		f.health.Reasons, f.health.Leader, f.health.Quorum, f.health.Status = tc.own, tc.leader, tc.leader != "", "healthy"
		other.health.Reasons = tc.others
		c := newCommand(t, f)
		if code, stdout, stderr := c.exec("status", "-check"); code != tc.code || stdout != tc.want || stderr != "" {
			t.Errorf("%v, %v: exit %d, %q, %q", tc.own, tc.others, code, stdout, stderr)
		}
		code, stdout, _ := c.exec("status")
		if wantCode := map[bool]int{true: exitOK, false: exitUnavailable}[tc.leader != ""]; code != wantCode || !strings.HasPrefix(stdout, tc.want) {
			t.Errorf("status: exit %d, %s", code, stdout)
		}
		if !strings.Contains(stdout, "nodes    3, 1 of 4 slots in use") || !strings.Contains(stdout, "node-3  failed  -       -     -     127") {
			t.Errorf("the load of a node that failed:\n%s", stdout)
		}
	}
	if code, _, stderr := newCommand(t, f).exec("status", "-check", "r1"); code != exitUsage || !strings.Contains(stderr, "takes no RUN") {
		t.Errorf("with a run: exit %d, %s", code, stderr)
	}
}

func TestMembers_remove(t *testing.T) {
	f := newFakeCluster(t)
	c := newCommand(t, f)
	if code, stdout, stderr := c.exec("members", "remove", "node-2"); code != 0 || stdout != "" || stderr != "removed node-2\n" {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	if !slices.Equal(f.removed, []string{"node-2"}) {
		t.Errorf("removed %v", f.removed)
	}
	if code, _, stderr := c.exec("members", "remove"); code != exitUsage || !strings.Contains(stderr, "missing NODE") {
		t.Errorf("without a name: exit %d, %q", code, stderr)
	}
}

func TestList(t *testing.T) {
	f := newFakeCluster(t)
	for i := range 450 {
		r := finished(pipeline.RunID("r"+string(rune('a'+i%26))+strings.Repeat("x", i/26)), pipeline.RunSucceeded)
		f.add(r)
	}
	f.add(finished("bad", pipeline.RunFailed))
	c := newCommand(t, f)
	for _, tc := range []struct {
		args []string
		want int
	}{
		{nil, 20}, {[]string{"-limit", "3"}, 3}, {[]string{"-limit", "0"}, 451}, {[]string{"-limit", "300"}, 300}, {[]string{"-state", "failed"}, 1},
	} {
		code, stdout, stderr := c.exec(append([]string{"list", "-json"}, tc.args...)...)
		var out wire.RunList
		if err := json.Unmarshal([]byte(stdout), &out); err != nil || code != 0 || len(out.Runs) != tc.want {
			t.Errorf("%q: exit %d, %v, %d runs, want %d; %s", tc.args, code, err, len(out.Runs), tc.want, stderr)
		}
	}
	_, stdout, _ := c.exec("list", "-limit", "1")
	want := "RUN  NUMBER  PIPELINE  STATE   MODULES  SUBMITTED  TOOK\nbad  7       release   failed  2/2      10s ago    5.0s\n"
	if diff := cmp.Diff(want, stdout); diff != "" {
		t.Error(diff)
	}
	if _, stdout, _ := newCommand(t, newFakeCluster(t)).exec("list", "-json"); stdout != "{\n  \"runs\": []\n}\n" {
		t.Errorf("no runs: %s", stdout)
	}
}

func TestMembersWorkers(t *testing.T) {
	f := newFakeCluster(t)
	f.members[0].Draining = true
	f.members[0].AwayUntil = start.Add(40 * time.Second)
	f.workers = []wire.WorkerNode{
		{ID: "n1", Name: "node-1", Endpoint: "http://h", Status: "Online", CurrentLoad: 1, Capabilities: pipeline.Capabilities{OS: "linux", Arch: "amd64", MaxParallelModules: 4, Tags: []string{"big", "a\x1b[2J"}}},
		{ID: "ext-py", External: true, Status: "Offline", Capabilities: pipeline.Capabilities{OS: "linux", MaxParallelModules: 1}},
	}
	c := newCommand(t, f)
	code, stdout, _ := c.exec("members")
	if code != 0 || !strings.Contains(stdout, "alive, draining, back within 30s") {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	code, stdout, _ = c.exec("workers")
	if code != 0 || !strings.Contains(stdout, "a,big") || !strings.Contains(stdout, "ext-py (external)  Offline  0/1") {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	for _, name := range []string{"members", "workers"} {
		code, stdout, _ = c.exec(name, "-json")
		var doc map[string]any
		if err := json.Unmarshal([]byte(stdout), &doc); err != nil || code != 0 || doc[name] == nil {
			t.Errorf("%s -json: exit %d, %v, %s", name, code, err, stdout)
		}
	}
}

func TestDrainLeave(t *testing.T) {
	f := newFakeCluster(t)
	c := newCommand(t, f)
	code, stdout, stderr := c.exec("drain", "node-2", "-deadline", "90s")
	if code != 0 || stdout != "" || stderr != "node-2: draining\n" {
		t.Errorf("drain: exit %d, %q, %q", code, stdout, stderr)
	}
	if got := f.body("POST /api/v1/members/node-2/drain"); got != `{"deadlineSeconds":90}` {
		t.Errorf("drain sent %s", got)
	}
	if code, _, stderr = c.exec("drain", "node-2", "-off", "-quiet"); code != 0 || stderr != "" {
		t.Errorf("drain -off: exit %d, %q", code, stderr)
	}
	if got := f.body("POST /api/v1/members/node-2/drain"); got != `{"off":true}` {
		t.Errorf("drain -off sent %s", got)
	}
	if code, _, stderr = c.exec("leave"); code != exitUsage || !strings.Contains(stderr, "removes node-1 ("+f.address()+")") || !strings.Contains(stderr, "-yes") {
		t.Errorf("leave without anybody to ask: exit %d, %q", code, stderr)
	}
	c.interactive, c.stdin = true, strings.NewReader("n\n")
	if code, _, stderr = c.exec("leave"); code != exitFailed || !strings.Contains(stderr, "nothing was changed") {
		t.Errorf("leave, no: exit %d, %q", code, stderr)
	}
	if got := f.asked(); strings.Contains(strings.Join(got, "\n"), "leave") {
		t.Errorf("the node was told to leave: %q", got)
	}
	if code, _, stderr = c.exec("leave", "-yes"); code != 0 || !strings.Contains(stderr, "node-1 ("+f.address()+") is leaving the cluster") {
		t.Errorf("leave -yes: exit %d, %q", code, stderr)
	}
	if got := f.asked(); !slices.Contains(got, "POST /api/v1/leave") {
		t.Errorf("asked %q", got)
	}
}

func TestToken(t *testing.T) {
	f := newFakeCluster(t)
	f.tokens = []wire.TokenInfo{{ID: "t1", Name: "ci", Role: "submit", CreatedAt: start, Uses: 5, Used: 1}, {ID: "t2", Role: "read", CreatedAt: start, ExpiresAt: at(70)}}
	c := newCommand(t, f)
	code, stdout, stderr := c.exec("token", "create", "-role", "read", "-ttl", "30d", "-name", "x")
	if code != 0 || stdout != "pd_t9_secret\n" || stderr != "" {
		t.Errorf("create: exit %d, %q, %q", code, stdout, stderr)
	}
	if got := f.body("POST /api/v1/tokens"); got != `{"name":"x","role":"read","ttlSeconds":2592000}` {
		t.Errorf("create sent %s", got)
	}
	if code, _, stderr = c.exec("token", "create", "-role", "worker", "-tag", "gpu", "-tag", "big", "-pipeline", "train-*", "-secrets"); code != 0 {
		t.Error(stderr)
	}
	if got := f.body("POST /api/v1/tokens"); got != `{"role":"worker","tags":["gpu","big"],"pipelines":["train-*"],"secrets":true}` {
		t.Errorf("create sent %s", got)
	}
	if code, _, stderr = c.exec("token", "create", "-role", "read", "-tag", "gpu"); code != exitUsage || !strings.Contains(stderr, "of role worker") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if code, _, stderr = c.exec("token", "create", "-role", "submit", "-uses", "5"); code != 0 {
		t.Error(stderr)
	}
	if got := f.body("POST /api/v1/tokens"); got != `{"role":"submit","uses":5}` {
		t.Errorf("create sent %s", got)
	}
	for _, args := range [][]string{{"read", "-uses", "5"}, {"submit", "-uses", "0"}} {
		if code, _, stderr = c.exec(append([]string{"token", "create", "-role"}, args...)...); code != exitUsage || !strings.Contains(stderr, "-uses") {
			t.Errorf("%v: exit %d, %s", args, code, stderr)
		}
	}
	_, stdout, _ = c.exec("token", "ls")
	want := "ID  NAME  ROLE    CREATED  EXPIRES   USED    SCOPE\nt1  ci    submit  10s ago  never     1 of 5  -\nt2  -     read    10s ago  in 1m00s  -       -\n"
	if diff := cmp.Diff(want, stdout); diff != "" {
		t.Error(diff)
	}
	if code, _, stderr = c.exec("token", "rm", "t1"); code != 0 || stderr != "revoked token t1\n" {
		t.Errorf("rm: exit %d, %q", code, stderr)
	}
	if code, _, stderr = c.exec("token", "rm", "t1"); code != exitUsage || stderr != "pipelined: no token t1\n" {
		t.Errorf("rm again: exit %d, %q", code, stderr)
	}
}

func TestKeygen(t *testing.T) {
	c := newCommand(t, nil)
	_, one, _ := c.exec("keygen")
	_, two, _ := c.exec("keygen")
	if _, err := keys.Parse(one); err != nil || one == two {
		t.Errorf("%v; %q and %q", err, one, two)
	}
	path := filepath.Join(t.TempDir(), "k")
	if code, stdout, stderr := c.exec("keygen", "-o", path); code != 0 || stdout != "" || stderr != "" {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	if _, err := keys.Load(path); err != nil {
		t.Error(err)
	}
	before, _ := os.ReadFile(path)
	code, fingerprint, _ := c.exec("keygen", "-fingerprint", path)
	if code != 0 || len(strings.TrimSpace(fingerprint)) != 16 {
		t.Errorf("fingerprint: exit %d, %q", code, fingerprint)
	}
	if code, stdout, stderr := c.exec("keygen", "-fingerprint", path+".none"); code != exitUsage || stdout != "" || !strings.Contains(stderr, path+".none") {
		t.Errorf("fingerprint of nothing: exit %d, %s%s", code, stdout, stderr)
	}
	if code, _, stderr := c.exec("keygen", "-o", path); code != exitUsage || !strings.Contains(stderr, "never replaced") {
		t.Errorf("again: exit %d, %q", code, stderr)
	}
	if after, _ := os.ReadFile(path); string(before) != string(after) {
		t.Error("the key was replaced")
	}
}

func TestCA(t *testing.T) {
	c := newCommand(t, nil)
	if code, _, stderr := c.exec("ca"); code != exitUsage || !strings.Contains(stderr, "no such file") {
		t.Errorf("without a key: exit %d, %q", code, stderr)
	}
	path := filepath.Join(t.TempDir(), "k")
	c.exec("keygen", "-o", path)
	code, stdout, _ := c.exec("ca", "-key-file", path)
	_, again, _ := c.exec("-key-file", path, "ca")
	if code != 0 || !strings.HasPrefix(stdout, "-----BEGIN CERTIFICATE-----\n") || again != stdout {
		t.Errorf("exit %d, %s", code, stdout)
	}
	c.env["PIPELINED_KEY_FILE"] = ""
	c.env["PIPELINED_KEY"] = "nonsense"
	if code, _, stderr := c.exec("ca"); code != exitUsage || !strings.Contains(stderr, "PIPELINED_KEY: not a cluster key") {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

func TestVersion(t *testing.T) {
	c := newCommand(t, nil)
	_, stdout, _ := c.exec("version")
	_, flag, _ := c.exec("-version")
	if !strings.HasPrefix(stdout, "pipelined ") || flag != stdout {
		t.Errorf("%q, -version %q", stdout, flag)
	}
	_, stdout, _ = c.exec("version", "-json")
	var b buildInfo
	if err := json.Unmarshal([]byte(stdout), &b); err != nil || b.Version == "" || b.Go == "" {
		t.Errorf("%v: %s", err, stdout)
	}
}

func TestCancel(t *testing.T) {
	f := newFakeCluster(t)
	r := finished("r1", pipeline.RunRunning)
	r.run.FinishedAt = nil
	f.add(r)
	c := newCommand(t, f)
	code, stdout, stderr := c.exec("cancel", "r1", "-reason", "wrong branch")
	if code != 0 || stdout != "" || stderr != "run r1: cancelled\n" {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	if got := f.body("POST /api/v1/runs/r1/cancel"); !strings.HasPrefix(got, `{"reason":"wrong branch",`) {
		t.Errorf("sent %s", got)
	}
	if code, _, stderr = c.exec("cancel", "r1"); code != exitFailed || stderr != "pipelined: the run is over\n" {
		t.Errorf("again: exit %d, %q", code, stderr)
	}
}

func TestArtifacts(t *testing.T) {
	f := newFakeCluster(t)
	r := finished("r1", pipeline.RunSucceeded)
	r.artifacts = []wire.Artifact{
		{Module: "build", Path: "bin/app", Size: 6, Mode: 0o755, Digest: digest("binary")},
		{Module: "build", Path: "bin/latest", Link: "app"},
		{Module: "build", Path: "bin/sh", Link: "/bin/sh"},
		{Module: "test", Path: "report.txt", Size: 3, Mode: 0o640, Digest: digest("all")},
	}
	r.files = map[string]string{"build/bin/app": "binary", "test/report.txt": "all"}
	f.add(r)
	c := newCommand(t, f)
	_, stdout, _ := c.exec("artifacts", "r1")
	want := "MODULE  PATH               SIZE  MODE\nbuild   bin/app            6 B   0755\nbuild   bin/latest -> app  0 B   0000\nbuild   bin/sh -> /bin/sh  0 B   0000\ntest    report.txt         3 B   0640\n"
	if diff := cmp.Diff(want, stdout); diff != "" {
		t.Error(diff)
	}
	dir := filepath.Join(t.TempDir(), "out")
	code, stdout, stderr := c.exec("artifacts", "r1", "-o", dir)
	if code != 0 || stdout != "" || stderr != "warning: left out artifact bin/sh of build: it is a link to /bin/sh\n3 files (9 B) in "+dir+"\n" {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	info, err := os.Stat(filepath.Join(dir, "build/bin/app"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "build/bin/latest")); err != nil || string(text) != "binary" {
		t.Errorf("through the link: %q, %v", text, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "build/bin/sh")); !os.IsNotExist(err) {
		t.Errorf("a link to a file of this machine was made: %v", err)
	}
	// Once more over what is there, and only one module.
	if code, stdout, _ = c.exec("artifacts", "r1", "test", "-o", dir, "-json"); code != 0 || strings.Contains(stdout, "build") || !strings.Contains(stdout, "report.txt") {
		t.Errorf("exit %d, %s", code, stdout)
	}
}

func TestArtifacts_hostile(t *testing.T) {
	for name, a := range map[string]wire.Artifact{
		"path outside":   {Module: "build", Path: "../../evil"},
		"absolute path":  {Module: "build", Path: "/etc/evil"},
		"module outside": {Module: "..", Path: "evil"},
		"link outside":   {Module: "build", Path: "a/link", Link: "../../evil"},
		"link up later":  {Module: "build", Path: "y", Link: "a/b/c/x/../.."},
		"wrong bytes":    {Module: "build", Path: "bad", Digest: digest("other")},
	} {
		f := newFakeCluster(t)
		r := finished("r1", pipeline.RunSucceeded)
		r.artifacts = []wire.Artifact{a}
		r.files = map[string]string{"build/bad": "bytes", "build/../../evil": "x"}
		f.add(r)
		base := t.TempDir()
		code, _, stderr := newCommand(t, f).exec("artifacts", "r1", "-o", filepath.Join(base, "out"))
		if code != exitFailed || !strings.HasPrefix(stderr, "pipelined: ") {
			t.Errorf("%s: exit %d, %q", name, code, stderr)
		}
		filepath.Walk(base, func(path string, info os.FileInfo, err error) error {
			if err == nil && !info.IsDir() {
				t.Errorf("%s: %s was written", name, path)
			}
			return nil
		})
	}
}
