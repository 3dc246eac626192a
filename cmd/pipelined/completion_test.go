package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

func TestCompletion(t *testing.T) {
	for _, shell := range completedShells {
		code, script, _ := newCommand(t, nil).exec("completion", shell.name)
		if code != 0 || !strings.Contains(script, "pipelined") {
			t.Errorf("completion %s: code %d\n%.300s", shell.name, code, script)
		}
	}
	for _, c := range []struct{ line, want string }{
		{"", "submit\tsends"}, {"secrets", "set\t"}, {"submit -de", "\n-detach\t"}, {"submit --de", "\n--detach\t"}, {"-addr", "\n-address\tADDRESS of"},
		{"submit -addr", "\n-address\t"}, {"completion", "zsh\t"}, {"help", "submit\t"},
	} {
		code, out, _ := newCommand(t, nil).exec(append(strings.Fields(c.line), "--generate-shell-completion")...)
		if code != 0 || !strings.Contains("\n"+out, c.want) {
			t.Errorf("%q is completed with %q, code %d; want %q", c.line, out, code, c.want)
		}
	}
	for _, line := range []string{"run", "submit -detach", "secrets set", "zzz", "submit -address", "help run"} {
		if code, out, errs := newCommand(t, nil).exec(append(strings.Fields(line), "--generate-shell-completion")...); code != 0 || out+errs != "" {
			t.Errorf("%q is completed with %q, %q, code %d; want nothing", line, out, errs, code)
		}
	}
	if code, _, errs := newCommand(t, nil).exec("completion", "ksh"); code != exitUsage || !strings.Contains(errs, "ksh") {
		t.Errorf("completion ksh: code %d, %s", code, errs)
	}
}

// addRun gives a cluster a run with modules whose names shells break.
func addRun(f *fakeCluster) {
	f.add(&fakeRun{run: wire.Run{RunSummary: wire.RunSummary{ID: "r1", Number: 12, Pipeline: "release", State: pipeline.RunRunning},
		Modules: []wire.Module{{Name: "build[a:b]", State: pipeline.ModuleWaiting}, {Name: "deploy", State: pipeline.ModuleWaiting}}}})
}

// addNames gives a cluster a schedule and pipelines.
func addNames(f *fakeCluster) {
	f.answers = map[string]any{
		"GET /api/v1/schedules": wire.ScheduleList{Schedules: []wire.Schedule{{Name: "nightly", Cron: []string{"0 3 * * *"}}, {Name: "weekly", Cron: []string{"@weekly"}, Paused: true}}},
		"GET /api/v1/pipelines": wire.PipelineList{Pipelines: []wire.PipelineSummary{{Name: "release", Runs: 12}, {Name: "team/ci", Runs: 1}}},
	}
}

// A shell is offered nodes, schedules and pipelines, each where a command takes one.
func TestCompletion_names(t *testing.T) {
	f := newFakeCluster(t)
	c := newCommand(t, f)
	addNames(f)
	nodes, schedules, pipelines := "node-1\tleader, alive\n", "nightly\t0 3 * * *\nweekly\t@weekly, paused\n", "release\t12 runs\nteam/ci\t1 run\n"
	for line, want := range map[string]string{
		"drain": nodes, "members remove": nodes, "drain node-1": "", "schedules show": schedules, "schedules rm": schedules, "schedules pause nightly": "",
		"history": pipelines, "secrets rm": "",
	} {
		code, out, errs := c.exec(append(strings.Fields(line), "--generate-shell-completion")...)
		if code != 0 || out != want || errs != "" {
			t.Errorf("%q is completed with %q, code %d, %s; want %q", line, out, code, errs, want)
		}
	}
}

// A shell is offered the newest runs, and the modules of one.
func TestCompletion_runs(t *testing.T) {
	f := newFakeCluster(t)
	c := newCommand(t, f)
	addRun(f)
	for line, want := range map[string]string{
		"status": "12\trelease, running\nlast\tthe newest run\n", "logs": "12\trelease, running\nlast\tthe newest run\n",
		"logs r1": "build[a:b]\twaiting\ndeploy\twaiting\n", "cancel r1": "", "logs nothing": "", "logs r1 x": "", "workers": "",
	} {
		code, out, errs := c.exec(append(strings.Fields(line), "--generate-shell-completion")...)
		if code != 0 || out != want || errs != "" {
			t.Errorf("%q is completed with %q, code %d, %s; want %q", line, out, code, errs, want)
		}
	}
}

// completionShell is a directory in which a shell finds this program as pipelined, and
// a pipeline.hcl; addresses of a cluster are in its environment. It has no startup
// files, and so no package for completion.
func completionShell(t *testing.T, f *fakeCluster, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(args[0])
	if err != nil {
		t.Skipf("%s is not installed", args[0])
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(exe, filepath.Join(dir, "pipelined")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "work/only.hcl", "")
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = filepath.Join(dir, "work")
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, "ZDOTDIR=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_STATE_HOME=" + dir,
		"TERM=dumb", "PS1=> ", "INPUTRC=/dev/null", "LC_ALL=C", "PIPELINED_ADDR=" + f.address(), "PIPELINED_TOKEN=secret"}
	return cmd
}

// completed are command lines at whose end a person presses the tabulator.
var completed = []struct{ line, want string }{
	{"pipelined val", "pipelined validate"},
	{"pipelined token cr", "pipelined token create"},
	{"pipelined submit -det", "pipelined submit -detach"},
	{"pipelined submit --det", "pipelined submit --detach"},
	{"pipelined -timeout=3s mem", "pipelined -timeout=3s members"},
	{"pipelined -timeout 3s mem", "pipelined -timeout 3s members"},
	{"pipelined run onl", "pipelined run only.hcl"},
	{"pipelined logs 1", "pipelined logs 12"},
	{"pipelined logs 12 dep", "pipelined logs 12 deploy"},
	{"pipelined logs 12 bui", `pipelined logs 12 build[a:b]`},
	{"pipelined logs 12 'bui", `pipelined logs 12 build[a:b]`},
	{"pipelined logs 12 'build[a:", `pipelined logs 12 build[a:b]`},
	{"pipelined logs '12' dep", `pipelined logs 12 deploy`},
	{"pipelined artifacts 12 -o ", "pipelined artifacts 12 -o only.hcl"}, // no offer: the files of the shell
	{"pipelined drain no", `pipelined drain node-1`},
	{"pipelined members remove no", `pipelined members remove node-1`},
	{"pipelined schedules pause nig", `pipelined schedules pause nightly`},
	{"pipelined history rel", `pipelined history release`},
	{"pipelined logs $(echo ran >> evil) dep", `pipelined logs dep`}, // run once, by echo
}

// TestCompletion_shells presses the tabulator in real shells.
func TestCompletion_shells(t *testing.T) {
	for _, shell := range [][]string{{"bash", "--norc", "--noprofile", "-i"}, {"zsh", "-f", "-i"}} {
		t.Run(shell[0], func(t *testing.T) {
			f := newFakeCluster(t)
			addRun(f)
			addNames(f)
			cmd := completionShell(t, f, shell...)
			tty, err := pty.Start(cmd)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = cmd.Process.Kill() // a shell may ignore that its terminal is gone
				_ = cmd.Wait()
				tty.Close()
			}()
			if err := pty.Setsize(tty, &pty.Winsize{Rows: 40, Cols: 200}); err != nil {
				t.Fatal(err)
			}
			screen := watchTerminal(tty)
			if _, err := tty.WriteString(`PS1='> '; eval "$(pipelined completion ` + shell[0] + `)"; echo re""ady` + "\n"); err != nil {
				t.Fatal(err)
			}
			screen.expect(t, "\nready")
			for _, c := range completed {
				// The line becomes the argument of echo once it is completed.
				if _, err := tty.WriteString(c.line + "\t\x01echo @ \x05 @\n"); err != nil {
					t.Fatal(err)
				}
				screen.expect(t, "\n@ "+c.want+" @")
			}
			if ran, err := os.ReadFile(filepath.Join(cmd.Dir, "evil")); err != nil || string(ran) != "ran\n" {
				t.Errorf("a substitution was run while its line was completed: %q, %v", ran, err)
			}
		})
	}
}

// terminalScreen is what a shell has printed.
type terminalScreen struct {
	mu   sync.Mutex
	text string
}

// escapes are what shells print to a terminal besides text.
var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r`)

func watchTerminal(tty io.Reader) *terminalScreen {
	s := &terminalScreen{}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			s.mu.Lock()
			s.text += string(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return s
}

// expect waits until a text is printed, and forgets all before its end.
func (s *terminalScreen) expect(t *testing.T, want string) {
	t.Helper()
	testutil.Eventually(t, 30*time.Second, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		clean := escapes.ReplaceAllString(s.text, "")
		_, after, found := strings.Cut(clean, want)
		if !found {
			return fmt.Errorf("want %q on the terminal:\n%q", want, clean)
		}
		s.text = after
		return nil
	})
}

func TestCompletion_fish(t *testing.T) {
	f := newFakeCluster(t)
	addRun(f)
	addNames(f)
	for _, c := range completed {
		if strings.Contains(c.line, "(") {
			continue
		}
		cmd := completionShell(t, f, "fish", "--no-config", "-c", "pipelined completion fish | source; complete -C "+`"`+c.line+`"`)
		out, err := cmd.Output()
		word := c.want[strings.LastIndex(c.want, " ")+1:]
		if !slices.ContainsFunc(strings.Split(string(out), "\n"), func(line string) bool {
			got, _, _ := strings.Cut(line, "\t")
			return strings.ReplaceAll(got, `\`, "") == word
		}) {
			t.Errorf("%q is completed with %q, %v; want %q", c.line, out, err, word)
		}
	}
}
