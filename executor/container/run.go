package container

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// codeStopped is the exit code of a process that was stopped before it was started.
const codeStopped = 128 + int(unix.SIGTERM)

// run runs argv in a container and gives its exit code. The container stays: what the
// attempt has is removed together, at its end. A *problem is the module's, any
// other error the engine's.
func (e *Engine) run(j *Job, argv []string, stops <-chan os.Signal, out io.Writer, report *Report) (int, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		<-stops
		close(stopped)
	}()

	network, err := e.services(ctx, j, stopped)
	select {
	case <-stopped:
		return codeStopped, nil
	default:
	}
	if err != nil {
		return 0, err
	}
	made, err := e.cli.ContainerCreate(ctx, e.options(j, argv, network))
	if err != nil {
		return 0, explainCreate(j.Name, err)
	}
	output, err := e.cli.ContainerAttach(ctx, made.ID, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return 0, err
	}
	defer output.Close()
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		// It fails only if the engine dies, and then the wait fails, too.
		_, _ = stdcopy.StdCopy(out, out, output.Reader)
	}()

	wait := e.cli.ContainerWait(ctx, made.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	select {
	case <-stopped:
		return codeStopped, nil
	default:
	}
	if _, err := e.cli.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		return 0, e.explainStart(ctx, made.ID, j.Name, err)
	}

	for {
		select {
		case <-stopped:
			stopped = nil
			// Not found, or in conflict with its state: it has ended meanwhile.
			_, err := e.cli.ContainerKill(ctx, made.ID, client.ContainerKillOptions{Signal: "SIGTERM"})
			if err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) {
				return 0, err
			}
		case err := <-wait.Error:
			return 0, err
		case end := <-wait.Result:
			if end.Error != nil {
				return 0, fmt.Errorf("wait for the container: %s", end.Error.Message)
			}
			<-copied
			report.OutOfMemory = end.StatusCode != 0 && e.outOfMemory(ctx, made.ID, end.StatusCode == codeKilled && j.Memory > 0)
			return int(end.StatusCode), nil
		}
	}
}

// codeKilled is the exit code of a process that was killed, by the kernel for example.
const codeKilled = 128 + int64(unix.SIGKILL)

// oomTime is how long after the end of a container an engine may still learn that the
// kernel killed it for want of memory.
const oomTime = time.Second

// outOfMemory reports whether the kernel killed a process of a container that has ended
// for want of memory. An engine that learned of the end first says so by an event
// only, which is waited for if it is likely.
func (e *Engine) outOfMemory(ctx context.Context, id string, likely bool) bool {
	info, err := e.cli.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil || info.Container.State == nil || info.Container.State.OOMKilled {
		return err == nil && info.Container.State != nil
	}
	if !likely {
		return false
	}

	ctx, cancel := context.WithTimeout(ctx, oomTime)
	defer cancel()
	events := e.cli.Events(ctx, client.EventsListOptions{Since: info.Container.State.StartedAt, Filters: client.Filters{}.Add("container", id).Add("event", "oom")})
	select {
	case <-events.Messages:
		return true
	case <-events.Err:
		return false
	}
}

// explainCreate tells what no engine would make, such as a container of an image without a
// command, or one with too little memory, from the engine's own errors.
func explainCreate(image string, err error) error {
	if cerrdefs.IsInvalidArgument(err) {
		return &problem{fmt.Errorf("image %s: %w", image, err), codeEngine}
	}
	return err
}

// explainStart tells the module's mistakes, such as a program that the image does not
// have, from the engine's, by the exit code that the engine gives the container.
func (e *Engine) explainStart(ctx context.Context, id, image string, err error) error {
	info, inspectErr := e.cli.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if inspectErr == nil && info.Container.State != nil {
		if code := info.Container.State.ExitCode; code == 126 || code == 127 {
			return &problem{fmt.Errorf("image %s: %w", image, err), code}
		}
	}
	return err
}

// options describes the module's container.
func (e *Engine) options(j *Job, argv []string, network string) client.ContainerCreateOptions {
	yes := true
	host := &container.HostConfig{
		// Output goes to this process only: what the engine kept would not be masked.
		LogConfig:   container.LogConfig{Type: "none"},
		Init:        &yes, // a program that is the first process of a machine ignores TERM
		SecurityOpt: securityOptions(),
		NetworkMode: container.NetworkMode(network),
	}
	e.bound(host, j.Memory, j.CPU)
	for _, path := range j.Mounts {
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: path, Target: path})
	}
	for _, path := range j.ReadOnly {
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: path, Target: path, ReadOnly: true})
	}
	config := &container.Config{
		Image: j.Image, Entrypoint: argv, Cmd: []string{}, WorkingDir: j.WorkDir, User: e.user(host),
		// Without it only the first of the module's processes would get TERM.
		Env:    append(environment(), "TINI_KILL_PROCESS_GROUP=1"),
		Labels: j.labels(), AttachStdout: true, AttachStderr: true,
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
	}
	return client.ContainerCreateOptions{Config: config, HostConfig: host}
}

func (j *Job) labels() map[string]string {
	return map[string]string{labelNode: j.Node, labelAttempt: j.Attempt}
}

// bound limits a container.
func (e *Engine) bound(host *container.HostConfig, memory int64, cpu float64) {
	if memory > 0 {
		host.Memory, host.MemorySwap = memory, memory // no swap on top
	}
	if cpu > 0 {
		host.NanoCPUs = int64(cpu * 1e9)
	}
}

// user is who the process is in the container, so that its files belong to the user of
// this process.
func (e *Engine) user(host *container.HostConfig) string {
	switch {
	case e.Rootless && e.Name == "podman":
		host.UsernsMode = "keep-id"
	case e.Rootless:
		return "0:0" // which is the user who runs the engine
	case e.Remapped:
		host.UsernsMode = "host"
	}
	return strconv.Itoa(os.Geteuid()) + ":" + strconv.Itoa(os.Getegid())
}
