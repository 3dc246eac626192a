package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// recentRuns is how many runs the summary of a cluster shows.
	recentRuns = 5
	// memberLimit bounds the question to one member how it is.
	memberLimit = 2 * time.Second
	// askedAtOnce is how many members are asked at the same time.
	askedAtOnce = 16
)

// clusterState is what `status -json` prints without a run. Status and Reasons are
// those of all nodes that answer, Health is that of the node that was asked.
type clusterState struct {
	Status  string            `json:"status"`
	Reasons []string          `json:"reasons"`
	Health  wire.Health       `json:"health"`
	Members []wire.Member     `json:"members"`
	Runs    []wire.RunSummary `json:"runs"`
}

// clusterStatus is `status` without a run.
type clusterStatus struct{ env *environment }

// show prints the state of the cluster. check leaves the rest out, and turns the
// state into the exit code; without a leader that is 5 in any case.
func (c clusterStatus) show(ctx context.Context, asJSON, check bool) error {
	api, err := c.env.connectRead(ctx)
	if err != nil {
		return err
	}

	s := clusterState{Members: []wire.Member{}, Runs: []wire.RunSummary{}}
	if s.Health, err = api.Health(ctx); err != nil {
		return err
	}

	members, err := api.Cluster().Members(ctx)
	if err != nil {
		return err
	}

	s.Members = append(s.Members, members.Members...)
	s.Reasons = c.reasons(ctx, api, &s)
	s.Status = s.Health.Status
	if len(s.Reasons) > 0 {
		s.Status = "degraded"
	}

	leads := s.Health.Leader != "" && s.Health.Quorum
	if leads && !check {
		runs, err := listRuns(ctx, api, recentRuns, client.ListOptions{})
		if err != nil {
			return err
		}
		s.Runs = append(s.Runs, runs.Runs...)
	}

	switch {
	case asJSON:
		err = c.env.printJSON(s)
	case check:
		c.printState(&s)
	default:
		err = c.print(&s, cmp.Or(api.Page(), api.Address()))
	}

	switch {
	case err != nil:
		return err
	case !leads:
		return exit(exitUnavailable)
	case check && s.Status != "healthy":
		return exit(exitFailed)
	}

	return nil
}

// reasons are those of the node that was asked, and those of other members that
// answer; a reason that several give is named once.
func (c clusterStatus) reasons(ctx context.Context, api *client.Client, s *clusterState) []string {
	list := append([]string{}, s.Health.Reasons...)
	of := make([][]string, len(s.Members))
	var g errgroup.Group
	g.SetLimit(askedAtOnce)
	for i, m := range s.Members {
		if m.ID == s.Health.NodeID || m.Status != pipeline.MemberAlive {
			continue
		}
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, memberLimit)
			defer cancel()
			// One that cannot be reached from here may be in perfect order.
			if at, err := api.At(m.HTTP); err == nil {
				if h, err := at.Health(ctx); err == nil && h.NodeID == m.ID {
					of[i] = h.Reasons
				}
			}
			return nil
		})
	}
	_ = g.Wait() // it has no error

	for i, reasons := range of {
		for _, why := range reasons {
			if !slices.Contains(s.Health.Reasons, why) {
				list = append(list, s.Members[i].Name+": "+why)
			}
		}
	}

	return list
}

// printState prints the state and why it is not better, a line for each reason.
func (c clusterStatus) printState(s *clusterState) {
	fmt.Fprintf(c.env.stdout, "cluster  %s\n", s.Status)
	for _, why := range s.Reasons {
		fmt.Fprintf(c.env.stdout, "         %s\n", terminal.Clean(why))
	}
}

func (c clusterStatus) print(s *clusterState, address string) error {
	h := &s.Health
	leader := h.Leader
	if leader == "" {
		leader = "none"
	}

	slots, load := 0, 0
	for _, m := range s.Members {
		if m.Status == pipeline.MemberAlive {
			slots, load = slots+m.MaxLoad, load+m.CurrentLoad
		}
	}

	c.printState(s)
	fmt.Fprintf(c.env.stdout, "node     %s at %s (%s, version %s)\n", terminal.Clean(h.Node), address, h.Role, terminal.Clean(h.Version))
	fmt.Fprintf(c.env.stdout, "leader   %s (term %d), voters %s\n", terminal.Clean(leader), h.Term, terminal.Clean(strings.Join(h.Voters, ", ")))
	fmt.Fprintf(c.env.stdout, "nodes    %d, %d of %d slots in use\n\n", len(s.Members), load, slots)
	if err := c.env.printMembers(s.Members); err != nil {
		return err
	}

	if len(s.Runs) == 0 {
		return nil
	}

	fmt.Fprintln(c.env.stdout)
	return c.env.printRuns(s.Runs)
}
