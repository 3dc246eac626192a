package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v3"
)

// helpVariable names a setting's environment variable in the help. It never
// finds a value: see resolve, which looks the variables up.
type helpVariable struct{ envSource }

// Lookup finds nothing.
func (*helpVariable) Lookup() (string, bool) { return "", false }

// agentFlags makes a flag of each setting that has one.
func agentFlags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "HCL `FILE` with settings [$PIPELINED_CONFIG]", TakesFile: true, Local: true},
		&cli.BoolFlag{Name: "print-config", Usage: "print every setting with its value and where it comes from, and exit", HideDefault: true, Local: true},
	}

	for i := range agentTable {
		s := &agentTable[i]
		if s.flag != agentFlag {
			continue
		}

		source := cli.ValueSourceChain{Chain: []cli.ValueSource{&helpVariable{envSource{name: s.variable()}}}}
		switch s.kind {
		case kindSwitch:
			flags = append(flags, &cli.BoolFlag{Name: s.name, Usage: s.usage, HideDefault: true, Sources: source, Local: true})
		case kindList:
			flags = append(flags, &cli.StringSliceFlag{Name: s.name, Usage: s.usage, DefaultText: s.defaultText(), Sources: source, Local: true})
		default:
			flags = append(flags, &cli.StringFlag{Name: s.name, Usage: s.usage, DefaultText: s.defaultText(), Sources: source, Local: true})
		}
	}

	return flags
}

// origins says where the value of each setting comes from, by the setting's name:
// a flag, an environment variable, or FILE:LINE. A setting that is missing has its
// default.
type origins map[string]origin

type origin struct {
	values []string
	// from is shown by -print-config; place is where errors point to.
	from, place string
}

// resolve gives every setting its value: flag, else environment, else configuration
// file, else default. The error has all that is wrong.
func (c agentCommand) resolve(cmd *cli.Command) (agentSettings, origins, error) {
	var wrong []error
	out, found := defaultSettings(), origins{}

	path := cmd.String("config")
	if path == "" {
		path = c.env.getenv("PIPELINED_CONFIG")
	}

	var file configFile
	if path != "" {
		text, err := c.env.readFile(path)
		if err != nil {
			return out, nil, usagef("-config: %w", err)
		}

		if file, err = parseConfig(path, text); err != nil {
			wrong = append(wrong, err)
		}
	}

	for i := range agentTable {
		s := &agentTable[i]
		o, ok := c.find(cmd, s, file.settings)
		if !ok {
			continue
		}

		if err := s.set(&out, o.values); err != nil {
			wrong = append(wrong, usagef("%s %q: %w", o.place, strings.Join(o.values, ","), err))
		}

		found[s.name] = o
	}

	out.webhooks = file.webhooks
	if len(wrong) > 0 { // of a file with mistakes some webhooks are not whole
		return out, nil, errors.Join(wrong...)
	}
	for i := range out.webhooks {
		d, err := c.webhook(&out.webhooks[i])
		if err != nil {
			wrong = append(wrong, err)
		}
		out.Webhooks = append(out.Webhooks, d)
	}

	return out, found, errors.Join(wrong...)
}

// find looks a setting up in the order of precedence.
func (c agentCommand) find(cmd *cli.Command, s *setting, file map[string]fileValue) (origin, bool) {
	given := s.flag == agentFlag && cmd.IsSet(s.name)
	if s.flag == sharedFlag {
		// Also set if the variable is: these are distinguished below.
		given = cmd.IsSet(s.name) && cmd.String(s.name) != c.env.getenv(s.variable())
	}

	if given {
		values := []string{}
		switch s.kind {
		case kindSwitch:
			values = append(values, strconv.FormatBool(cmd.Bool(s.name)))
		case kindList:
			values = split(cmd.StringSlice(s.name))
		default:
			values = append(values, cmd.String(s.name))
		}

		return origin{values, "-" + s.name, "-" + s.name}, true
	}

	if v := c.env.getenv(s.variable()); v != "" {
		values := []string{v}
		if s.kind == kindList {
			values = split(values)
		}

		return origin{values, s.variable(), s.variable()}, true
	}

	if v, ok := file[s.key()]; ok {
		return origin{v.values, v.origin, v.place}, true
	}

	return origin{}, false
}

// printConfig prints every setting as a line of a configuration file, with where
// its value comes from; effective holds computed defaults, by name. Settings
// without a value are comments.
func printConfig(w io.Writer, found origins, effective map[string]string) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)

	for i := range agentTable {
		s := &agentTable[i]

		o, ok := found[s.name]
		if !ok {
			o = origin{from: "default"}
			if v := effective[s.name]; v != "" {
				o.values = []string{v}
			} else if s.def != "" {
				o.values = []string{s.def}
			} else if s.kind == kindSwitch {
				o.values = []string{"false"}
			}
		}

		line := s.key() + " = " + hclValue(s, o.values)
		if o.values == nil && s.kind != kindList {
			line = "# " + s.key()
			if !ok && s.computed != "" {
				o.from += ": " + s.computed
			}
		}

		fmt.Fprintf(table, "%s\t# %s\n", line, o.from)
	}

	return wrap("write output", table.Flush())
}

// hclValue writes the values of a setting as HCL.
func hclValue(s *setting, values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = strconv.Quote(v)
		// A quoted template begins with these, too.
		quoted[i] = strings.NewReplacer("${", "$${", "%{", "%%{").Replace(quoted[i])
	}

	switch {
	case s.kind == kindList:
		return "[" + strings.Join(quoted, ", ") + "]"
	case len(values) == 0:
		return ""
	case s.kind == kindNumber || s.kind == kindSwitch:
		return values[0]
	}

	return quoted[0]
}
