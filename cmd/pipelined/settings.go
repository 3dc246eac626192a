package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// agentSettings is everything that an agent can be told.
type agentSettings struct {
	nodeConfig
	bind              string // as it was given: an address, private or public
	dev               bool
	logLevel, keyFile string
	logJSON           bool
}

// settingKind is what a setting's value looks like.
type settingKind int

const (
	kindText   settingKind = iota
	kindNumber             // a whole number
	kindSwitch             // true or false
	kindList               // several texts; in flags and variables commas separate them too
)

// setting is one thing that an agent can be told: by flag, by environment
// variable, by config file, in this order of precedence.
type setting struct {
	name  string
	kind  settingKind
	usage string
	// def is shown in the help.
	def string
	// set takes the values in: one, or for lists any number.
	set func(s *agentSettings, values []string) error
}

// env is the setting's environment variable.
func (s *setting) env() string {
	return "PIPELINED_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

func text(to func(*agentSettings) *string) func(*agentSettings, []string) error {
	return func(s *agentSettings, v []string) error { *to(s) = v[0]; return nil }
}

func list(to func(*agentSettings) *[]string) func(*agentSettings, []string) error {
	return func(s *agentSettings, v []string) error { *to(s) = v; return nil }
}

func toggle(to func(*agentSettings) *bool) func(*agentSettings, []string) error {
	return func(s *agentSettings, v []string) error {
		on, err := strconv.ParseBool(v[0])
		if err != nil {
			return fmt.Errorf("want true or false")
		}
		*to(s) = on
		return nil
	}
}

func number(lowest, highest int, to func(*agentSettings) *int) func(*agentSettings, []string) error {
	return func(s *agentSettings, v []string) error {
		n, err := strconv.Atoi(v[0])
		if err != nil || n < lowest || n > highest {
			return fmt.Errorf("want a number from %d to %d", lowest, highest)
		}
		*to(s) = n
		return nil
	}
}

const maxPort = 65535

// agentTable lists the settings of an agent in the order of its help.
var agentTable = []setting{
	{"name", kindText, "what people call the node (`NAME`)", "the host's name", text(func(s *agentSettings) *string { return &s.Name })},
	{"bind", kindText, "`ADDRESS` for all ports: an IP, private or public", "127.0.0.1; with -join to another machine, the address of the route to it", text(func(s *agentSettings) *string { return &s.bind })},
	{"advertise", kindText, "`ADDRESS` that others are told", "that of -bind", text(func(s *agentSettings) *string { return &s.Advertise })},
	{"http-port", kindNumber, "`PORT` for HTTP; 0 takes a free one", "8080", number(0, maxPort, func(s *agentSettings) *int { return &s.HTTPPort })},
	{"peer-port", kindNumber, "`PORT` between nodes; 0 takes a free one", "7947", number(0, maxPort, func(s *agentSettings) *int { return &s.PeerPort })},
	{"gossip-port", kindNumber, "`PORT` for gossip; 0 takes a free one", "7946", number(0, maxPort, func(s *agentSettings) *int { return &s.GossipPort })},
	{"data-dir", kindText, "`DIR` for everything that the node keeps", "by the bind address, below the user's state folder", text(func(s *agentSettings) *string { return &s.DataDir })},
	{"join", kindList, "`HOST[:PORT]` of a node of the cluster to join (its gossip port); may be repeated", "", list(func(s *agentSettings) *[]string { return &s.Join })},
	{"expect", kindNumber, "begin a cluster once `N` fresh nodes see each other", "", number(0, 99, func(s *agentSettings) *int { return &s.Expect })},
	{"mode", kindText, "part in the cluster (`MODE`): auto, orchestrator, worker or standalone", "auto", setMode},
	{"max-parallel", kindNumber, "`N` modules at once", "the number of cores", number(1, 10_000, func(s *agentSettings) *int { return &s.Slots })},
	{"cpu", kindText, "`N` processors that modules can reserve; may be a fraction", "what the machine or the agent's control group has", setCPU},
	{"memory", kindText, "memory that modules can reserve together, such as 8GiB (`SIZE`)", "what the machine or the agent's control group has", setMemory},
	{"tag", kindList, "`TAG` that modules can require; may be repeated", "", list(func(s *agentSettings) *[]string { return &s.Tags })},
	{"module-env", kindList, "`NAMES` of variables of this machine that modules see", "", list(func(s *agentSettings) *[]string { return &s.ModuleEnv })},
	{"key-file", kindText, "", "", text(func(s *agentSettings) *string { return &s.keyFile })}, // a shared flag
	{"http-host", kindList, "`NAME` by which the HTTP port may be called; may be repeated", "", list(func(s *agentSettings) *[]string { return &s.HTTPHosts })},
	{"http-plain", kindSwitch, "no TLS on the HTTP port, for behind a proxy", "", toggle(func(s *agentSettings) *bool { return &s.HTTPPlain })},
	{"tls-cert", kindText, "`FILE` with the certificate of the HTTP port", "one of the cluster's authority", text(func(s *agentSettings) *string { return &s.TLSCert })},
	{"tls-key", kindText, "`FILE` with its key", "", text(func(s *agentSettings) *string { return &s.TLSKey })},
	{"drain-on-stop", kindSwitch, "let modules end before the agent stops", "", toggle(func(s *agentSettings) *bool { return &s.DrainOnStop })},
	{"folders", kindText, "how large folders of modules are laid out (`WAY`): auto, overlay or copy", "auto", setFolders},
	{"keep-work", kindSwitch, "keep the folders of failed attempts", "", toggle(func(s *agentSettings) *bool { return &s.KeepWork })},
	{"dev", kindSwitch, "forget everything at the end: a data folder in memory, modules end with the agent", "", toggle(func(s *agentSettings) *bool { return &s.dev })},
	{"log-level", kindText, "`LEVEL`: trace, debug, info, warn, error or off", "info", setLevel},
	{"log-json", kindSwitch, "log as lines of JSON", "", toggle(func(s *agentSettings) *bool { return &s.logJSON })},
}

func setMode(s *agentSettings, v []string) error {
	if s.Mode = pipeline.Mode(v[0]); !s.Mode.Valid() {
		modes := []string{"auto", "orchestrator", "worker", "standalone"}
		return fmt.Errorf("want one of %s%s", strings.Join(modes, ", "), terminal.DidYouMean(v[0], modes))
	}
	return nil
}

func setFolders(s *agentSettings, v []string) error {
	ways := storage.FolderWays()
	if !slices.Contains(ways, v[0]) {
		return fmt.Errorf("want one of %s%s", strings.Join(ways, ", "), terminal.DidYouMean(v[0], ways))
	}
	s.Folders = storage.FolderWay(v[0])
	return nil
}

func setCPU(s *agentSettings, v []string) error {
	n, err := strconv.ParseFloat(v[0], 64)
	if err != nil || !(n >= 0.001 && n <= 100_000) {
		return fmt.Errorf("want a number of processors, such as 4 or 0.5")
	}
	s.CPU = n
	return nil
}

func setMemory(s *agentSettings, v []string) error {
	n, err := humanize.ParseBytes(v[0])
	if _, bare := strconv.ParseFloat(v[0], 64); err != nil || bare == nil || n < 1<<20 || n > 1<<50 {
		return fmt.Errorf("want a number and a unit, such as 8GiB or 512MiB")
	}
	s.Memory = int64(n)
	return nil
}

var logLevels = []string{"trace", "debug", "info", "warn", "error", "off"}

func setLevel(s *agentSettings, v []string) error {
	if !slices.Contains(logLevels, v[0]) {
		return fmt.Errorf("want one of %s%s", strings.Join(logLevels, ", "), terminal.DidYouMean(v[0], logLevels))
	}
	s.logLevel = v[0]
	return nil
}

// defaultSettings are what holds where nobody says otherwise.
func defaultSettings() agentSettings {
	return agentSettings{nodeConfig: nodeConfig{HTTPPort: 8080, PeerPort: 7947, GossipPort: 7946, Mode: pipeline.ModeAuto}, logLevel: "info"}
}

// noted is the name of an environment variable for the help; its value is
// looked up later, together with the config file's.
type noted struct{ envSource }

// Lookup finds nothing: see resolve.
func (*noted) Lookup() (string, bool) { return "", false }

// agentFlags makes a flag of each setting.
func agentFlags() []cli.Flag {
	flags := []cli.Flag{&cli.StringFlag{Name: "config", Usage: "HCL `FILE` with settings: the names of these flags as keys [$PIPELINED_CONFIG]", TakesFile: true, Local: true}}
	for i := range agentTable {
		s := &agentTable[i]
		source := cli.ValueSourceChain{Chain: []cli.ValueSource{&noted{envSource{name: s.env()}}}}
		switch {
		case s.usage == "":
		case s.kind == kindSwitch:
			flags = append(flags, &cli.BoolFlag{Name: s.name, Usage: s.usage, DefaultText: s.def, HideDefault: true, Sources: source, Local: true})
		case s.kind == kindList:
			flags = append(flags, &cli.StringSliceFlag{Name: s.name, Usage: s.usage, DefaultText: s.def, Sources: source, Local: true})
		default:
			flags = append(flags, &cli.StringFlag{Name: s.name, Usage: s.usage, DefaultText: s.def, Sources: source, Local: true})
		}
	}
	return flags
}

// resolve gives every setting its value: flag, else environment, else config
// file, else default.
func (c agentCommand) resolve(cmd *cli.Command) (agentSettings, error) {
	out := defaultSettings()
	path := cmd.String("config")
	if path == "" {
		path = c.env.getenv("PIPELINED_CONFIG")
	}
	file := map[string]fileValue{}
	if path != "" {
		text, err := c.env.readFile(path)
		if err != nil {
			return out, usagef("-config: %w", err)
		}
		if file, err = parseConfig(path, text); err != nil {
			return out, err
		}
	}
	for i := range agentTable {
		s := &agentTable[i]
		values, origin := c.settingValue(cmd, s, file)
		if values == nil {
			continue
		}
		if err := s.set(&out, values); err != nil {
			return out, usagef("%s %q: %w", origin, strings.Join(values, ","), err)
		}
	}
	return out, nil
}

// settingValue finds a setting's value and where it comes from; nil for none.
func (c agentCommand) settingValue(cmd *cli.Command, s *setting, file map[string]fileValue) (values []string, origin string) {
	if cmd.IsSet(s.name) && (s.usage != "" || c.env.flags.keyFile != "") {
		switch s.kind {
		case kindSwitch:
			return []string{strconv.FormatBool(cmd.Bool(s.name))}, "-" + s.name
		case kindList:
			return split(cmd.StringSlice(s.name)), "-" + s.name
		}
		return []string{cmd.String(s.name)}, "-" + s.name
	}
	if v := c.env.getenv(s.env()); v != "" {
		if s.kind == kindList {
			return split([]string{v}), s.env()
		}
		return []string{v}, s.env()
	}
	if v, ok := file[s.name]; ok {
		return v.values, v.at
	}
	return nil, ""
}

// split takes lists apart at commas.
func split(values []string) []string {
	out := []string{}
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

// fileValue is a value in a config file.
type fileValue struct {
	values []string
	at     string // the place, with the key
}

// parseConfig reads a config file: one attribute for each setting. Underscores
// in keys count as dashes.
func parseConfig(path string, src []byte) (map[string]fileValue, error) {
	file, diags := hclparse.NewParser().ParseHCL(src, path)
	if diags.HasErrors() {
		return nil, configError(diags)
	}
	attrs, diags := file.Body.JustAttributes()
	if diags.HasErrors() {
		return nil, configError(diags)
	}
	names := make([]string, len(agentTable))
	for i := range agentTable {
		names[i] = agentTable[i].name
	}
	out := map[string]fileValue{}
	for key, attr := range attrs {
		name := strings.ReplaceAll(key, "_", "-")
		i := slices.Index(names, name)
		place := fmt.Sprintf("%s:%d:%d", path, attr.NameRange.Start.Line, attr.NameRange.Start.Column)
		if i < 0 {
			return nil, usagef("%s: unknown setting %q%s", place, key, terminal.DidYouMean(name, names))
		}
		if _, twice := out[name]; twice {
			return nil, usagef("%s: %s is set twice", place, name)
		}
		values, err := decodeSetting(&agentTable[i], attr.Expr)
		if err != nil {
			return nil, usagef("%s: %s: %w", place, key, err)
		}
		out[name] = fileValue{values: values, at: place + ": " + key}
	}
	return out, nil
}

// decodeSetting reads the value of an attribute.
func decodeSetting(s *setting, expr hcl.Expression) ([]string, error) {
	if s.kind == kindList {
		var values []string
		if diags := gohcl.DecodeExpression(expr, nil, &values); !diags.HasErrors() {
			return append([]string{}, values...), nil
		}
	}
	var value string
	if diags := gohcl.DecodeExpression(expr, nil, &value); diags.HasErrors() {
		want := map[settingKind]string{kindText: "a text in quotes", kindNumber: "a number", kindSwitch: "true or false", kindList: "a list of texts"}[s.kind]
		return nil, fmt.Errorf("want %s", want)
	}
	if s.kind == kindList {
		return split([]string{value}), nil
	}
	return []string{value}, nil
}

// configError gives all that is wrong with the syntax of a config file.
func configError(diags hcl.Diagnostics) error {
	var list []string
	for _, d := range diags {
		place := ""
		if d.Subject != nil {
			place = fmt.Sprintf("%s:%d:%d: ", d.Subject.Filename, d.Subject.Start.Line, d.Subject.Start.Column)
		}
		list = append(list, place+strings.TrimSuffix(d.Summary, "."))
	}
	return usagef("%s", strings.Join(list, "; "))
}
