package container_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/executor/container"
	"github.com/pipelined/pipelined/pipeline"
)

// ended is a process of a job that has ended.
type ended struct {
	code     int
	out, err string
	report   container.Report
}

// job is one of attempt "a" of node "n".
func (f *fake) job(t *testing.T) *container.Job {
	t.Helper()
	return &container.Job{Engine: f.engine(t).Facts, Node: "n", Attempt: "a", Image: "id of tool:1", Name: "tool:1", Digest: "sha256:x", WorkDir: "/work",
		Report: filepath.Join(t.TempDir(), "report")}
}

// run runs a job as the hidden command does.
func run(t *testing.T, j *container.Job, argv ...string) ended {
	t.Helper()
	line, err := j.Run("pipelined", argv)
	if err != nil {
		t.Fatal(err)
	}
	return command(t, j, line)
}

func command(t *testing.T, j *container.Job, line []string) ended {
	t.Helper()
	if line[1] != container.Command {
		t.Fatalf("the line is %q", line)
	}
	var out, errs bytes.Buffer
	got := ended{code: container.Main(line[2:], &out, &errs)}
	got.out, got.err = out.String(), errs.String()
	var err error
	if got.report, err = container.ReadReport(j.Report); err != nil {
		t.Fatal(err)
	}
	return got
}

func prints(text string, code int) program { return func(*box) (string, int) { return text, code } }

// until is a program that ends when it gets a signal.
func until(b *box) (string, int) { return "got " + <-b.kills + "\n", 143 }

func TestRun(t *testing.T) {
	f := newFake(t)
	f.images["tool:1"] = prints("hello\n", 3)
	j := f.job(t)
	j.Mounts, j.ReadOnly, j.Memory, j.CPU = []string{"/work"}, []string{"/script"}, 64<<20, 0.5
	t.Setenv("OF_MODULE", "yes")
	f.called()
	got := run(t, j, "tool", "-x")
	if got.code != 3 || got.out != "hello\n" || !reflect.DeepEqual(got.report, container.Report{Digest: "sha256:x"}) {
		t.Errorf("it ended as %+v", got)
	}
	// Attached and waited for before it starts, so that nothing of it is missed.
	want := []string{"POST /containers/create", "POST /containers/box1/attach", "POST /containers/box1/wait", "POST /containers/box1/start", "GET /containers/box1/json"}
	if calls := f.called(); !slices.Equal(calls, want) {
		t.Errorf("calls %q, want %q", calls, want)
	}

	made := f.boxes["box1"].made
	if !slices.Equal(made.Entrypoint, []string{"tool", "-x"}) || len(made.Cmd) > 0 || made.WorkingDir != "/work" || made.Image != "id of tool:1" {
		t.Errorf("it runs %+v", made)
	}
	if !slices.Contains(made.Env, "OF_MODULE=yes") {
		t.Errorf("its environment is %q", made.Env)
	}
	if want := map[string]string{"pipelined.node": "n", "pipelined.attempt": "a"}; !reflect.DeepEqual(made.Labels, want) {
		t.Errorf("its labels are %v", made.Labels)
	}
	h := made.HostConfig
	if h.LogConfig.Type != "none" || h.Memory != 64<<20 || h.NanoCpus != 5e8 {
		t.Errorf("the host's part is %+v", h)
	}
	if len(h.Mounts) != 2 || h.Mounts[0].Source != "/work" || h.Mounts[0].ReadOnly || h.Mounts[1].Target != "/script" || !h.Mounts[1].ReadOnly {
		t.Errorf("mounts %+v", h.Mounts)
	}
}

func TestRun_outOfMemory(t *testing.T) {
	f := newFake(t)
	f.images["tool:1"] = func(b *box) (string, int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		b.oom = true
		return "", 137
	}
	if got := run(t, f.job(t), "tool"); got.code != 137 || !got.report.OutOfMemory || got.report.Problem != "" {
		t.Errorf("it ended as %+v", got)
	}
}

// A program that the image does not have is the module's mistake.
func TestRun_noProgram(t *testing.T) {
	f := newFake(t)
	got := run(t, f.job(t), "tool")
	if got.code != 127 || !strings.HasPrefix(got.report.Problem, "image tool:1: ") || got.report.Machine || !strings.Contains(got.err, "no such program") {
		t.Errorf("it ended as %+v", got)
	}
}

// What no engine would make is the module's mistake, too.
func TestRun_invalid(t *testing.T) {
	f := newFake(t)
	f.images["db:1"], f.images["tool:1"], f.invalid = until, prints("", 0), "No command specified"
	for want, job := range map[string]*container.Job{"image tool:1: ": f.job(t), "service db: image db:1: ": f.withService(t, time.Minute)} {
		got := run(t, job, "tool")
		if !strings.HasPrefix(got.report.Problem, want) || !strings.Contains(got.report.Problem, f.invalid) || got.report.Machine {
			t.Errorf("it ended as %+v, want %q", got, want)
		}
	}
}

func TestRun_stopped(t *testing.T) {
	f := newFake(t)
	f.images["tool:1"] = func(b *box) (string, int) {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
			return err.Error(), 1
		}
		return until(b)
	}
	if got := run(t, f.job(t), "tool"); got.code != 143 || got.out != "got SIGTERM\n" || got.report.Problem != "" {
		t.Errorf("it ended as %+v", got)
	}
}

// An engine that dies is the machine's fault, at each moment.
func TestRun_engineDies(t *testing.T) {
	f := newFake(t)
	f.images["tool:1"] = func(b *box) (string, int) {
		f.die()
		return until(b)
	}
	j := f.job(t)
	t.Cleanup(func() { f.boxes["box1"].kills <- "the end" })
	for range 2 { // while it runs, and before it is made
		got := run(t, j, "tool")
		if got.code != 125 || !got.report.Machine || !strings.HasPrefix(got.report.Problem, "container engine: ") {
			t.Errorf("it ended as %+v", got)
		}
	}
	line, err := j.Remove("pipelined")
	if err != nil {
		t.Fatal(err)
	}
	if got := command(t, j, line); got.code != 1 || !strings.Contains(got.err, "list containers") {
		t.Errorf("the removal ended as %+v", got)
	}
}

func TestImage(t *testing.T) {
	auth := func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) }
	for name, c := range map[string]struct {
		there, registry bool
		policy, auth    string
		refuse, deny    int
		pulled          bool
		header          string
		kind            pipeline.Kind
	}{
		"there":         {there: true, registry: true, policy: pipeline.PullMissing},
		"missing":       {registry: true, pulled: true},
		"always":        {there: true, registry: true, policy: pipeline.PullAlways, pulled: true},
		"never, there":  {there: true, policy: pipeline.PullNever},
		"never":         {registry: true, policy: pipeline.PullNever, kind: pipeline.Invalid},
		"nowhere":       {pulled: true, kind: pipeline.Invalid},
		"refused":       {pulled: true, refuse: http.StatusUnauthorized, kind: pipeline.Invalid},
		"registry down": {pulled: true, refuse: http.StatusInternalServerError, deny: http.StatusInternalServerError, kind: pipeline.Unavailable},
		// What Docker 20.10 says of a wrong password.
		"denied":  {auth: "me:a", registry: true, pulled: true, refuse: http.StatusInternalServerError, deny: http.StatusUnauthorized, header: auth(`{"password":"a","username":"me"}`), kind: pipeline.Invalid},
		"auth":    {registry: true, auth: "me:a:b", pulled: true, header: auth(`{"password":"a:b","username":"me"}`)},
		"no auth": {registry: true, auth: "me", kind: pipeline.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			if c.there {
				f.images["tool:1"] = prints("", 0)
			}
			if c.registry {
				f.registry["tool:1"] = prints("", 0)
			}
			f.refuse, f.deny = c.refuse, c.deny
			e := f.engine(t)
			f.called()
			got, err := e.Image(t.Context(), "tool:1", c.policy, c.auth)
			if c.kind != 0 {
				if pipeline.KindOf(err) != c.kind {
					t.Errorf("the error is %v, want one of %v", err, c.kind)
				}
			} else if err != nil || got != (container.Image{ID: "id of tool:1", Digest: "digest of tool:1"}) {
				t.Errorf("got %+v, %v", got, err)
			}
			if pulled := slices.Contains(f.called(), "POST /images/create"); pulled != c.pulled {
				t.Errorf("pulled: %t, want %t", pulled, c.pulled)
			}
			if f.auth != c.header {
				t.Errorf("the header is %q, want %q", f.auth, c.header)
			}
		})
	}
}

func TestSameRegistry(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"golang:1.26", "docker.io/library/postgres", true},
		{"registry.example/team/tool:3", "registry.example/db@sha256:" + strings.Repeat("0", 64), true},
		{"registry.example/tool", "registry.example:5000/tool", false},
		{"registry.example/tool", "golang", false},
		{"registry.example/tool", "Not an image", false},
	} {
		if got := container.SameRegistry(c.a, c.b); got != c.want {
			t.Errorf("%s and %s: %t", c.a, c.b, got)
		}
	}
}

// withService is a job beside a service that is healthy when its checks succeed.
func (f *fake) withService(t *testing.T, timeout time.Duration) *container.Job {
	t.Helper()
	j := f.job(t)
	j.Services = []container.Service{{ImageID: "id of db:1", Digest: "sha256:y", Service: pipeline.Service{Name: "db", Image: "db:1", Health: "check", HealthTimeout: timeout, Env: map[string]string{"B": "2", "A": "1"}}}}
	return j
}

func TestServices(t *testing.T) {
	f := newFake(t)
	f.images["db:1"] = func(b *box) (string, int) {
		<-b.kills
		return "", 0
	}
	f.images["tool:1"] = func(*box) (string, int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if left := f.boxes["box1"].checks; len(left) > 0 {
			return "started before the service was healthy", 1
		}
		return "", 0
	}
	f.mu.Lock()
	f.firstChecks = []int{1, 0}
	f.mu.Unlock()
	j := f.withService(t, time.Minute)
	t.Cleanup(func() { f.boxes["box1"].kills <- "the end" })
	for range 2 { // the second process of the attempt finds the service
		if got := run(t, j, "tool"); got.code != 0 || !slices.Equal(got.report.Services, []string{"sha256:y"}) {
			t.Errorf("it ended as %+v", got)
		}
	}
	if len(f.order) != 3 {
		t.Errorf("there were containers %q, want one service and two processes", f.order)
	}
	db, tool := f.boxes["box1"].made, f.boxes["box2"].made
	if !slices.Equal(db.Env, []string{"A=1", "B=2"}) || db.Labels["pipelined.service"] != "db" || db.HostConfig.LogConfig.Type != "json-file" {
		t.Errorf("the service is %+v", db)
	}
	network := tool.HostConfig.NetworkMode
	if network != "pipelined-n-a" || !slices.Equal(db.NetworkingConfig.EndpointsConfig[network].Aliases, []string{"db"}) {
		t.Errorf("the module is in network %q, the service in %+v", network, db.NetworkingConfig)
	}
}

func TestServices_fail(t *testing.T) {
	never := make([]int, 100)
	for i := range never {
		never[i] = 4
	}
	for name, c := range map[string]struct {
		program program
		checks  []int
		want    string
	}{
		"unhealthy":  {until, never, "service db was not healthy within 300ms: its health check ended with exit code 4 checked"},
		"no program": {nil, nil, "service db: image db:1: "},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.images["db:1"], f.images["tool:1"], f.firstChecks = c.program, prints("", 0), c.checks
			got := run(t, f.withService(t, 300*time.Millisecond), "tool")
			if got.code != 1 || !strings.HasPrefix(got.report.Problem, c.want) || got.report.Machine {
				t.Errorf("it ended as %+v, want %q", got, c.want)
			}
			if len(f.order) != 1 {
				t.Errorf("there were containers %q, want the service alone", f.order)
			}
			f.boxes["box1"].kills <- "the end"
		})
	}
}

func TestServices_ends(t *testing.T) {
	f := newFake(t)
	f.images["db:1"], f.firstChecks = prints("", 5), slices.Repeat([]int{1}, 100)
	got := run(t, f.withService(t, time.Minute), "tool")
	if want := "service db ended with exit code 5 before it was healthy"; got.code != 1 || got.report.Problem != want || got.report.Machine {
		t.Errorf("it ended as %+v, want %q", got, want)
	}
}

func TestRemove(t *testing.T) {
	f := newFake(t)
	f.images["db:1"] = func(b *box) (string, int) {
		<-b.kills
		return "one\ntwo\n", 0
	}
	f.images["tool:1"] = func(*box) (string, int) {
		f.mu.Lock()
		db := f.boxes["box1"]
		f.mu.Unlock()
		db.kills <- "the end"
		<-db.done
		return "", 0
	}
	j := f.withService(t, time.Minute)
	run(t, j, "tool")
	other := *j
	other.Node, other.Services = "m", nil // the same attempt on another node of this machine
	f.images["tool:1"] = prints("", 0)
	run(t, &other, "tool")

	f.busy["box2"] = true
	line, err := j.Remove("pipelined")
	if err != nil {
		t.Fatal(err)
	}
	got := command(t, j, line)
	if got.code != 0 || got.out != "service db | one\nservice db | two\n" {
		t.Errorf("the removal ended as %+v", got)
	}
	if left := f.left(); !slices.Equal(left, []string{"m a", "n a"}) {
		t.Errorf("left %q, want what is the other node's and what is being removed", left)
	}
}

func TestSweep(t *testing.T) {
	f := newFake(t)
	f.images["tool:1"], f.images["db:1"] = prints("", 0), until
	for _, x := range [][2]string{{"n", "live"}, {"n", "dead"}, {"m", "dead"}} {
		j := f.job(t)
		j.Node, j.Attempt = x[0], x[1]
		run(t, j, "tool")
	}
	f.networks["net"] = map[string]string{"pipelined.node": "n", "pipelined.attempt": "dead"}
	if err := f.engine(t).Sweep(t.Context(), "n", func(attempt string) bool { return attempt == "live" }); err != nil {
		t.Fatal(err)
	}
	if left := f.left(); !slices.Equal(left, []string{"m dead", "n live"}) {
		t.Errorf("left %q", left)
	}
}

func TestFind(t *testing.T) {
	f := newFake(t)
	podman := []object{{"Name": "Podman Engine"}}
	for _, c := range []struct {
		components []object
		info       object
		want       container.Facts
	}{
		{nil, object{"SecurityOptions": []string{"name=seccomp,profile=default", "name=rootless"}}, container.Facts{Name: "docker", Rootless: true}},
		{nil, object{"SecurityOptions": []string{"name=userns"}}, container.Facts{Name: "docker", Remapped: true}},
		{podman, object{"SecurityOptions": []string{"name=seccomp,profile=default"}, "Rootless": false}, container.Facts{Name: "podman"}},
		{podman, object{"SecurityOptions": []string{"name=seccomp,profile=default"}, "Rootless": true}, container.Facts{Name: "podman", Rootless: true}},
	} {
		f.version["Components"], f.info = c.components, c.info
		c.want.Host, c.want.Version = f.host, "28.2"
		if e := f.engine(t); e.Facts != c.want {
			t.Errorf("found %+v, want %+v", e.Facts, c.want)
		}
	}
	e := f.engine(t)
	if !e.Alive(t.Context()) {
		t.Error("it is not alive")
	}
	f.die()
	if e.Alive(t.Context()) {
		t.Error("it is alive after its end")
	}

	t.Setenv("DOCKER_HOST", f.host)
	for host, want := range map[string]string{container.Off: "turned off", "": "no container engine: ", "unix:///no/such": "/no/such does not exist"} {
		if _, err := container.Find(context.Background(), host); pipeline.KindOf(err) != pipeline.Unavailable || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", host, err, want)
		}
	}
	for host, ok := range map[string]bool{"": true, "off": true, "unix:///x": true, "unix://x": false, "tcp://127.0.0.1:2375": false} {
		if err := container.CheckHost(host); (err == nil) != ok {
			t.Errorf("%q: %v", host, err)
		}
	}
}
