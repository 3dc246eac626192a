package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
)

// answer is the action of a command without arguments that asks the cluster for one thing
// and prints it: as JSON with -json, else by print.
func answer[T any](env *environment, connect func(context.Context) (*client.Client, error), ask func(context.Context, *client.Client) (T, error), print func(T) error) cli.ActionFunc {
	return env.action(0, 0, func(ctx context.Context, cmd *cli.Command) error {
		api, err := connect(ctx)
		if err != nil {
			return err
		}

		out, err := ask(ctx, api)
		if err != nil {
			return err
		}

		if cmd.Bool("json") {
			return env.printJSON(out)
		}
		return print(out)
	})
}

// present is a list that is written as [] in JSON, not as null.
func present[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
