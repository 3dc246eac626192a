package language_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

const notifySource = `
variable "to" {
  default = "ops"
}
variable "hidden" {
  sensitive = true
  default   = "hidden value"
}
locals { late = "run ${run.number}" }
env = { TOP = "1", OVER = "top" }
workspace {
  exclude = ["**"]
}
hooks {
  after = "true"
}
module "a" {
  command = ["true"]
}
notify "chat" {
  webhook = "${var.to}-chat"
}
notify "said" {
  on      = ["start", "success", "start"]
  webhook = "chat"
  message = "  to ${var.to}\nnow "
}
notify "late" {
  webhook = "chat"
  message = "${local.late} of ${var.to}: ${upper(run.status)}"
}
notify "mail" {
  on      = ["failure", "start"]
  command = ["mail", var.to]
  env     = { OVER = "own", ID = run.id, TOKEN = var.hidden }
  secrets = ["SMTP"]
  timeout = "1m"
}
`

// A notify block with a webhook is kept as it is; one with a command becomes modules.
func TestCompile_notify(t *testing.T) {
	p := compile(t, body(notifySource), language.Inputs{})
	late := &pipeline.DeferredExpr{Source: `"${local.late} of ${var.to}: ${upper(run.status)}"`, Line: 31, Column: 13}
	want := []pipeline.Notify{
		{Name: "chat", On: []string{"failure", "recovery"}, Webhook: "ops-chat"},
		{Name: "said", On: []string{"start", "success"}, Webhook: "chat", Message: "to ops\nnow"},
		{Name: "late", On: []string{"failure", "recovery"}, Webhook: "chat", Deferred: late, Expensive: true},
		{Name: "mail", On: []string{"failure", "start"}},
	}
	if diff := cmp.Diff(want, p.Notify); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := len(p.NotifyTargets()); got != 3 {
		t.Errorf("%d go to webhooks", got)
	}

	start, end := p.Module("notify[mail,start]"), p.Module("notify[mail]")
	if start == nil || end == nil || len(p.Modules) != 4 {
		t.Fatalf("modules %+v", p.Modules)
	}
	for m, want := range map[*pipeline.Module]pipeline.Module{
		start: {Hook: pipeline.HookNotifyStart, NotifyOn: []string{"start"}},
		end:   {Hook: pipeline.HookNotify, NotifyOn: []string{"failure"}, AlwaysRun: true, DependsOn: []string{"a", "hooks[after]"}},
	} {
		got := pipeline.Module{Hook: m.Hook, NotifyOn: m.NotifyOn, AlwaysRun: m.AlwaysRun, DependsOn: m.DependsOn}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", m.Name, diff)
		}
		if !m.IgnoreFailure || m.Of != "notify" || m.Timeout != time.Minute || m.Env["OVER"] != "own" || m.Env["TOP"] != "1" || m.Deferred["env.ID"].Source != "run.id" ||
			!m.Deferred["env.TOKEN"].Sensitive || !cmp.Equal(m.Command, []string{"mail", "ops"}) || !cmp.Equal(m.Secrets, []string{"SMTP"}) {
			t.Errorf("%s: %+v", m.Name, m)
		}
	}

	// What -target selects leaves out no notification.
	if p := compile(t, body(notifySource+"module \"b\" {\n command = [\"true\"]\n}"), language.Inputs{Targets: []string{"b"}}); p.Module("notify[mail]") == nil || p.Module("a") != nil {
		t.Errorf("with -target b: %+v", p.Modules)
	}

	missing := parse(t, body(notifySource)).MissingSecrets(p, nil, func(string) string { return "" })
	if len(missing) != 1 || missing[0].Line != 37 || missing[0].Summary != `notify "mail": secret "SMTP" is not set` {
		t.Errorf("missing secrets: %v", missing)
	}
}

// The message that names the run is evaluated when the run is known.
func TestEvaluate_notify(t *testing.T) {
	p := compile(t, body(notifySource), language.Inputs{})
	p.Scope.RunNumber, p.Scope.RunStatus = 12, "failed"
	n := p.Notify[2]
	m := &pipeline.Module{Name: "x", Deferred: map[string]pipeline.DeferredExpr{pipeline.DeferredNotify: *n.Deferred}, Expensive: n.Expensive}
	got, err := language.Evaluate(context.Background(), newEvaluator(t), p, m, nil)
	if err != nil || got.Message != "run 12 of ops: FAILED" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParse_notifyMistakes(t *testing.T) {
	block := func(lines string) string {
		return body("notify \"n\" {\n" + lines + "\n}\nvariable \"s\" {\n sensitive = true\n default = \"x\"\n}\nlocals {\n l = module.m.status\n}\nmodule \"m\" {\n command = [\"true\"]\n}")
	}
	const name = "a command finds the modules that failed in the file $PIPELINED_NOTICE, and a message is sent with them"
	for _, row := range []struct{ src, want string }{
		{block("webhook = \"c\"\non = []"), `4:6 notify.on: no event | write on = ["failure", "recovery"]`},
		{block("webhook = \"\""), `3:11 notify.webhook: invalid name "" of a webhook | it is the name that pipelined webhooks ls shows`},
		{block("webhook = run.id"), `3:11 notify.webhook must be known at submission and cannot name run.id | an expression that needs results or the run's id may stand in command, script, when, for_each, a module's env and an approval's message`},
		{block("webhook = \"c\"\nmessage = var.s"), `4:11 notify.message cannot name var.s, which is sensitive | its value is stored and shown: give it in env to the modules that need it`},
		{block("webhook = \"c\"\nmessage = local.l"), `4:11 a notify block can name no module, and not local.l, which waits for modules | ` + name},
		{block("command = [module.m.status]"), `3:11 a notify block can name no module, and not module.m | ` + name},
		{block("command = [run.status]"), `3:12 only the message of a notify block sees run.status | module.NAME.status is that of a module; hooks and commands of notify blocks see $PIPELINED_STATUS`},
		{block("webhook = \"c\"\ntimeout = \"1m\""), `4:1 notify "n": timeout has a meaning only beside command or script | leave it out`},
		{block("webhook = \"c\"\nmessage = \"" + strings.Repeat("x", 2001) + "\""), `4:11 message: 2001 bytes are more than 2000`},
		{block("webhook = \"c\"\nmessage = \"a\\u0001\""), `4:11 message: control character in the text`},
		{moduleWith("command = [\"a\"]\nnotify {\n webhook = \"c\"\n}"), `4:1 unknown block "notify" in module | write it in the pipeline, outside of its modules`},
		{body("notify \"n\" {\n webhook = \"c\"\n}\nmodule \"notify\" {\n command = [\"a\"]\n}"), `1:10 a module cannot be named notify beside notify blocks | name the module differently`},
	} {
		if got := strings.Join(mistakes(t, row.src, language.Inputs{}), "; "); got != row.want {
			t.Errorf("%s\n got %s\nwant %s", row.src, got, row.want)
		}
	}
}
