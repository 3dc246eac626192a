package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v3"
)

// manCommand writes the manual pages, for packages: `pipelined man DIR`.
type manCommand struct{ env *environment }

func (c manCommand) command() *cli.Command {
	return &cli.Command{
		Name: "man", Usage: "writes the manual pages into a directory", ArgsUsage: "DIR", Hidden: true,
		Description: "Writes pipelined.1 and a page for each command, and agent.hcl as pipelined-agent.hcl.5.",
		Action: c.env.action(1, 1, func(_ context.Context, cmd *cli.Command) error {
			dir := cmd.Args().First()
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return wrap("create directory", err)
			}

			pages := manualPages(cmd.Root())
			for name, text := range pages {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					return wrap("write manual page", err)
				}
			}

			fmt.Fprintf(c.env.stdout, "%s in %s\n", numberOf(len(pages), "page"), dir)
			return nil
		}),
	}
}

// manualPages gives the text of every page by the name of its file. It depends on
// nothing but the commands, the settings and the version.
func manualPages(root *cli.Command) map[string]string {
	pages := map[string]string{"pipelined.1": manualOverview(root), "pipelined-agent.hcl.5": manualSettings()}
	for _, cmd := range root.VisibleCommands() {
		if cmd.Name != "help" {
			pages["pipelined-"+cmd.Name+".1"] = manualOf(cmd)
		}
	}

	return pages
}

// manual builds one page in the macros of man(7).
type manual struct{ strings.Builder }

// newManual begins a page. Its date is that of the commit: two builds of one are the
// same.
func newManual(name string, section int, purpose string) *manual {
	m := &manual{}
	build := readBuildInfo()
	fmt.Fprintf(m, ".TH %q %d %q %q\n.nh\n.ad l\n", strings.ToUpper(name), section, build.Time[:min(len("2006-01-02"), len(build.Time))], "pipelined "+build.Version)
	m.section("NAME")
	fmt.Fprintf(m, "%s \\- %s\n", roff(name), roff(purpose))
	return m
}

// roff escapes text for a line of a page.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...", "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}

	return text
}

func (m *manual) section(title string) { fmt.Fprintf(m, ".SH %s\n", title) }

// paragraphs prints texts, a paragraph each.
func (m *manual) paragraphs(texts ...string) {
	for i, text := range texts {
		if i > 0 {
			m.WriteString(".PP\n")
		}
		fmt.Fprintf(m, "%s\n", roff(text))
	}
}

// entry is a term with its explanation.
func (m *manual) entry(term, text string) {
	fmt.Fprintf(m, ".TP\n.B %s\n%s\n", roff(term), roff(text))
}

// options prints flags as the help does.
func (m *manual) options(title string, flags []cli.Flag) {
	if len(flags) == 0 {
		return
	}

	m.section(title)
	for _, f := range flags {
		term, text, _ := strings.Cut(flagHelp(f), "\t")
		m.entry(term, text)
	}
}

func (m *manual) exitStatus() {
	m.section("EXIT STATUS")
	for _, e := range exitMeanings {
		m.entry(fmt.Sprint(e.code), e.meaning)
	}
}

// manualOverview is pipelined(1).
func manualOverview(root *cli.Command) string {
	m := newManual("pipelined", 1, root.Usage)
	m.section("SYNOPSIS")
	m.paragraphs(root.UsageText)
	m.section("DESCRIPTION")
	m.paragraphs("A pipeline is one file. It says what is to run: modules, what they depend on, the files that they take and leave. "+
		"It runs on this machine (run), or on a cluster of agents without external services (agent, submit).",
		"Each command has a page of its own: pipelined-run(1) for run. Flags are taken with one dash or two.")
	for _, g := range groups(root) {
		m.section(strings.ToUpper(g.title))
		for _, cmd := range g.commands {
			m.entry(strings.TrimSpace(cmd.Name+" "+cmd.ArgsUsage), cmd.Usage)
		}
	}

	m.options("OPTIONS OF EVERY COMMAND", root.VisibleFlags())
	m.exitStatus()
	m.section("FILES")
	m.entry("pipeline.hcl", "the pipeline of a directory")
	m.entry("~/.config/pipelined/cluster.key, of root /etc/pipelined/cluster.key", "the cluster key")
	m.entry("~/.local/state/pipelined, of root /var/lib/pipelined", "what agents and runs store")
	m.section("SEE ALSO")
	m.paragraphs("pipelined-run(1), pipelined-agent(1), pipelined-submit(1), pipelined-agent.hcl(5)")
	return m.String()
}

// manualOf is the page of one command, with the commands below it.
func manualOf(cmd *cli.Command) string {
	m := newManual("pipelined-"+cmd.Name, 1, cmd.Usage)
	m.section("SYNOPSIS")
	var usages []string
	for _, sub := range cmd.VisibleCommands() {
		usages = append(usages, manualUsage(sub))
	}
	if usages == nil {
		usages = []string{manualUsage(cmd)}
	}
	m.paragraphs(usages...)

	if cmd.Description != "" {
		m.section("DESCRIPTION")
		m.paragraphs(strings.Split(cmd.Description, "\n")...)
	}

	m.options("OPTIONS", withoutHelp(cmd.VisibleFlags()))
	for _, sub := range cmd.VisibleCommands() {
		m.section(strings.ToUpper(cmd.Name + " " + sub.Name))
		texts := []string{sub.Usage}
		if sub.Description != "" {
			texts = append(texts, sub.Description)
		}
		m.paragraphs(texts...)
		for _, f := range withoutHelp(sub.VisibleFlags()) {
			term, text, _ := strings.Cut(flagHelp(f), "\t")
			m.entry(term, text)
		}
	}

	m.section("SEE ALSO")
	more := "pipelined(1)"
	if cmd.Name == "agent" {
		more += ", pipelined-agent.hcl(5)"
	}
	m.paragraphs(more + " has the flags of every command and the exit codes.")
	return m.String()
}

// manualUsage is the line that shows how a command is called.
func manualUsage(cmd *cli.Command) string {
	text := cmd.FullName()
	if len(withoutHelp(cmd.VisibleFlags())) > 0 {
		text += " [flags]"
	}

	return strings.TrimSpace(text + " " + cmd.ArgsUsage)
}

func withoutHelp(flags []cli.Flag) []cli.Flag {
	var list []cli.Flag
	for _, f := range flags {
		if f.Names()[0] != "help" {
			list = append(list, f)
		}
	}

	return list
}

// manualSettings is the page about the configuration file of agents.
func manualSettings() string {
	m := newManual("pipelined-agent.hcl", 5, "configuration of an agent")
	m.section("DESCRIPTION")
	m.paragraphs("The file that pipelined agent -config FILE reads has a line KEY = VALUE for each setting. "+
		"Sizes are written as \"500MB\" or \"20GiB\", times as \"90m\", \"36h\" or \"30d\".",
		"Each setting has an environment variable, too, and the most common ones a flag. "+
			"A flag wins over the variable, that over the file, that over the default. "+
			"pipelined agent -print-config prints every setting with its value and origin; what it prints is such a file.")
	m.section("SETTINGS")
	for i := range agentTable {
		s := &agentTable[i]
		text := strings.ReplaceAll(s.usage, "`", "")
		if def := s.defaultText(); def != "" {
			text += " (default " + def + ")"
		}
		m.entry(s.key(), text+" [$"+s.variable()+"]")
	}

	m.section("SEE ALSO")
	m.paragraphs("pipelined(1), pipelined-agent(1)")
	return m.String()
}
