package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

// webhooksCommand is `pipelined webhooks`.
type webhooksCommand struct{ env *environment }

func (c webhooksCommand) command() *cli.Command {
	secretFile := &cli.StringFlag{Name: "secret-file", Usage: "`FILE` that holds the secret, whsec_ and base64 (default: one is made and printed once)", Local: true}
	return &cli.Command{
		Name: "webhooks", Usage: "adds, lists, tests and removes receivers of events", ArgsUsage: "add, ls, test, retry, rotate or rm",
		Description: "A webhook gets events by HTTP, signed with its secret after Standard Webhooks.",
		Action:      noCommand,
		Commands: []*cli.Command{
			{
				Name: "add", Usage: "adds a webhook and prints its secret once", ArgsUsage: "NAME URL",
				Flags: []cli.Flag{
					&cli.StringSliceFlag{Name: "type", Usage: "`TYPE` of events that it gets, such as run.finished or run; may be repeated (default all)", HideDefault: true, Local: true},
					&cli.StringSliceFlag{Name: "pipeline", Usage: "`NAME` of a pipeline: it gets the events of its runs only; may be repeated", HideDefault: true, Local: true},
					&cli.StringFlag{Name: "format", Usage: "`FORMAT` of what it gets: slack, for notifications and without a secret (default signed CloudEvents)", HideDefault: true, Local: true},
					secretFile, jsonFlag(),
				},
				Action: c.env.action(2, 2, c.add),
			},
			{
				Name: "ls", Usage: "lists webhooks with what became of their deliveries", Flags: []cli.Flag{jsonFlag()},
				Action: answer(c.env, c.env.connect, c.list, c.print),
			},
			{
				Name: "test", Usage: "sends an event at once and prints the receiver's answer", ArgsUsage: "NAME", Flags: []cli.Flag{jsonFlag()},
				Action: c.env.action(1, 1, c.test),
			},
			{
				Name: "retry", Usage: "sends again what waits or was given up, and switches the webhook on", ArgsUsage: "NAME", Flags: []cli.Flag{jsonFlag()},
				Action: c.env.action(1, 1, c.retry),
			},
			{
				Name: "rotate", Usage: "replaces the secret of a webhook and prints the new one once", ArgsUsage: "NAME",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "keep", Usage: "`DURATION` for which the secret before signs as well, such as 1h or 7d", Value: "24h", Local: true},
					secretFile, jsonFlag(),
				},
				Action: c.env.action(1, 1, c.rotate),
			},
			{
				Name: "rm", Usage: "removes a webhook with what waits for it", ArgsUsage: "NAME",
				Action: c.env.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
					api, err := c.env.connect(ctx)
					if err != nil {
						return err
					}

					name := cmd.Args().First()
					if err := api.Webhooks().Delete(ctx, name); err != nil {
						return err
					}

					c.env.tell("removed webhook %s", name)
					return nil
				}),
			},
		},
	}
}

// secret reads the file that a flag names; "" without one.
func (c webhooksCommand) secret(cmd *cli.Command) (string, error) {
	file := cmd.String("secret-file")
	if file == "" {
		return "", nil
	}

	text, err := c.env.readFile(file)
	if err != nil {
		return "", usagef("-secret-file: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func (c webhooksCommand) add(ctx context.Context, cmd *cli.Command) error {
	secret, err := c.secret(cmd)
	if err != nil {
		return err
	}

	api, err := c.env.connect(ctx)
	if err != nil {
		return err
	}

	out, err := api.Webhooks().Add(ctx, wire.WebhookRequest{Name: cmd.Args().Get(0), URL: cmd.Args().Get(1), Types: cmd.StringSlice("type"),
		Pipelines: cmd.StringSlice("pipeline"), Secret: secret, Format: cmd.String("format")})
	if err != nil {
		return err
	}

	return c.created(cmd, &out, secret != "")
}

// created prints the secret, the only time that it is seen.
func (c webhooksCommand) created(cmd *cli.Command, out *wire.WebhookCreated, given bool) error {
	if cmd.Bool("json") {
		return c.env.printJSON(out)
	}

	if out.Format != "" {
		c.env.tell("added webhook %s of format %s; a pipeline names it: notify \"NAME\" { webhook = %q }", out.Name, out.Format, out.Name)
		return nil
	}
	if given {
		c.env.tell("webhook %s signs with the secret of -secret-file", out.Name)
		return nil
	}
	fmt.Fprintln(c.env.stdout, out.Secret)
	return nil
}

func (c webhooksCommand) rotate(ctx context.Context, cmd *cli.Command) error {
	secret, err := c.secret(cmd)
	if err != nil {
		return err
	}
	keep, err := wire.ParseSpan(cmd.String("keep"))
	if err != nil {
		return usagef("-keep %q: %w", cmd.String("keep"), err)
	}

	api, err := c.env.connect(ctx)
	if err != nil {
		return err
	}

	out, err := api.Webhooks().Rotate(ctx, cmd.Args().First(), wire.WebhookRotate{KeepSeconds: keep.Seconds(), Secret: secret})
	if err != nil {
		return err
	}

	return c.created(cmd, &out, secret != "")
}

func (c webhooksCommand) test(ctx context.Context, cmd *cli.Command) error {
	api, err := c.env.connect(ctx)
	if err != nil {
		return err
	}

	name := cmd.Args().First()
	out, err := api.Webhooks().Test(ctx, name)
	if err != nil {
		return err
	}

	if cmd.Bool("json") {
		err = c.env.printJSON(out)
	} else {
		took := terminal.ShortDuration(time.Duration(out.TookMS * float64(time.Millisecond)))
		fmt.Fprintf(c.env.stdout, "%s in %s\n", answerText(&out, true), took)
	}
	if err == nil && !out.Accepted {
		err = fmt.Errorf("webhook %s did not accept the event", name)
	}
	return err
}

func (c webhooksCommand) retry(ctx context.Context, cmd *cli.Command) error {
	api, err := c.env.connect(ctx)
	if err != nil {
		return err
	}

	out, err := api.Webhooks().Retry(ctx, cmd.Args().First())
	if err != nil {
		return err
	}

	if cmd.Bool("json") {
		return c.env.printJSON(out)
	}
	c.env.tell("webhook %s sends %s now", out.Name, numberOf(out.Waiting, "event"))
	return nil
}

// answerText is what a receiver answered; with body, the begin of that too.
func answerText(d *wire.WebhookDelivery, body bool) string {
	if d.Status == 0 {
		return d.Text
	}

	text := strings.TrimSpace(strconv.Itoa(d.Status) + " " + http.StatusText(d.Status))
	if body && d.Text != "" && d.Text != text {
		text += ": " + d.Text
	}
	return text
}

func (c webhooksCommand) list(ctx context.Context, api *client.Client) (wire.WebhookList, error) {
	list, err := api.Webhooks().List(ctx)
	list.Webhooks = present(list.Webhooks)
	return list, err
}

func (c webhooksCommand) print(list wire.WebhookList) error {
	now := c.env.now()
	t := terminal.NewTable(c.env.stdout, "NAME", "URL", "FORMAT", "TYPES", "DELIVERED", "WAITING", "LAST", "NOTE")
	for i := range list.Webhooks {
		w := &list.Webhooks[i]
		types, last, format := "all", "never", cmp.Or(w.Format, "cloudevents")
		if w.Format != "" {
			types = "notifications"
		}
		if len(w.Types) > 0 {
			types = strings.Join(w.Types, ",")
		}
		if len(w.Pipelines) > 0 {
			types += " of " + strings.Join(w.Pipelines, ",")
		}
		if w.Last != nil {
			last = terminal.Ago(w.Last.At, now) + ": " + answerText(w.Last, false)
		}
		t.Row(w.Name, w.URL, format, types, strconv.FormatUint(w.Delivered, 10), strconv.Itoa(w.Waiting), last, webhookNote(w, now))
	}

	return t.Flush()
}

// webhookNote says what its operator must know.
func webhookNote(w *wire.WebhookInfo, now time.Time) string {
	var notes []string
	if w.Off != "" {
		notes = append(notes, "switched off: "+w.Off+" (pipelined webhooks retry "+w.Name+")")
	}
	if w.Failures > 0 {
		note := "the last try failed"
		if w.Failures > 1 {
			note = fmt.Sprintf("the last %d tries failed", w.Failures)
		}
		notes = append(notes, note)
		if w.Last != nil && w.Last.NextAt != nil && w.Off == "" {
			if left := w.Last.NextAt.Sub(now); left > 0 {
				notes = append(notes, "again in "+terminal.ShortDuration(left))
			}
		}
	}
	if w.GivenUp > 0 {
		notes = append(notes, fmt.Sprintf("%d given up", w.GivenUp))
	}
	if w.Dropped > 0 {
		notes = append(notes, fmt.Sprintf("%d dropped, too many waited", w.Dropped))
	}
	if w.OldSecretUntil != nil {
		notes = append(notes, "the old secret signs for "+terminal.ShortDuration(w.OldSecretUntil.Sub(now))+" more")
	}
	if w.Config {
		notes = append(notes, "from the configuration")
	}
	return strings.Join(notes, "; ")
}
