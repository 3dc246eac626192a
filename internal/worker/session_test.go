package worker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/pipeline"
)

// A session sees the directory and the environment of its attempt, without what
// is secret, and ends before the directory is removed.
func TestSessions_running(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("a", func(s *pipeline.Spec) {
			s.Env = map[string]string{"A": "1", "TOKEN": "Bearer " + secret}
			s.Secrets, s.WorkingDir = map[string]string{"S": secret}, "sub"
		}))
		sub := filepath.Join(r.dirOf("a"), "work", "sub")
		r.write("a", "work/sub/f", "x")
		d, err := r.w.OpenSession(id("a"))
		if err != nil {
			t.Fatal(err)
		}
		if d.Dir != sub || !slices.Contains(d.Env, "A=1") || strings.Contains(strings.Join(d.Env, "\n"), secret) {
			t.Errorf("%s with %q", d.Dir, d.Env)
		}
		if !slices.Equal(d.Omitted, []string{"S", "TOKEN"}) {
			t.Errorf("left out %q", d.Omitted)
		}

		other, err := r.w.OpenSession(id("a"))
		if err != nil {
			t.Fatal(err)
		}
		other.Leave()
		if d.Gone.Err() != nil {
			t.Error("the end of one session ended another")
		}
		if err := os.RemoveAll(sub); err != nil { // else it could not be pooled anyway
			t.Fatal(err)
		}
		r.end("a", 0)
		if d.Gone.Err() == nil {
			t.Error("the directory is removed under a session")
		}
		d.Leave()
		if _, err := os.Stat(r.dirOf("a")); !os.IsNotExist(err) || len(r.w.sessions.guests) > 0 {
			t.Errorf("left: %v, %v", err, r.w.sessions.guests)
		}
		// The directory was not given to another attempt.
		if spare, err := os.ReadDir(r.cfg.WorkDir + "/spare"); err != nil || len(spare) > 0 {
			t.Errorf("pooled: %v, %v", spare, err)
		}
	})
}

func TestSessions_refused(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("a", nil), r.spec("b", behind("a")))
		if _, err := r.w.OpenSession(id("b")); pipeline.KindOf(err) != pipeline.Conflict {
			t.Errorf("while it is prepared: %v", err)
		}
		r.end("a", 1)
		if _, err := r.w.OpenSession(id("a")); pipeline.KindOf(err) != pipeline.NotFound || !strings.Contains(err.Error(), "-keep-work") {
			t.Errorf("after its end: %v", err)
		}
		if len(r.w.sessions.guests) > 0 {
			t.Errorf("refused sessions are counted: %v", r.w.sessions.guests)
		}
	})
}

// With -keep-work the directory of a failed attempt stays, with what a session
// needs to look at it, also after a restart; nothing in it is secret.
func TestSessions_kept(t *testing.T) {
	inRig(t, func(r *rig) { r.cfg.KeepWork = true }, func(t *testing.T, r *rig) {
		change := func(s *pipeline.Spec) {
			s.Env, s.Secrets = map[string]string{"A": "1"}, map[string]string{"S": secret}
		}
		r.run(r.spec("bad", change), 1)
		r.run(r.spec("good", change), 0)
		r.restart(nil)

		d, err := r.w.OpenSession(id("bad"))
		if err != nil {
			t.Fatal(err)
		}
		if d.Dir != r.dirOf("bad")+"/work" || !slices.Contains(d.Env, "A=1") || !slices.Contains(d.Omitted, "S") {
			t.Errorf("%s with %q, without %q", d.Dir, d.Env, d.Omitted)
		}
		d.Leave()
		if _, err := r.w.OpenSession(id("good")); pipeline.KindOf(err) != pipeline.NotFound || !strings.Contains(err.Error(), "failed attempts only") {
			t.Errorf("of one that succeeded: %v", err)
		}

		b, err := os.ReadFile(r.dirOf("bad") + "/" + keptName)
		if err != nil || strings.Contains(string(b), secret) {
			t.Errorf("%s, %v", b, err)
		}
		if err := os.WriteFile(r.dirOf("bad")+"/"+keptName, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err = r.w.OpenSession(id("bad")); err != nil || slices.Contains(d.Env, "A=1") {
			t.Errorf("with a damaged description: %+v, %v", d, err)
		} else {
			d.Leave()
		}
	})
}

// Secrets go to the process and to nothing that is written or reported.
func TestSecrets_hidden(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("a", func(s *pipeline.Spec) {
			s.Secrets, s.Env, s.Mask = map[string]string{"S": secret}, map[string]string{"S": "declared"}, []string{"other-" + secret}
			s.Script = "echo " + secret
		}))
		p, _ := r.runner.process("a")
		if !slices.Contains(p.Env, "S="+secret) || slices.Contains(p.Env, "S=declared") || !slices.Contains(p.Mask, secret) || !slices.Contains(p.Mask, "other-"+secret) {
			t.Errorf("environment %q, mask %q", p.Env, p.Mask)
		}
		if script := p.Argv[len(p.Argv)-1]; strings.HasPrefix(script, r.dir) {
			t.Errorf("the script with a secret lies on disk: %s", script)
		}
		r.runner.exit("a", func(st *executor.Status) { st.StartError = "no such file: /" + secret })
		r.quiesce()
		r.wants("a", pipeline.AttemptFailed, "no such file: /***")
	})
}

func TestSealed(t *testing.T) {
	open := pipeline.Spec{ID: id("a"), Script: "echo", Env: map[string]string{"A": "1"}}
	b, err := sealed(&open)
	if err != nil || !strings.Contains(string(b), `"echo"`) || strings.Contains(string(b), "sealed") {
		t.Errorf("without secrets: %s, %v", b, err)
	}
	for name, s := range map[string]pipeline.Spec{
		"secrets": {Secrets: map[string]string{"S": secret}},
		"mask":    {Mask: []string{secret}},
	} {
		s.ID, s.Command, s.Script, s.Env, s.Hooks = id("a"), []string{"x" + secret}, secret, map[string]string{"A": secret}, pipeline.Hooks{After: secret}
		s.Outputs = []string{"out"}
		b, err := sealed(&s)
		if err != nil || strings.Contains(string(b), secret) || !strings.Contains(string(b), `"sealed":true`) || !strings.Contains(string(b), `"out"`) {
			t.Errorf("%s: %s, %v", name, b, err)
		}
		if s.Script != secret {
			t.Errorf("%s: the spec itself was changed", name)
		}
	}
}
