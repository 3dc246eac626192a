package language_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// with puts a block before a module.
func with(block string) string {
	return body(block + "\nmodule \"m\" {\n command = [\"true\"]\n}")
}

func TestCompile_schedule(t *testing.T) {
	for _, c := range []struct {
		block string
		want  pipeline.Schedule
	}{
		{`schedule { cron = "0 3 * * *" }`, pipeline.Schedule{Cron: []string{"0 3 * * *"}, Timezone: "UTC", Overlap: "skip", CatchUp: "last"}},
		{"schedule {\n cron = [\"0 3 * * *\", \"@hourly\", \"@hourly\"]\n timezone = \"Europe/London\"\n overlap = \"allow\"\n catch_up = \"none\"\n}",
			pipeline.Schedule{Cron: []string{"0 3 * * *", "@hourly"}, Timezone: "Europe/London", Overlap: "allow", CatchUp: "none"}},
		// A run for each tick that was missed, and skipping those that overlap, do not go together.
		{"schedule {\n cron = \"*/2 * * * * *\"\n catch_up = \"all\"\n}", pipeline.Schedule{Cron: []string{"*/2 * * * * *"}, Timezone: "UTC", Overlap: "queue", CatchUp: "all"}},
		{"schedule {\n cron = \"@every 2s\"\n catch_up = \"all\"\n overlap = \"skip\"\n}", pipeline.Schedule{Cron: []string{"@every 2s"}, Timezone: "UTC", Overlap: "skip", CatchUp: "all"}},
		{"variable \"zone\" {\n default = \"Asia/Tokyo\"\n}\nlocals {\n at = \"30 4 * * *\"\n}\nschedule {\n cron = local.at\n timezone = var.zone\n}",
			pipeline.Schedule{Cron: []string{"30 4 * * *"}, Timezone: "Asia/Tokyo", Overlap: "skip", CatchUp: "last"}},
		// The pipeline is called p.
		{"schedule { cron = [\"H 3 * * *\", \"H/15 * * * *\"] }", pipeline.Schedule{Cron: []string{"23 3 * * *", "8-59/15 * * * *"}, Timezone: "UTC", Overlap: "skip", CatchUp: "last"}},
	} {
		p := compile(t, with(c.block), language.Inputs{})
		if d := cmp.Diff(&c.want, p.Schedule); d != "" {
			t.Errorf("%s\n-want +got:\n%s", c.block, d)
		}
	}

	if p := compile(t, with(""), language.Inputs{}); p.Schedule != nil || p.Concurrency != nil {
		t.Errorf("got %v and %v from nothing", p.Schedule, p.Concurrency)
	}
}

func TestCompile_concurrency(t *testing.T) {
	for _, c := range []struct {
		block string
		want  pipeline.Concurrency
	}{
		{"concurrency {\n}", pipeline.Concurrency{Group: "p"}},
		{"concurrency {\n group = \"deploy ${git.branch}\"\n cancel_in_progress = git.branch != \"main\"\n}", pipeline.Concurrency{Group: "deploy topic", CancelInProgress: true}},
		{"variable \"env\" {\n default = \"prod\"\n}\nconcurrency {\n group = \"${pipeline.name}-${var.env}\"\n}", pipeline.Concurrency{Group: "p-prod"}},
	} {
		p := compile(t, with(c.block), language.Inputs{Git: pipeline.Git{Branch: "topic"}})
		if d := cmp.Diff(&c.want, p.Concurrency); d != "" {
			t.Errorf("%s\n-want +got:\n%s", c.block, d)
		}
	}
}

func TestParse_scheduleMistakes(t *testing.T) {
	const (
		cron  = ` | write minute, hour, day of month, month and day of week, such as "0 3 * * *" (the seconds may stand before them), or @daily, or @every 90s`
		zone  = ` | write a name of the IANA database, such as "Europe/London" or "UTC"`
		group = ` | it has from 1 to 255 bytes, and no control character`
	)

	for _, c := range []struct{ block, want string }{
		{`schedule { cron = "0 3 * *" }`, `2:19 cron: invalid cron expression "0 3 * *": 4 fields: expected 5 (minute, hour, day of month, month, day of week), or 6 with the seconds first` + cron},
		{"schedule {\n cron = [\"0 3 * * *\", \"0 0 31 2 *\"]\n}", `3:23 cron[1]: invalid cron expression "0 0 31 2 *": there is no such day: it would never be due` + cron},
		{`schedule { cron = "h 3 * * *" }`, `2:19 cron: invalid cron expression "h 3 * * *": minute "h": a value that follows from the pipeline's name is a capital H: H` + cron},
		{"schedule {\n cron = 5\n}", `3:9 cron: expected a list, got a number | write a list: [ … ]`},
		{"schedule {\n cron = []\n}", `2:1 cron is empty | write cron = "0 3 * * *"`},
		{"schedule {\n cron = \"@daily\"\n timezone = \"Europe/Lodnon\"\n}", `4:13 timezone: invalid time zone: no time zone is called "Europe/Lodnon"` + zone},
		{"schedule {\n cron = \"@daily\"\n timezone = \"Local\"\n}", `4:13 timezone: invalid time zone: every node has a local time of its own` + zone},
		{"schedule {\n cron = \"@daily\"\n overlap = \"queu\"\n}", `4:12 overlap: invalid value "queu" | did you mean "queue"?`},
		{"schedule {\n cron = \"@daily\"\n catchup = \"all\"\n}", `4:2 unknown attribute "catchup" in schedule | did you mean "catch_up"?`},
		{"schedule {\n cron = \"@daily\"\n}\nschedule {\n cron = \"@hourly\"\n}", `5:1 second schedule block | the first is at p.hcl:2:1`},
		{"schedule = \"@daily\"", `2:1 schedule is a block | write schedule { … } without =`},
		{"schedule {\n cron = run.id\n}", `3:9 cron must be known at submission and cannot name run.id | an expression that needs results or the run's id may stand in command, script, when, for_each, a module's env and an approval's message`},
		{"concurrency {\n group = \"g-${run.number}\"\n}", `3:10 group must be known at submission and cannot name run.number | an expression that needs results or the run's id may stand in command, script, when, for_each, a module's env and an approval's message`},
		{"concurrency {\n group = \" \"\n}", `3:10 group: invalid group " "` + group},
		{"concurrency {\n group = \"a\\tb\"\n}", `3:10 group: invalid group "a\tb"` + group},
		{"concurrency {\n cancel_in_progress = \"maybe\"\n}", `3:23 cancel_in_progress: expected true or false, got a string | write true or false`},
		{"concurrency {\n cancel-in-progress = true\n}", `3:2 unknown attribute "cancel-in-progress" in concurrency | did you mean "cancel_in_progress"?`},
	} {
		if got := strings.Join(mistakes(t, with(c.block), language.Inputs{}), "; "); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.block, got, c.want)
		}
	}
}
