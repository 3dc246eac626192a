package service_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// What a submission names is in the run, and its workspace was secured before.
func TestRuns_Submit(t *testing.T) {
	r := newRig(t)
	in := source(chain + "\n  concurrency { group = \"g\" }")
	in.Workspace, in.Cache = blob.DigestOf([]byte("files")), pipeline.CacheRefresh
	made, err := r.runs.Submit(t.Context(), sam, "key", in)
	if err != nil || made.Number != 1 || made.Repeated {
		t.Fatalf("%+v, %v", made, err)
	}

	r.view(func(v *fsm.View) {
		run, ok := v.Run(made.ID)
		if !ok || run.Pipeline != "p" || run.Modules != 4 || run.Submitter != "sam" || run.Workspace != in.Workspace || run.Key != "key" ||
			run.Cache != pipeline.CacheRefresh || run.Group != "g" || !slices.Equal(run.Holders, []pipeline.NodeID{"n1", "n2"}) {
			t.Errorf("run %+v", run)
		}
	})
	if !slices.Equal(r.workspaces.asked, []pipeline.Digest{in.Workspace}) {
		t.Errorf("secured %v", r.workspaces.asked)
	}
	if n := r.leader.commits.Load(); n != 1 {
		t.Errorf("%d entries of the log, want one", n)
	}
}

// One idempotency key makes one run. With another request it is a conflict, not
// a wrong run.
func TestRuns_Submit_key(t *testing.T) {
	r := newRig(t)
	first, err := r.runs.Submit(t.Context(), sam, "key", source(chain))
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.runs.Submit(t.Context(), sam, "key", source(chain))
	if err != nil || again.ID != first.ID || again.Number != first.Number || !again.Repeated {
		t.Errorf("again %+v, %v; first %+v", again, err, first)
	}

	other := source(chain)
	other.Env = map[string]string{"BUILD": "2"}
	_, err = r.runs.Submit(t.Context(), sam, "key", other)
	wantError(t, "the key with another request", err, pipeline.Conflict, `idempotency key "key"`)

	// Without a key every submission is a run of its own.
	one, two := r.newRun(chain), r.newRun(chain)
	if one == two {
		t.Error("two submissions without a key made one run")
	}
}

// All mistakes of a source come back at once, each with its place.
func TestRuns_Submit_mistakes(t *testing.T) {
	r := newRig(t)
	_, err := r.runs.Submit(t.Context(), sam, "", source(`  module "a" { comand = ["true"] }
  module "b" {
    depends_on = [module.zzz]
    command    = ["true"]
  }
  module "c" { command = ["true"] }
  module "c" { command = ["true"] }`))
	var mistakes *api.SourceError
	if !errors.As(err, &mistakes) || pipeline.KindOf(err) != pipeline.Invalid {
		t.Fatalf("error %v, want the mistakes of the source", err)
	}

	lines := map[int]bool{}
	for _, d := range mistakes.Diagnostics {
		lines[d.Line] = true
		if d.File != "test.hcl" || d.Summary == "" || d.Column == 0 {
			t.Errorf("diagnostic %+v", d)
		}
	}
	for _, line := range []int{2, 4, 8} {
		if !lines[line] {
			t.Errorf("no diagnostic of line %d in %+v", line, mistakes.Diagnostics)
		}
	}
	if len(r.workspaces.asked) > 0 {
		t.Error("the workspace was secured before the source was checked")
	}
}

// A source without a name has one in its diagnostics; mistakes that only the
// inputs show are found too.
func TestRuns_Submit_variables(t *testing.T) {
	r := newRig(t)
	in := source("  variable \"n\" { type = number }\n  module \"a\" { command = [\"echo\", var.n] }")
	in.FileName = ""
	_, err := r.runs.Submit(t.Context(), sam, "", in)
	wantError(t, "no value for a variable", err, pipeline.Invalid, "pipeline.hcl:2")

	in.Variables = map[string]string{"n": "1", "zz": "x", "aa": "y"}
	_, err = r.runs.Submit(t.Context(), sam, "", in)
	var mistakes *api.SourceError
	if !errors.As(err, &mistakes) || len(mistakes.Diagnostics) != 2 || !strings.Contains(mistakes.Diagnostics[0].Summary, "aa") {
		t.Errorf("unknown variables: %v, want those in order", err)
	}

	in.Variables = map[string]string{"n": "1"}
	if _, err := r.runs.Submit(t.Context(), sam, "", in); err != nil {
		t.Error(err)
	}
}

// A run shows the values of its variables as texts, but not those of sensitive ones.
func TestRuns_Run_variables(t *testing.T) {
	r := newRig(t)
	in := source(`  variable "long" { default = "` + strings.Repeat("x", 300) + `" }
  variable "list" { default = ["a", 1] }
  variable "name" {}
  variable "pass" { sensitive = true }
  variable "times" { default = 3 }
  module "a" { command = ["echo", var.name] }`)
	in.Variables = map[string]string{"name": "ann", "pass": password}
	made, err := r.runs.Submit(t.Context(), sam, "", in)
	if err != nil {
		t.Fatal(err)
	}
	run, err := r.runs.Run(t.Context(), made.ID, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"long": strings.Repeat("x", 256) + "…", "list": `["a",1]`, "name": "ann", "times": "3"}
	if !maps.Equal(run.Variables, want) || !slices.Equal(run.Sensitive, []string{"pass"}) {
		t.Errorf("got %q and %q, want %q and pass", run.Variables, run.Sensitive, want)
	}
	if later, err := r.runs.Run(t.Context(), made.ID, 0, 0, run.Index); err != nil || later.Variables != nil {
		t.Errorf("who knows the run gets %q, %v", later.Variables, err)
	}
}

// A run exists only if its workspace is safe, and what its secrets are is known.
func TestRuns_Submit_refused(t *testing.T) {
	r := newRig(t)
	in := source(chain)
	in.Cache = "sometimes"
	_, err := r.runs.Submit(t.Context(), sam, "", in)
	wantError(t, "cache", err, pipeline.Invalid, `cache "sometimes"`, `"refresh"`, `"off"`)

	r.workspaces.fail = pipeline.Errorf(pipeline.Unavailable, "no second node took the workspace")
	_, err = r.runs.Submit(t.Context(), sam, "", source(chain))
	wantError(t, "workspace", err, pipeline.Unavailable, "no second node")
	r.workspaces.fail = nil

	_, err = r.runs.Submit(t.Context(), sam, strings.Repeat("k", 2000), source(chain))
	wantError(t, "long key", err, pipeline.Invalid, "idempotency key")

	r.view(func(v *fsm.View) {
		v.Runs(0, func(run pipeline.Run) bool { t.Errorf("run %s exists", run.ID); return true })
	})
}

// A node whose disk is full makes no new run, and still knows those that a key has made.
func TestRuns_Submit_fullDisk(t *testing.T) {
	r := newRig(t)
	first, err := r.runs.Submit(t.Context(), sam, "key", source(chain))
	if err != nil {
		t.Fatal(err)
	}

	r.full = "disk low"
	for _, key := range []string{"another", ""} {
		_, err = r.runs.Submit(t.Context(), sam, key, source(chain))
		wantError(t, "key "+key, err, pipeline.Unavailable, "disk low")
		if !errors.As(err, new(*api.NoSpaceError)) {
			t.Errorf("key %q: %T is not answered with 507", key, err)
		}
	}
	if again, err := r.runs.Submit(t.Context(), sam, "key", source(chain)); err != nil || again.ID != first.ID || !again.Repeated {
		t.Errorf("the known key: %+v, %v", again, err)
	}

	r.full = ""
	if _, err := r.runs.Submit(t.Context(), sam, "another", source(chain)); err != nil {
		t.Error(err)
	}
}

// A pipeline of 10,000 modules fits into a command: written out in blocks as short as
// the source's limit asks for, or as instances, whose names and values differ.
func TestRuns_Submit_manyModules(t *testing.T) {
	const most = 10_000
	blocks := "pipeline \"p\" {\n"
	for i := range most {
		blocks += fmt.Sprintf("module m%x{script=\":\"}\n", i)
	}
	blocks += "}\n"

	numbers := make([]string, 100)
	for i := range numbers {
		numbers[i] = fmt.Sprint(i)
	}
	list := strings.Join(numbers, ",")
	instances := "pipeline \"p\" {\n"
	for i := range 4 {
		instances += fmt.Sprintf("module m%d {\n matrix = { a = [%s], b = [%s] }\n script = \"test ${matrix.a} -lt ${matrix.b}\"\n}\n", i, list, strings.Join(numbers[:25], ","))
	}
	instances += "}\n"

	for what, text := range map[string]string{"blocks": blocks, "instances": instances} {
		r := newRig(t)
		made, err := r.runs.Submit(t.Context(), sam, "", wire.SubmitRequest{FileName: "p.hcl", Source: text})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		r.view(func(v *fsm.View) {
			if run, _ := v.Run(made.ID); run.Modules != most {
				t.Errorf("%s: a run of %d modules", what, run.Modules)
			}
		})
	}
}

// A pipeline that does not fit into a command is refused with what is too large.
func TestRuns_Commit_tooLarge(t *testing.T) {
	r := newRig(t)
	var text strings.Builder
	for range 12_000 {
		text.WriteString(service.RandomHex(32))
	}
	def := &pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{{Name: "a", Script: text.String()}}}
	_, err := r.runs.Commit(t.Context(), sam, def, pipeline.Run{ID: service.NewRunID()}, nil)
	wantError(t, "large pipeline", err, pipeline.TooLarge, "the pipeline is too large: compressed it has")
}

// A secret that is not set is a mistake at its place, with how to set it.
func TestRuns_Submit_missingSecret(t *testing.T) {
	const blocks = "  module \"a\" {\n    command = [\"true\"]\n    secrets = [\"PASSWORD\", \"LOGIN\"]\n  }"
	r := newRig(t)
	_, err := r.runs.Submit(t.Context(), sam, "", source(blocks))
	var mistakes *api.SourceError
	if !errors.As(err, &mistakes) || len(mistakes.Diagnostics) != 2 {
		t.Fatalf("error %v, want two diagnostics", err)
	}
	if d := mistakes.Diagnostics[0]; d.Line != 4 || !strings.Contains(d.Summary+d.Detail, "pipelined secrets set PASSWORD") {
		t.Errorf("diagnostic %+v", d)
	}

	for _, name := range []string{"PASSWORD", "LOGIN"} {
		if _, err := r.secrets.SetSecret(t.Context(), sam, name, wire.SecretRequest{Value: "swordfish"}); err != nil {
			t.Fatal(err)
		}
	}
	r.newRun(blocks)

	// Modules that do not run need none.
	const skipped = "  module \"a\" {\n    when = false\n    command = [\"true\"]\n    secrets = [\"NONE\"]\n  }\n" +
		"  module \"b\" {\n    depends_on = [module.a]\n    command = [\"true\"]\n    secrets = [\"NONE\"]\n  }"
	r.newRun(skipped)

	// Those that are given replace the state's.
	r = newRigWith(t, map[string]string{"LOGIN": "sam"})
	_, err = r.runs.Submit(t.Context(), sam, "", source(blocks))
	if !errors.As(err, &mistakes) || len(mistakes.Diagnostics) != 1 ||
		!strings.Contains(mistakes.Diagnostics[0].Summary+mistakes.Diagnostics[0].Detail, service.SecretPrefix+"PASSWORD") {
		t.Errorf("given secrets: %v", err)
	}
}

// Without a leader a node cannot say that a secret is not set, so it does not.
func TestRuns_Submit_secretsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const blocks = "  module \"a\" {\n    command = [\"true\"]\n    secrets = [\"PASSWORD\"]\n  }"
		r := newRig(t)
		r.loseLeader()
		_, err := r.runs.Submit(t.Context(), sam, "", source(blocks))
		wantError(t, "behind", err, pipeline.Unavailable, "cannot tell whether the secrets")

		r.cluster.self.Mode = pipeline.ModeWorker
		_, err = r.runs.Submit(t.Context(), sam, "", source(blocks))
		wantError(t, "no state, no leader", err, pipeline.Unavailable, "no leader")
	})
}

// If no leader takes a run for ten seconds, the error says so, and that nothing
// was made.
func TestRuns_Submit_noLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.leader.refuse = pipeline.ErrNoLeader
		_, err := r.runs.Submit(t.Context(), sam, "", source(chain))
		wantError(t, "no leader", err, pipeline.Unavailable, "no leader")

		r.leader.refuse = pipeline.ErrUnknownOutcome
		_, err = r.runs.Submit(t.Context(), sam, "", source(chain))
		wantError(t, "unknown", err, pipeline.Unknown, "the same idempotency key")
	})
}

// A proposal that is repeated because its first outcome was not known is no
// repeated submission: the caller made the run.
func TestRuns_Commit_repeatedProposal(t *testing.T) {
	r := newRig(t)
	def := &pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{{Name: "m", Command: []string{"true"}}}}
	run := pipeline.Run{ID: service.NewRunID(), Submitter: "sam"}
	for range 2 {
		made, err := r.runs.Commit(t.Context(), sam, def, run, []byte("request"))
		if err != nil || made.ID != run.ID || made.Repeated {
			t.Errorf("%+v, %v", made, err)
		}
	}
}

// Ids sort by the time at which they were made, and are valid run ids.
func TestNewRunID(t *testing.T) {
	var ids []pipeline.RunID
	for range 100 {
		id := service.NewRunID()
		if _, err := pipeline.ParseRunID(string(id)); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if !slices.IsSorted(ids) || len(slices.Compact(ids)) != 100 {
		t.Errorf("ids %v", ids)
	}
}
