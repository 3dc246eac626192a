package docs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
)

// A page that is run from its first block to its last is a story. Its blocks are
// executed in one shell, in an empty directory:
//
//	sh page [cluster|fails]   run; with cluster the page has an agent at PIPELINED_ADDR;
//	                          with fails in a shell of its own that must not end with 0
//	LANGUAGE file NAME        written to NAME
//	text shows                lines that the block before has printed
//
// A page may name the tools that it needs: <!-- needs: node, turbo -->. Without one of
// them its story is not run.
type story struct {
	page   string
	blocks []block
}

// stories gives the pages that are stories.
func stories(t *testing.T) []story {
	t.Helper()
	var all []story
	for _, b := range blocks(t) {
		words := strings.Fields(b.info)
		if len(words) < 2 || !slices.Contains([]string{"page", "file", "shows"}, words[1]) {
			continue
		}
		if len(all) == 0 || all[len(all)-1].page != b.page {
			all = append(all, story{page: b.page})
		}
		last := &all[len(all)-1]
		last.blocks = append(last.blocks, b)
	}
	return all
}

var needs = regexp.MustCompile(`<!-- needs: ([a-z0-9, ]+) -->`)

// missing names a tool that a page needs and that is not here; "" if all are.
func (s *story) missing(t *testing.T) string {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(root, s.page))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range needs.FindAllStringSubmatch(string(src), -1) {
		for tool := range strings.SplitSeq(m[1], ", ") {
			if _, err := exec.LookPath(tool); err != nil && os.Getenv("PIPELINED_TEST_"+strings.ToUpper(tool)) == "" {
				return tool
			}
		}
	}
	return ""
}

// TestPages_stories runs the pages that are stories.
func TestPages_stories(t *testing.T) {
	all := stories(t)
	if len(all) == 0 {
		t.Error("no page is a story, want the one about workers at least")
	}
	for _, s := range all {
		t.Run(strings.ReplaceAll(s.page, "/", "_"), func(t *testing.T) {
			if tool := s.missing(t); tool != "" {
				t.Skipf("%s is not here", tool)
			}
			runStory(t, s)
		})
	}
}

// mark begins the output of a step.
const mark = "=== step "

// runStory runs a page and compares what it prints with what it shows.
func runStory(t *testing.T, s story) {
	t.Helper()
	subnet := fmt.Sprintf("127.%d.%d.", 64+rand.IntN(128), rand.IntN(256)) // ports of a page are fixed
	env := append(environment(t), "REPOSITORY="+absolute(t, root), "CI=", "NO_COLOR=1")
	if slices.ContainsFunc(s.blocks, func(b block) bool { return strings.HasSuffix(b.info, " cluster") }) {
		env = append(env, "PIPELINED_ADDR="+startAgent(t, env, subnet+"9"))
	}

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-eu", "-c", script(s.blocks, subnet))
	cmd.Dir, cmd.Env = t.TempDir(), env
	out := runGroup(t, cmd)

	printed := strings.Split(out, mark)
	step := 0
	for _, b := range s.blocks {
		if strings.HasPrefix(b.info, "sh page") {
			step++
		}
		if !strings.HasSuffix(b.info, " shows") || step >= len(printed) {
			continue
		}
		if line := notPrinted(b.text, strings.ReplaceAll(printed[step], subnet, "127.0.0.")); line != "" {
			t.Errorf("%s:%d: %q is not printed; this is:\n%s", b.page, b.line, line, printed[step])
		}
	}
}

// script is a story as a script of the shell.
func script(blocks []block, subnet string) string {
	var out strings.Builder
	n := 0
	for _, b := range blocks {
		words := strings.Fields(b.info)
		switch {
		case words[1] == "file":
			fmt.Fprintf(&out, "mkdir -p \"$(dirname '%s')\"\ncat > '%s' <<'END-OF-FILE'\n%sEND-OF-FILE\n", words[2], words[2], b.text)
		case words[1] == "page":
			n++
			text := b.text
			if words[len(words)-1] == "fails" {
				text = fmt.Sprintf("if sh -eu <<'END-OF-BLOCK'\n%sEND-OF-BLOCK\nthen echo 'this block does not fail'; exit 1; fi\n", text)
			}
			fmt.Fprintf(&out, "echo '%s%d'\n%s", mark, n, text)
		}
	}
	return strings.ReplaceAll(out.String(), "127.0.0.", subnet)
}

// runGroup runs a command, which must succeed, and ends what it leaves running.
func runGroup(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	output := filepath.Join(t.TempDir(), "output")
	file, err := os.Create(output)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file // a file: what runs on must not hold up the end
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	group := cmd.Process.Pid
	err = cmd.Wait()

	_ = syscall.Kill(-group, syscall.SIGTERM)
	testutil.Eventually(t, 20*time.Second, func() error {
		if syscall.Kill(-group, 0) == nil {
			return fmt.Errorf("processes of group %d still run", group)
		}
		return nil
	})
	out, readErr := os.ReadFile(output)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// startAgent starts an agent that the test ends, and gives the address of its API.
func startAgent(t *testing.T, env []string, address string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(binary(t), "pipelined"), "agent", "-dev", "-bind", address, "-name", "alpha")
	log := filepath.Join(t.TempDir(), "agent.log")
	file, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.Env, cmd.Stdout, cmd.Stderr = env, file, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if text, err := os.ReadFile(log); err == nil && t.Failed() {
			t.Logf("the agent's log:\n%s", text)
		}
	})

	to := address + ":8080"
	testutil.Eventually(t, 30*time.Second, func() error {
		status := exec.Command(filepath.Join(binary(t), "pipelined"), "-address", to, "status", "-check")
		status.Env = env
		out, err := status.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	return to
}

var (
	duration = regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+(\.\d+)?(ms|s)\b|\b\d+m\b`)
	idWord   = regexp.MustCompile(`\b[0-9a-f]{8,}\b`)
	numeral  = regexp.MustCompile(`\d+(\.\d+)?`)
	spaces   = regexp.MustCompile(`\s+`)
)

// comparable is a line without what differs from run to run: times, ids, sizes.
func comparable(line string) string {
	line = duration.ReplaceAllString(strings.TrimSpace(line), "0s")
	line = idWord.ReplaceAllString(line, "ID")
	line = numeral.ReplaceAllString(line, "0")
	line = strings.ReplaceAll(line, "0s ago", "now")
	return spaces.ReplaceAllString(line, " ")
}

// notPrinted gives the first line of shown that is not in printed; "" if all are.
// A line of … stands for lines that are left out, … at the end of a line for its rest.
func notPrinted(shown, printed string) string {
	var have []string
	for line := range strings.SplitSeq(printed, "\n") {
		have = append(have, comparable(line))
	}

	for line := range strings.SplitSeq(shown, "\n") {
		if line = strings.TrimSpace(line); line == "" || line == "…" {
			continue
		}
		want, cut := strings.CutSuffix(comparable(line), "…")
		i := slices.IndexFunc(have, func(got string) bool { return got == want || cut && strings.HasPrefix(got, want) })
		if i < 0 {
			return line
		}
		have = slices.Delete(have, i, i+1)
	}
	return ""
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// TestStory_notPrinted wants the comparison to find what is not there.
func TestStory_notPrinted(t *testing.T) {
	printed := "run 12 succeeded in 1.3s\nbuild | x\n"
	for shown, want := range map[string]string{
		"run 7 succeeded in 2m10s\n…\n": "", "build | y": "build | y", "run 7 …": "", "run x …": "run x …", "build | x\nbuild | x": "build | x",
	} {
		if got := notPrinted(shown, printed); got != want {
			t.Errorf("%q: got %q, want %q", shown, got, want)
		}
	}
}
