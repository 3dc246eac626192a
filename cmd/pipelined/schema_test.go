package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

func TestSchema(t *testing.T) {
	code, out, _ := newCommand(t, nil).exec("schema", "retry", "-json")
	var s language.Schema
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || len(s.Blocks) != 1 || s.Blocks[0].Name != "retry" {
		t.Errorf("schema retry -json: code %d, %v\n%s", code, err, out)
	}
	_, out, _ = newCommand(t, nil).exec("schema")
	for _, want := range []string{`pipeline "NAME" { … }`, "hooks { … } in pipeline", "hooks { … } in module", "locals { … } in pipeline, or at the top of an imported file: ", `"keep", "kill"`, ".tools"} {
		if !strings.Contains(out, want) {
			t.Errorf("schema does not print %q:\n%s", want, out)
		}
	}
	if _, out, _ := newCommand(t, nil).exec("schema", "module.hooks"); strings.Contains(out, "whole run") || !strings.Contains(out, "on_success") {
		t.Errorf("schema module.hooks:\n%s", out)
	}
	for name, want := range map[string]string{"caches": "module", "module.env": "module", "not_in_parallel": "module", "registry_auth": "module"} {
		attribute := name[strings.LastIndex(name, ".")+1:]
		if code, out, errs := newCommand(t, nil).exec("schema", name); code != 0 || !strings.HasPrefix(out, want) || !strings.Contains(out, "\n  "+attribute+" ") || strings.Contains(out, "\n  command ") {
			t.Errorf("schema %s: code %d, %s\n%s", name, code, errs, out)
		}
	}
	if code, _, errs := newCommand(t, nil).exec("schema", "not_in_paralel"); code != exitUsage || !strings.Contains(errs, `did you mean "not_in_parallel"?`) {
		t.Errorf("schema not_in_paralel: code %d, %s", code, errs)
	}
	if code, _, errs := newCommand(t, nil).exec("schema", "modul"); code != exitUsage || !strings.Contains(errs, `did you mean "module"?`) {
		t.Errorf("schema modul: code %d, %s", code, errs)
	}
}

// A run is named by its number, and found before anything is done with it.
func TestRun_byNumber(t *testing.T) {
	f := newFakeCluster(t)
	c := newCommand(t, f)
	f.add(&fakeRun{run: wire.Run{RunSummary: wire.RunSummary{ID: "r1", Number: 12, Pipeline: "release", State: pipeline.RunSucceeded}}})
	if code, _, errs := c.exec("pin", "12"); code != 0 || !slices.Contains(f.asked(), "POST /api/v1/runs/r1/pin") {
		t.Errorf("exit %d, %s, asked %q", code, errs, f.asked())
	}
}

// The dashboard's address goes to stdout, and no browser is started without a terminal.
func TestUI(t *testing.T) {
	f := newFakeCluster(t)
	c := newCommand(t, f)
	if code, out, errs := c.exec("ui"); code != 0 || out != f.URL+"/#code=pdc_1_2\n" || errs != "" {
		t.Errorf("exit %d, %q, %s", code, out, errs)
	}
}
