package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline/language"
)

// schemaCommand is `pipelined schema`.
type schemaCommand struct{ env *environment }

func (c schemaCommand) command() *cli.Command {
	return &cli.Command{
		Name: "schema", Usage: "prints the blocks and attributes of the pipeline language", ArgsUsage: "[BLOCK|ATTRIBUTE]",
		Description: "Prints each attribute with type, default and purpose. BLOCK is a block such as module or module.retry, ATTRIBUTE an attribute such as cache or module.env (default all).",
		Flags:       []cli.Flag{jsonFlag()},
		Action: c.env.action(0, 1, func(_ context.Context, cmd *cli.Command) error {
			schema := language.DescribeLanguage()
			if name := cmd.Args().First(); name != "" {
				found, paths := findBlocks(schema.Blocks, "", name)
				if len(found) == 0 {
					var more []string
					found, more = findAttributes(schema.Blocks, "", name)
					paths = append(paths, more...)
				}
				if len(found) == 0 {
					return usagef("schema: the language has no block or attribute %q%s", name, cmp.Or(terminal.DidYouMean(name, paths), ": pipelined schema lists all"))
				}

				schema.Blocks = found
			}

			if cmd.Bool("json") {
				return c.env.printJSON(schema)
			}

			return c.print(schema.Blocks, "", cmd.Args().Len() == 0)
		}),
	}
}

// findBlocks gives the blocks that a name means, by themselves or with the
// blocks around them (module.retry), and what could have been meant.
func findBlocks(blocks []language.SchemaBlock, outer, name string) (found []language.SchemaBlock, paths []string) {
	for _, b := range blocks {
		path := strings.TrimPrefix(outer+"."+b.Name, ".")
		paths = append(paths, b.Name, path)
		if name == path || name == b.Name || strings.HasSuffix(path, "."+name) {
			found = append(found, b)
		}

		inner, more := findBlocks(b.Blocks, path, name)
		found, paths = append(found, inner...), append(paths, more...)
	}
	return found, paths
}

// findAttributes gives the blocks that have an attribute of a name, with that one alone,
// and what could have been meant.
func findAttributes(blocks []language.SchemaBlock, outer, name string) (found []language.SchemaBlock, paths []string) {
	for _, b := range blocks {
		path := strings.TrimPrefix(outer+"."+b.Name, ".")
		one, inner := b, b.Blocks
		one.Attributes, one.Blocks = nil, nil
		for _, a := range b.Attributes {
			paths = append(paths, a.Name)
			if name == a.Name || strings.HasSuffix("."+path+"."+a.Name, "."+name) {
				one.Attributes = append(one.Attributes, a)
			}
		}
		if len(one.Attributes) > 0 {
			found = append(found, one)
		}

		more, names := findAttributes(inner, path, name)
		found, paths = append(found, more...), append(paths, names...)
	}
	return found, paths
}

// print prints blocks, each with its attributes, and with inner also
// those that stand in them.
func (c schemaCommand) print(blocks []language.SchemaBlock, outer string, inner bool) error {
	for i := range blocks {
		b := &blocks[i]
		if i > 0 || outer != "" {
			fmt.Fprintln(c.env.stdout)
		}

		fmt.Fprintf(c.env.stdout, "%s\n", blockLine(b, outer))
		t := terminal.NewTable(c.env.stdout, "  NAME", "TYPE", "DEFAULT", "DESCRIPTION")
		attributeRows(t, "  ", b.Attributes)
		for j := range b.Blocks {
			x := &b.Blocks[j]
			kind := "block"
			if x.Repeatable {
				kind = "blocks"
			}

			t.Row("  "+x.Name, kind, "", x.Description)
		}

		if len(b.Attributes)+len(b.Blocks) > 0 {
			if err := t.Flush(); err != nil {
				return err
			}
		}

		if inner {
			if err := c.print(b.Blocks, b.Name, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// blockLine shows how a block is written, and what it is for.
func blockLine(b *language.SchemaBlock, outer string) string {
	line := b.Name
	if b.Labelled {
		line += ` "NAME"`
	}

	line += " { … }"
	if outer != "" {
		line += " in " + outer
	}
	if outer != "" && b.Importable {
		line += ", or at the top of an imported file"
	}

	line += ": " + b.Description
	if b.Like != "" {
		line += "; it has what a " + b.Like + " has"
	}

	return line
}

func attributeRows(t *terminal.Table, indent string, list []language.SchemaAttribute) {
	for i := range list {
		a := &list[i]
		fallback := a.Default
		if a.Required {
			fallback = "required"
		}

		t.Row(indent+a.Name, typeText(a), fallback, a.Description)
		attributeRows(t, indent+"  .", a.Attributes)
	}
}

// typeText is the type of an attribute with the words or numbers that it takes.
func typeText(a *language.SchemaAttribute) string {
	switch {
	case len(a.Choices) > 0:
		words := make([]string, len(a.Choices))
		for i, c := range a.Choices {
			words[i] = fmt.Sprintf("%q", c)
		}

		return strings.Join(words, ", ")
	case a.Minimum != nil && a.Maximum != nil:
		return fmt.Sprintf("%s from %d to %d", a.Type, *a.Minimum, *a.Maximum)
	}
	return a.Type
}
