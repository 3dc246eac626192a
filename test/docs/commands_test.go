package docs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPages_blocksRun runs every block that is marked `sh run`, from the
// repository's root, with the built binary and directories of its own.
func TestPages_blocksRun(t *testing.T) {
	n := 0
	for _, b := range blocks(t) {
		if b.info != "sh run" {
			continue
		}
		n++
		t.Run(strings.ReplaceAll(b.page, "/", "_"), func(t *testing.T) {
			if out, err := shell(t, b.text); err != nil {
				t.Errorf("%s:%d: %v\n%s", b.page, b.line, err, out)
			}
		})
	}
	if n < 2 {
		t.Errorf("%d blocks are marked `sh run`, want the README's and the command line's at least", n)
	}
}

// shell runs a script as a reader of the pages would, with nothing set up.
func shell(t *testing.T, script string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-eu", "-c", script)
	cmd.Dir = root
	cmd.Env = environment(t)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// environment is that of this process, without what would lead the binary to
// the user's own cluster.
func environment(t *testing.T) []string {
	t.Helper()
	home := t.TempDir()
	env := []string{"PATH=" + binary(t) + string(os.PathListSeparator) + os.Getenv("PATH"),
		"XDG_STATE_HOME=" + filepath.Join(home, "state"), "XDG_CONFIG_HOME=" + filepath.Join(home, "config")}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if name != "PATH" && !strings.HasPrefix(name, "PIPELINED_") && !strings.HasPrefix(name, "XDG_") {
			env = append(env, kv)
		}
	}
	return env
}

var (
	commandLine = regexp.MustCompile(`(?:^|[\s(])pipelined\s+(\S.*)$`)
	flagWord    = regexp.MustCompile(`^--?([a-z][a-z0-9-]*)`)
)

// TestPages_commandsExist checks every line of shell in the pages that begins
// with pipelined: the command must exist, and know the flags.
func TestPages_commandsExist(t *testing.T) {
	n := 0
	for _, b := range blocks(t) {
		if b.info != "sh" && !strings.HasPrefix(b.info, "sh ") {
			continue
		}
		for i, line := range strings.Split(b.text, "\n") {
			if m := commandLine.FindStringSubmatch(line); m != nil {
				n++
				checkCommand(t, b, b.line+1+i, m[1])
			}
		}
	}
	if n < 5 {
		t.Errorf("only %d command lines were found", n)
	}
}

// nested are the commands that have commands of their own.
var nested = []string{"token", "secrets", "webhooks", "cache", "schedules"}

// checkCommand compares what follows pipelined in a command line with the help
// of its command.
func checkCommand(t *testing.T, b block, line int, text string) {
	t.Helper()
	text, _, _ = strings.Cut(text, " #")
	for _, end := range []string{"|", ">", "&", ";", ")"} {
		text, _, _ = strings.Cut(text, end)
	}
	words := strings.Fields(text)
	path := []string{}
	for _, w := range words {
		if strings.HasPrefix(w, "-") || len(path) == 2 {
			break
		}
		if len(path) == 1 && !slices.Contains(nested, path[0]) {
			break
		}
		path = append(path, w)
	}
	help := helpOf(t, path...)
	if help == "" {
		t.Errorf("%s:%d: pipelined %s: there is no such command", b.page, line, strings.Join(path, " "))
		return
	}
	known := slices.Concat(flagsIn(help), flagsIn(helpOf(t)))
	for _, w := range words {
		if m := flagWord.FindStringSubmatch(w); m != nil && !slices.Contains(known, m[1]) {
			t.Errorf("%s:%d: pipelined %s has no flag -%s", b.page, line, strings.Join(path, " "), m[1])
		}
	}
}

// helps has the help of each command that was asked for.
var helps = map[string]string{}

// helpOf gives the help of a command; "" if there is no such command. Each command
// is asked once. It is not for parallel tests.
func helpOf(t *testing.T, path ...string) string {
	t.Helper()
	name := strings.Join(path, " ")
	help, known := helps[name]
	if !known {
		help = askHelp(t, path)
		helps[name] = help
	}
	return help
}

// askHelp asks the binary for the help of a command. Any failure but that there is
// no such command ends the test.
func askHelp(t *testing.T, path []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binary(t), "pipelined"), append([]string{"help"}, path...)...)
	cmd.Env = environment(t)
	out, err := cmd.Output()

	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 && unknownCommand.Match(exit.Stderr) {
		return ""
	}
	if err != nil {
		t.Fatalf("pipelined help %s: %v\n%s", strings.Join(path, " "), err, out)
	}
	return string(out)
}

// unknownCommand is how the binary refuses a command that it does not have.
var unknownCommand = regexp.MustCompile(`unknown (?:[a-z]+ )?command "`)

var flagInHelp = regexp.MustCompile(`(?m)(?:^|[\s,])-{1,2}([a-z][a-z0-9-]*)`)

func flagsIn(help string) []string {
	var flags []string
	for _, m := range flagInHelp.FindAllStringSubmatch(help, -1) {
		flags = append(flags, m[1])
	}
	return flags
}

// tableCommand finds the commands in the table of docs/cli.md.
var tableCommand = regexp.MustCompile("(?m)^\\| ((?:`[a-z][^`]*`(?:, )?)+) \\|")

// TestCLI_tables wants every command in the help to be in docs/cli.md, nothing there
// that does not exist, and every flag of the agent in docs/configuration.md.
func TestCLI_tables(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	settings, err := os.ReadFile(filepath.Join(root, "docs/configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands, _, _ := strings.Cut(string(page), "\n## agent\n") // tables that follow have no commands
	var said []string
	for _, m := range tableCommand.FindAllStringSubmatch(commands, -1) {
		for c := range strings.SplitSeq(m[1], "`, `") {
			said = append(said, strings.Fields(strings.Trim(c, "`"))[0])
		}
	}
	listed := regexp.MustCompile(`(?m)^ {3,}([a-z]+)(?:, [a-z]+)*\s{2,}\S`)
	help := helpOf(t)
	n := 0
	for _, m := range listed.FindAllStringSubmatch(help, -1) {
		n++
		if m[1] != "help" && !slices.Contains(said, m[1]) {
			t.Errorf("docs/cli.md does not name the command %s", m[1])
		}
	}
	if n < 10 {
		t.Errorf("only %d commands were found in the help:\n%s", n, help)
	}
	for _, c := range said {
		if helpOf(t, c) == "" {
			t.Errorf("docs/cli.md names the command %s, which does not exist", c)
		}
	}
	shared := flagsIn(help)
	for _, f := range flagsIn(helpOf(t, "agent")) {
		if f != "help" && f != "h" && !slices.Contains(shared, f) && !strings.Contains(string(settings), "`-"+f) {
			t.Errorf("docs/configuration.md does not name the agent's flag -%s", f)
		}
	}
}
