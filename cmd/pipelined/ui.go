package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/urfave/cli/v3"
)

// uiCommand is `pipelined ui`.
type uiCommand struct{ env *environment }

func (c uiCommand) command() *cli.Command {
	return &cli.Command{
		Name: "ui", Usage: "opens the dashboard, signed in",
		Description: "Prints the address, and opens it if there is a browser. The address signs in once, within five minutes, with the role of the caller; " +
			"the browser stays signed in for twelve hours.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "no-open", Usage: "print the address only", HideDefault: true, Local: true},
			jsonFlag(),
		},
		Action: c.env.action(0, 0, c.run),
	}
}

func (c uiCommand) run(ctx context.Context, cmd *cli.Command) error {
	api, err := c.env.connectCluster(ctx, "ui")
	if err != nil {
		return err
	}
	code, err := api.Tokens().SignInCode(ctx)
	if err != nil {
		return err
	}

	if cmd.Bool("json") {
		return c.env.printJSON(code)
	}
	fmt.Fprintln(c.env.stdout, code.URL)
	c.env.stdout.Flush()
	if cmd.Bool("no-open") || !c.env.stdout.Terminal {
		return nil
	}
	if name, args := c.browser(); name != "" {
		if err := exec.CommandContext(ctx, name, append(args, code.URL)...).Run(); err != nil {
			c.env.tell("could not open a browser (%v): open the address above", err)
		}
	}
	return nil
}

// browser is the command that opens an address; "" if there is none.
func (c uiCommand) browser() (name string, args []string) {
	if runtime.GOOS == "darwin" {
		return "open", nil
	}
	if c.env.getenv("DISPLAY") == "" && c.env.getenv("WAYLAND_DISPLAY") == "" {
		return "", nil
	}
	path, err := exec.LookPath("xdg-open")
	if err != nil {
		return "", nil
	}
	return path, nil
}
