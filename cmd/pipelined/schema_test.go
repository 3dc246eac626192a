package main

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline/language"
)

func TestSchema(t *testing.T) {
	code, out, _ := newCommand(t, nil).exec("schema", "retry", "-json")
	var s language.Schema
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || len(s.Blocks) != 1 || s.Blocks[0].Name != "retry" {
		t.Errorf("schema retry -json: code %d, %v\n%s", code, err, out)
	}
	_, out, _ = newCommand(t, nil).exec("schema")
	for _, want := range []string{`pipeline "NAME" { … }`, "hooks { … } in pipeline", "hooks { … } in module", `"keep", "kill"`, ".tools"} {
		if !strings.Contains(out, want) {
			t.Errorf("schema does not print %q:\n%s", want, out)
		}
	}
	if _, out, _ := newCommand(t, nil).exec("schema", "module.hooks"); strings.Contains(out, "whole run") || !strings.Contains(out, "on_success") {
		t.Errorf("schema module.hooks:\n%s", out)
	}
	if code, _, errs := newCommand(t, nil).exec("schema", "modul"); code != exitUsage || !strings.Contains(errs, `did you mean "module"?`) {
		t.Errorf("schema modul: code %d, %s", code, errs)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, script, _ := newCommand(t, nil).exec("completion", shell)
		if code != 0 || !strings.Contains(script, "pipelined") {
			t.Errorf("completion %s: code %d\n%.300s", shell, code, script)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		check := exec.Command(path, "-n")
		check.Stdin = strings.NewReader(script)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("completion %s: %v\n%s", shell, err, out)
		}
	}
	for _, c := range []struct{ line, want string }{
		{"secrets", "set:"}, {"submit -de", "--detach"}, {"completion", "zsh:"},
	} {
		code, out, _ := newCommand(t, nil).exec(append(strings.Fields(c.line), "--generate-shell-completion")...)
		if code != 0 || !strings.Contains(out, c.want) {
			t.Errorf("%q is completed with %q, code %d; want %q", c.line, out, code, c.want)
		}
	}
	if code, _, errs := newCommand(t, nil).exec("completion", "ksh"); code != exitUsage || !strings.Contains(errs, "ksh") {
		t.Errorf("completion ksh: code %d, %s", code, errs)
	}
}
