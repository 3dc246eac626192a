package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

// What hints name exists: their commands, and the flags that they recommend. No hint is
// for a flag that its command has.
func TestFlagHints(t *testing.T) {
	tree := map[string]*cli.Command{}
	var add func(cmd *cli.Command)
	add = func(cmd *cli.Command) {
		tree[commandPath(cmd)] = cmd
		for _, sub := range cmd.Commands {
			add(sub)
		}
	}
	c := newCommand(t, nil)
	root := (&program{c.environment}).command()
	if err := root.Run(t.Context(), []string{"pipelined", "version"}); err != nil { // names the commands in full
		t.Fatal(err)
	}
	add(root)
	takes := func(command, flag string) bool {
		for cmd := tree[command]; ; cmd = root {
			if slices.ContainsFunc(cmd.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), flag) }) {
				return true
			}
			if cmd == root {
				return false
			}
		}
	}

	recommended := regexp.MustCompile(`(?:pipelined ((?:[a-z]+ )+)(?:[A-Z]+ )*)?-([a-z][a-z-]*)`)
	for _, h := range flagHints {
		for _, command := range strings.Split(h.commands, ", ") {
			if tree[command] == nil {
				t.Errorf("%q: there is no command %q", h.flags, command)
				continue
			}
			for _, name := range strings.Fields(h.flags) {
				if h.commands != "" && takes(command, name) {
					t.Errorf("%s takes -%s, for which there is a hint", command, name)
				}
			}
			for _, m := range recommended.FindAllStringSubmatch(strings.ReplaceAll(h.hint, "COMMAND", command), -1) {
				at := command
				if m[1] != "" {
					at = strings.TrimSpace(m[1])
				}
				if tree[at] == nil || !takes(at, m[2]) {
					t.Errorf("%q of %s recommends -%s of %q, which has no such flag", h.flags, command, m[2], at)
				}
			}
		}
	}
	for word, other := range otherCommands {
		name, _, _ := strings.Cut(other, " ")
		if tree[name] == nil || tree[word] != nil {
			t.Errorf("%q stands for %q", word, other)
		}
	}
}
