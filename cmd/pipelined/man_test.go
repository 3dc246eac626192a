package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each command has a page, the same in two builds, that a formatter of manuals takes
// without a warning.
func TestMan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	if code, out, errs := newCommand(t, nil).exec("man", dir); code != 0 || !strings.HasSuffix(out, " pages in "+dir+"\n") || errs != "" {
		t.Fatalf("exit %d, %q, %s", code, out, errs)
	}
	again := t.TempDir()
	newCommand(t, nil).exec("man", again)
	macro := regexp.MustCompile(`^\.(TH|SH|PP|TP|B|nh|ad)( |$)`)
	for name, want := range map[string]string{
		"pipelined.1": `pipelined\-run(1)`, "pipelined-run.1": `\-max\-parallel N`, "pipelined-token.1": ".SH TOKEN CREATE",
		"pipelined-completion.1": "pipelined completion fish >", "pipelined-agent.hcl.5": "keep_runs_for",
	} {
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(page), want) {
			t.Errorf("%s: %v; want %q in\n%s", name, err, want, page)
		}
		if same, err := os.ReadFile(filepath.Join(again, name)); err != nil || string(same) != string(page) {
			t.Errorf("%s differs when it is written again, or %v", name, err)
		}
		for line := range strings.SplitSeq(string(page), "\n") {
			if strings.HasPrefix(line, ".") && !macro.MatchString(line) {
				t.Errorf("%s: %q begins as a macro does", name, line)
			}
		}
	}
	_, help, _ := newCommand(t, nil).exec("help")
	for _, m := range regexp.MustCompile(`(?m)^   ([a-z]+) +[a-z]`).FindAllStringSubmatch(help, -1) {
		if _, err := os.Stat(filepath.Join(dir, "pipelined-"+m[1]+".1")); err != nil {
			t.Errorf("no page for %s: %v", m[1], err)
		}
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("groff is not installed")
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(pages) < 40 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	check := exec.Command(groff, append([]string{"-man", "-ww", "-Tascii", "-z"}, pages...)...)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
}
