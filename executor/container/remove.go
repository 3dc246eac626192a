package container

import (
	"context"
	"fmt"
	"io"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// removeAttempt removes what an attempt has, and prints what its services wrote.
func (e *Engine) removeAttempt(ctx context.Context, j *Job, out io.Writer) error {
	return e.remove(ctx, labelAttempt, j.Attempt, func(labels map[string]string) bool { return labels[labelNode] == j.Node }, out)
}

// Sweep removes what attempts of a node have left, save those for which live gives
// true.
func (e *Engine) Sweep(ctx context.Context, node string, live func(attempt string) bool) error {
	return e.remove(ctx, labelNode, node, func(labels map[string]string) bool { return !live(labels[labelAttempt]) }, io.Discard)
}

// remove removes the containers and networks with a label of which condition holds.
func (e *Engine) remove(ctx context.Context, label, value string, condition func(labels map[string]string) bool, out io.Writer) error {
	filters := client.Filters{}.Add("label", label+"="+value)
	containers, err := e.cli.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	var first error
	for i := range containers.Items {
		c := &containers.Items[i]
		if !condition(c.Labels) {
			continue
		}
		e.printService(ctx, c, out)
		_, err := e.cli.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if err := goneOr(err); err != nil && first == nil {
			first = fmt.Errorf("remove container %.12s: %w", c.ID, err)
		}
	}

	networks, err := e.cli.NetworkList(ctx, client.NetworkListOptions{Filters: filters})
	if err != nil {
		return fmt.Errorf("list networks of containers: %w", err)
	}
	for _, n := range networks.Items {
		if !condition(n.Labels) {
			continue
		}
		_, err := e.cli.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		if err := goneOr(err); err != nil && first == nil {
			first = fmt.Errorf("remove network %s: %w", n.Name, err)
		}
	}
	return first
}

// goneOr is the error of a removal; nil if another has removed it, or does so now.
func goneOr(err error) error {
	if cerrdefs.IsNotFound(err) || cerrdefs.IsConflict(err) {
		return nil
	}
	return err
}
