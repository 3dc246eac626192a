package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// labelService names the service that a container is.
	labelService = "pipelined.service"
	// healthPause is between two health checks of a service.
	healthPause = 250 * time.Millisecond
	// maxServiceLines bounds what is printed of a service's output.
	maxServiceLines = "500"
	// maxHealthOutput bounds what is said of a health check that failed, in bytes.
	maxHealthOutput = 500
)

// services starts the services of an attempt unless an earlier process of it has, and
// gives the name of its network; "" if there are none, and the engine's own is used.
func (e *Engine) services(ctx context.Context, j *Job, stopped <-chan struct{}) (string, error) {
	if len(j.Services) == 0 {
		return "", nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-stopped:
			cancel()
		case <-ctx.Done():
		}
	}()

	there, err := e.cli.NetworkList(ctx, client.NetworkListOptions{Filters: client.Filters{}.Add("label", labelAttempt+"="+j.Attempt)})
	if err != nil {
		return "", err
	}
	for _, n := range there.Items {
		if n.Labels[labelNode] == j.Node {
			return n.Name, nil
		}
	}

	name := "pipelined-" + j.Node + "-" + strings.Map(networkRune, j.Attempt)
	if _, err := e.cli.NetworkCreate(ctx, name, client.NetworkCreateOptions{Driver: "bridge", Labels: j.labels()}); err != nil {
		return "", err
	}
	ids := make([]string, len(j.Services))
	for i := range j.Services { // all of them first: they get ready at the same time
		if ids[i], err = e.startService(ctx, j, &j.Services[i], name); err != nil {
			return "", err
		}
	}
	for i := range j.Services {
		if err := e.healthy(ctx, ids[i], &j.Services[i]); err != nil {
			return "", err
		}
	}
	return name, nil
}

// networkRune makes a name that every engine accepts.
func networkRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}

func (e *Engine) startService(ctx context.Context, j *Job, s *Service, networkName string) (string, error) {
	labels := j.labels()
	labels[labelService] = s.Name
	env := make([]string, 0, len(s.Env))
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		env = append(env, name+"="+s.Env[name])
	}
	config := &container.Config{Image: s.ImageID, Cmd: s.Command, Env: env, Labels: labels, Hostname: s.Name,
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}}
	host := &container.HostConfig{NetworkMode: container.NetworkMode(networkName),
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m"}}}
	if e.Name == "podman" {
		host.LogConfig = container.LogConfig{Type: "k8s-file"}
	}
	made, err := e.cli.ContainerCreate(ctx, client.ContainerCreateOptions{Config: config, HostConfig: host,
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{networkName: {Aliases: []string{s.Name}}}}})
	if err == nil {
		if _, err = e.cli.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
			err = e.explainStart(ctx, made.ID, s.Image, err)
		}
	} else {
		err = explainCreate(s.Image, err)
	}

	var p *problem
	if errors.As(err, &p) {
		return made.ID, &problem{fmt.Errorf("service %s: %w", s.Name, p.error), 1}
	}
	return made.ID, err
}

// healthy waits until the health check of a service succeeds. One without a check is
// healthy if it runs.
func (e *Engine) healthy(ctx context.Context, id string, s *Service) error {
	last := ""
	try := func() (struct{}, error) {
		info, err := e.cli.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		if st := info.Container.State; st != nil && !st.Running {
			return struct{}{}, backoff.Permanent(&problem{fmt.Errorf("service %s ended with exit code %d before it was healthy", s.Name, st.ExitCode), 1})
		}
		if s.Health == "" {
			return struct{}{}, nil
		}
		code, text, err := e.exec(ctx, id, []string{"/bin/sh", "-c", s.Health})
		if err != nil {
			return struct{}{}, err // it may have ended this moment
		}
		if code == 0 {
			return struct{}{}, nil
		}
		last = fmt.Sprintf(": its health check ended with exit code %d %s", code, text)
		return struct{}{}, errUnhealthy
	}

	_, err := backoff.Retry(ctx, try, backoff.WithBackOff(backoff.NewConstantBackOff(healthPause)), backoff.WithMaxElapsedTime(s.HealthTimeout))
	var p *problem
	switch {
	case err == nil, errors.As(err, &p), ctx.Err() != nil:
		return err
	case errors.Is(err, errUnhealthy):
		return &problem{fmt.Errorf("service %s was not healthy within %s%s", s.Name, s.HealthTimeout, last), 1}
	}
	return err
}

var errUnhealthy = errors.New("not healthy yet")

// exec runs a command in a container and gives its exit code and its output.
func (e *Engine) exec(ctx context.Context, id string, argv []string) (code int, text string, err error) {
	made, err := e.cli.ExecCreate(ctx, id, client.ExecCreateOptions{Cmd: argv, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return 0, "", err
	}
	output, err := e.cli.ExecAttach(ctx, made.ID, client.ExecAttachOptions{})
	if err != nil {
		return 0, "", err
	}
	defer output.Close()
	stop := context.AfterFunc(ctx, output.Close)
	defer stop()
	var buf bytes.Buffer
	if _, err := stdcopy.StdCopy(&buf, &buf, output.Reader); err != nil {
		return 0, "", err
	}
	end, err := e.cli.ExecInspect(ctx, made.ID, client.ExecInspectOptions{})
	if err != nil {
		return 0, "", err
	}
	text = strings.TrimSpace(buf.String())
	if len(text) > maxHealthOutput {
		text = "…" + strings.ToValidUTF8(text[len(text)-maxHealthOutput:], "")
	}
	return end.ExitCode, text, nil
}

// printService prints the last lines of a service, each with its name before it.
func (e *Engine) printService(ctx context.Context, c *container.Summary, out io.Writer) {
	name := c.Labels[labelService]
	if name == "" || out == io.Discard {
		return
	}
	logs, err := e.cli.ContainerLogs(ctx, c.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: maxServiceLines})
	if err != nil {
		fmt.Fprintf(out, "service %s: its output cannot be read: %v\n", name, err)
		return
	}
	defer logs.Close()
	var buf bytes.Buffer
	_, _ = stdcopy.StdCopy(&buf, &buf, logs) // what came before an error is printed
	for line := range strings.Lines(buf.String()) {
		fmt.Fprintln(out, pipeline.ServiceLine(name, strings.TrimRight(line, "\r\n")))
	}
}
