package attemptdir_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/worker/attemptdir"
)

// TestDir_scriptAndResult runs scripts as a worker does: prepared directory,
// script, process, result.
func TestDir_scriptAndResult(t *testing.T) {
	t.Run("on disk", func(t *testing.T) { scriptAndResult(t, attemptdir.Dir.WriteScript) })
	t.Run("hidden", func(t *testing.T) { scriptAndResult(t, attemptdir.Dir.WriteHiddenScript) })
}

func scriptAndResult(t *testing.T, write func(dir attemptdir.Dir, script, shell string) ([]string, error)) {
	local, err := executor.NewLocal(executor.Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := local.Close(); err != nil {
			t.Error(err)
		}
	}()

	for _, tc := range []struct {
		name, script, result, out string
		code                      int
	}{
		{"environment", "echo passed=3 >>\"$PIPELINED_OUTPUT\"\necho \"$HOME $TMPDIR\"; test -d \"$HOME\"; test -d \"$TMPDIR\"", `{"passed":"3"}`, "HOME TMP\n", 0},
		{"interpreter", "#!/usr/bin/env sh\nprintf '{\"n\": %s}' 4 >$PIPELINED_OUTPUT\necho $undefined", `{"n":4}`, "\n", 0},
		{"error ends", "false; echo not reached", "", "", 1},
		{"undefined variable ends", "echo $undefined_variable", "", "", 2},
		{"working directory", "pwd", "", "WORK\n", 0},
	} {
		dir := prepared(t)
		argv, err := write(dir, tc.script, "")
		if err != nil {
			t.Fatal(err)
		}

		env := []string{"PATH=/usr/bin:/bin", "HOME=" + dir.Home(), "TMPDIR=" + dir.Tmp(), "PIPELINED_OUTPUT=" + dir.Result()}
		err = local.Start(t.Context(), []executor.Process{{ID: tc.name, Dir: string(dir), WorkDir: dir.Work(), Argv: argv, Env: env}})
		if err != nil {
			t.Fatal(err)
		}
		st := <-local.Exits()

		result, err := dir.ReadResult()
		if err != nil || string(result) != tc.result || st.ExitCode != tc.code {
			t.Errorf("%s: result %s, %v, %+v", tc.name, result, err, st)
		}

		text, err := os.ReadFile(dir.Log())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		out := strings.NewReplacer(dir.Home(), "HOME", dir.Tmp(), "TMP", dir.Work(), "WORK").Replace(string(text))
		if tc.code != 2 && out != tc.out {
			t.Errorf("%s: output %q, want %q", tc.name, out, tc.out)
		}

		if err := dir.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(argv[len(argv)-1]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the script is left: %v", tc.name, err)
		}
	}
}
