package executor_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/executor"
)

// TestRunner_scriptAndResult goes the way of a module: prepared folder, script,
// environment, result.
func TestRunner_scriptAndResult(t *testing.T) {
	t.Run("on disk", func(t *testing.T) { scriptAndResult(t, executor.WriteScript) })
	t.Run("hidden", func(t *testing.T) { scriptAndResult(t, executor.WriteHiddenScript) })
}

func scriptAndResult(t *testing.T, write func(dir, script string) ([]string, error)) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		for _, tc := range []struct {
			script, result, out string
			code                int
		}{
			{"echo passed=3 >>\"$PIPELINED_OUTPUT\"\necho \"$HOME $TMPDIR\"; test -d \"$HOME\"; test -d \"$TMPDIR\"", `{"passed":"3"}`, "HOME TMP\n", 0},
			{"#!/usr/bin/env sh\nprintf '{\"n\": %s}' 4 >$PIPELINED_OUTPUT\necho $undefined", `{"n":4}`, "\n", 0},
			{"false; echo not reached", "", "", 1},
			{"echo $undefined_variable", "", "", 2},
			{"pwd", "", "WORK\n", 0},
		} {
			id, dir := b.prepare()
			argv, err := write(dir, tc.script)
			if err != nil {
				t.Fatal(err)
			}
			env, err := executor.Environ(executor.EnvConfig{Dir: dir, Path: "/usr/bin:/bin"})
			if err != nil {
				t.Fatal(err)
			}
			st := b.run(executor.Process{ID: id, Dir: dir, WorkDir: executor.WorkPath(dir), Argv: argv, Env: env})
			result, err := executor.ReadResult(dir)
			if err != nil || string(result) != tc.result || st.ExitCode != tc.code {
				t.Errorf("%q: result %s, %v, %+v", tc.script, result, err, st)
			}
			out := strings.NewReplacer(executor.HomePath(dir), "HOME", executor.TmpPath(dir), "TMP", executor.WorkPath(dir), "WORK").Replace(output(t, st))
			if tc.code != 2 && out != tc.out {
				t.Errorf("%q: output %q, want %q", tc.script, out, tc.out)
			}
			if err := executor.Remove(dir); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(argv[len(argv)-1]); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the script is left behind: %v", err)
			}
		}
	})
}
