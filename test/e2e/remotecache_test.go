package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/test/harness"
)

// tool finds a program that a test drives: in the path, or where the environment
// variable says. Without it the test is skipped, and says how to get it.
func tool(t *testing.T, name, variable, how string) string {
	t.Helper()
	if path := os.Getenv(variable); variable != "" && path != "" {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
		return path
	}
	path, err := exec.LookPath(name)
	if variable != "" || err != nil {
		t.Skipf("needs %s: %s", name, how)
	}
	return path
}

// cacheToken makes a token that fills the cache.
func cacheToken(c *harness.Cluster) string {
	return strings.TrimSpace(c.OK("token", "create", "-role", "submit", "-address", c.Nodes[0].URL))
}

// command runs a program with an environment of its own and gives what it said.
func command(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, env, 10*time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ccacheBuild is a directory of C files that are built with ccache.
type ccacheBuild struct {
	t           *testing.T
	ccache, src string
	token       string
	files       int
	round       int
}

// write makes the files; those with another text have other keys.
func (b *ccacheBuild) write(text string) {
	for i := range b.files {
		body := fmt.Sprintf("/* %s */\nint f%d(int x) { return x + %d + sizeof(\"%s\"); }\n", text, i, i, text)
		if err := os.WriteFile(filepath.Join(b.src, fmt.Sprintf("f%d.c", i)), []byte(body), 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
}

// failures are what ccache logs of a remote storage that does not work.
var failures = regexp.MustCompile(`(?m)^.*(?:Failed to|HTTP code|error).*$`)

// build builds all files, eight at a time, through a node and with nothing in the
// local cache. It gives ccache's counters and the object files.
func (b *ccacheBuild) build(n *harness.Node) (stats map[string]int, objects map[string]string) {
	b.t.Helper()
	b.round++
	local := filepath.Join(filepath.Dir(b.src), fmt.Sprintf("local%d", b.round))
	if err := os.MkdirAll(local, 0o700); err != nil {
		b.t.Fatal(err)
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + local, "CCACHE_DIR=" + local, "CCACHE_CONFIGPATH=" + local + "/none", "CCACHE_LOGFILE=" + local + "/log",
		"CCACHE_REMOTE_STORAGE=" + n.URL + "|layout=bazel|bearer-token=" + b.token + "|connect-timeout=20000|operation-timeout=60000"}
	var g errgroup.Group
	g.SetLimit(8)
	for i := range b.files {
		g.Go(func() error {
			cmd := exec.CommandContext(b.t.Context(), b.ccache, "cc", "-c", fmt.Sprintf("f%d.c", i), "-o", filepath.Join(local, fmt.Sprintf("f%d.o", i)))
			cmd.Dir, cmd.Env = b.src, env
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("ccache cc f%d.c: %w\n%s", i, err, out)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.t.Fatal(err)
	}
	stats, objects = map[string]int{}, map[string]string{}
	for line := range strings.Lines(command(b.t, b.src, env, b.ccache, "--print-stats")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "\t")
		stats[name], _ = strconv.Atoi(value) // all of them are numbers
	}
	for i := range b.files {
		raw, err := os.ReadFile(filepath.Join(local, fmt.Sprintf("f%d.o", i)))
		if err != nil {
			b.t.Fatal(err)
		}
		objects[fmt.Sprintf("f%d.o", i)] = string(raw)
	}
	if stats["remote_storage_error"]+stats["remote_storage_timeout"] > 0 {
		log, _ := os.ReadFile(filepath.Join(local, "log")) // without it the counters must do
		b.t.Errorf("round %d: ccache had trouble with its remote storage: %v\n%s", b.round, stats, strings.Join(failures.FindAllString(string(log), 5), "\n"))
	}
	return stats, objects
}

// hits builds and wants everything taken from the cluster, and the same objects.
func (b *ccacheBuild) hits(n *harness.Node, objects map[string]string) {
	b.t.Helper()
	stats, got := b.build(n)
	if stats["remote_storage_hit"] != b.files || stats["remote_storage_miss"] != 0 || stats["cache_miss"] != 0 {
		b.t.Errorf("round %d through %s: %d hits and %d misses of %d", b.round, n.Name, stats["remote_storage_hit"], stats["remote_storage_miss"], b.files)
	}
	if !maps.Equal(got, objects) {
		b.t.Errorf("round %d through %s: the objects are not those that were built", b.round, n.Name)
	}
}

// What ccache has built through the leader it takes through any other node, one
// without state too, and still when the leader was killed in between. What is built
// in the moment of the kill is kept as well.
func TestRemoteCache_ccache(t *testing.T) {
	how := "install the packages ccache and gcc"
	b := &ccacheBuild{t: t, ccache: tool(t, "ccache", "", how), files: 40}
	tool(t, "cc", "", how)
	c := harness.New(t)
	for range 3 {
		c.Add()
	}
	c.Add("-mode", "worker")
	for _, n := range c.Nodes {
		n.Start()
	}
	c.Whole()
	worker := c.Nodes[3]
	b.token, b.src = cacheToken(c), filepath.Join(c.Dir, "src")
	if err := os.MkdirAll(b.src, 0o700); err != nil {
		t.Fatal(err)
	}

	b.write("first")
	leader := c.Leader()
	stats, first := b.build(leader)
	if stats["remote_storage_miss"] != b.files || stats["cache_miss"] != b.files {
		t.Fatalf("the first build: %v", stats)
	}
	leader.Kill()
	for _, n := range c.Others(leader) {
		b.hits(n, first)
	}
	leader.Start()
	c.Whole()
	b.hits(leader, first)

	// Nobody waits for the next leader before the next build.
	b.write("second")
	leader = c.Leader()
	others := c.Others(leader)
	leader.Kill()
	stats, second := b.build(others[0])
	if stats["cache_miss"] != b.files {
		t.Errorf("the build while nobody led: %v", stats)
	}
	b.hits(others[1], second)
	b.hits(worker, second)

	// The command line shows what is there, two entries for each file, and removes it.
	address := []string{"-address", others[0].URL}
	var list wire.ToolList
	if err := json.Unmarshal([]byte(c.OK(append(address, "cache", "ls", "-kind", "bazel", "-json")...)), &list); err != nil || len(list.Entries) != 4*b.files {
		t.Errorf("%d entries are listed, %v; want %d", len(list.Entries), err, 4*b.files)
	}
	if out := c.OK(append(address, "cache", "ls", "-kind", "bazel")...); strings.Count(out, "\n") != 1+4*b.files {
		t.Errorf("cache ls:\n%s", out)
	}
	if r := c.CLI(append(address, "cache", "prune", "-kind", "odd", "-all")...); r.Code != 2 || !strings.Contains(r.Stderr, "expected results, bazel, turbo") {
		t.Errorf("prune of an odd kind: exit %d, %s", r.Code, r.Stderr)
	}
	if out := c.OK(append(address, "cache", "prune", "-kind", "bazel", "-all")...); !strings.HasPrefix(out, fmt.Sprintf("removed %d entries of bazel (", 4*b.files)) {
		t.Errorf("prune: %s", out)
	}
	if out := c.OK(append(address, "cache", "stats")...); !strings.Contains(out, "bazel      0 entries, 0 B") {
		t.Errorf("stats: %s", out)
	}
	if stats, _ := b.build(c.Leader()); stats["remote_storage_hit"] != 0 {
		t.Errorf("after all was removed: %v", stats)
	}
}

var turboCached = regexp.MustCompile(`Cached:\s+(\d+) cached, (\d+) total`)

// The tasks of a Turborepo workspace are taken from the cluster through another
// node, and when the leader that had taken them was killed.
func TestRemoteCache_turbo(t *testing.T) {
	turbo := tool(t, "turbo", "PIPELINED_TEST_TURBO", "name the program of the npm package turbo in PIPELINED_TEST_TURBO")
	tool(t, "npm", "", "turbo starts the tasks with it")
	c := harness.Start(t, 3)
	token := cacheToken(c)
	c.WriteFile("mono/package.json", `{"name": "mono", "private": true, "packageManager": "npm@10.0.0", "workspaces": ["packages/*"]}`)
	c.WriteFile("mono/turbo.json", `{"tasks": {"build": {"outputs": ["dist/**"]}}}`)
	c.WriteFile("mono/.gitignore", "node_modules\n.turbo\ndist\n")
	lock := `{"name": "mono", "lockfileVersion": 3, "requires": true, "packages": {"": {"name": "mono", "workspaces": ["packages/*"]}`
	packages := []string{"a", "b", "c"}
	for _, p := range packages {
		c.WriteFile("mono/packages/"+p+"/package.json", fmt.Sprintf(`{"name": %q, "version": "1.0.0", "scripts": {"build": "mkdir -p dist && echo made %s > dist/out.txt"}}`, p, p))
		lock += fmt.Sprintf(`, "node_modules/%[1]s": {"resolved": "packages/%[1]s", "link": true}, "packages/%[1]s": {"version": "1.0.0"}`, p)
	}
	c.WriteFile("mono/package-lock.json", lock+"}}")
	dir := filepath.Join(c.Dir, "mono")
	build := func(n *harness.Node, team string) (cached int) {
		t.Helper()
		for _, old := range append([]string{".turbo"}, packages...) {
			if old != ".turbo" {
				old = "packages/" + old + "/dist"
			}
			if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
				t.Fatal(err)
			}
		}
		env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.Dir, "TURBO_API=" + n.URL, "TURBO_TOKEN=" + token, "TURBO_TEAM=" + team,
			"TURBO_TELEMETRY_DISABLED=1", "DO_NOT_TRACK=1", "NO_COLOR=1", "CI=true"}
		out := command(t, dir, env, turbo, "run", "build", "--no-daemon", "--cache=remote:rw")
		m := turboCached.FindStringSubmatch(out)
		if m == nil || m[2] != "3" {
			t.Fatalf("turbo says:\n%s", out)
		}
		for _, p := range packages {
			if b, err := os.ReadFile(filepath.Join(dir, "packages", p, "dist/out.txt")); err != nil || string(b) != "made "+p+"\n" {
				t.Errorf("output of %s: %q, %v", p, b, err)
			}
		}
		cached, _ = strconv.Atoi(m[1]) // digits
		return cached
	}
	leader := c.Leader()
	if got := build(leader, "web"); got != 0 {
		t.Errorf("the first build took %d from the cache", got)
	}
	others := c.Others(leader)
	if got := build(others[0], "web"); got != 3 {
		t.Errorf("through %s: %d of 3 were cached", others[0].Name, got)
	}
	if got := build(others[0], "app"); got != 0 {
		t.Errorf("another team took %d from the cache", got)
	}
	leader.Kill()
	for _, n := range others {
		if got := build(n, "web"); got != 3 {
			t.Errorf("through %s, with the leader killed: %d of 3 were cached", n.Name, got)
		}
	}
}

// Bazel takes what it built from another node, by either form of the token, and
// when the leader was killed.
func TestRemoteCache_bazel(t *testing.T) {
	bazel := tool(t, "bazel", "PIPELINED_TEST_BAZEL", "name the program in PIPELINED_TEST_BAZEL; the npm package @bazel/bazel-linux_x64 has one")
	c := harness.Start(t, 3)
	token := cacheToken(c)
	c.WriteFile("bazel/WORKSPACE", "")
	c.WriteFile("bazel/BUILD", `[genrule(name = "g%d" % i, outs = ["o%d.txt" % i], cmd = "seq %d000 > $@" % (i + 1)) for i in range(12)]
genrule(name = "all", srcs = [":g%d" % i for i in range(12)], outs = ["all.txt"], cmd = "cat $(SRCS) > $@")
`)
	round := 0
	build := func(flags ...string) string {
		t.Helper()
		round++
		env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.Dir, "USER=test"}
		args := append([]string{"--batch", "--output_user_root=" + filepath.Join(c.Dir, "root"), fmt.Sprintf("--output_base=%s/base%d", c.Dir, round),
			"build", "--jobs=8", "--spawn_strategy=local", "--color=no", "--curses=no"}, append(flags, "//:all")...)
		out := command(t, filepath.Join(c.Dir, "bazel"), env, bazel, args...)
		// Bazel leaves its output without permission to remove it.
		command(t, c.Dir, env, "chmod", "-R", "u+w", fmt.Sprintf("base%d", round), "root")
		return out
	}
	const none, all = "13 processes: 13 local", "13 processes: 13 remote cache hit"
	leader := c.Leader()
	header := "--remote_header=Authorization=Bearer " + token
	if out := build("--remote_cache="+leader.URL, header); !strings.Contains(out, none) {
		t.Errorf("the first build:\n%s", out)
	}
	others := c.Others(leader)
	inAddress := func(n *harness.Node) string { return strings.Replace(n.URL, "http://", "http://x:"+token+"@", 1) }
	if out := build("--remote_cache=" + inAddress(others[0])); !strings.Contains(out, all) {
		t.Errorf("through another node, with the token in the address:\n%s", out)
	}
	if out := build("--remote_cache=" + inAddress(others[0]) + "/team-a"); !strings.Contains(out, none) {
		t.Errorf("another team's first build:\n%s", out)
	}
	leader.Kill()
	if out := build("--remote_cache="+others[1].URL, header); !strings.Contains(out, all) {
		t.Errorf("with the leader killed:\n%s", out)
	}
}
