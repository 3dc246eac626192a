package main

import (
	"slices"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/layout"
)

// agentSettings is everything that can be set for an agent.
type agentSettings struct {
	nodeConfig
	bind              string // as given: an address, private or public
	dev               bool
	logLevel, keyFile string
	logJSON           bool
	webhooks          []webhookBlock
}

// settingKind is what a setting's value looks like.
type settingKind int

const (
	kindText   settingKind = iota
	kindNumber             // a whole number
	kindSwitch             // true or false
	kindList               // several texts; in flags and variables also separated by commas
)

// setting is one setting of an agent. The order of precedence is flag, environment
// variable, configuration file, default. Flags, help, the table in docs/configuration.md and
// -print-config all follow from agentTable.
type setting struct {
	// name is the flag without its dash; the key of the configuration file and the
	// environment variable follow from it.
	name string
	// flag says where the flag is defined.
	flag settingFlag
	kind settingKind
	// usage says what the value is, with the word for it in backquotes.
	usage string
	// def is the value that holds by default; "" for none, or if it is computed.
	def string
	// computed describes a default that depends on the machine.
	computed string
	// set takes the values: one, or for lists any number.
	set func(s *agentSettings, values []string) error
}

// settingFlag says whether a setting can be given on the command line.
type settingFlag int

const (
	fileOnly   settingFlag = iota // no flag: configuration file and environment only
	agentFlag                     // a flag of `agent`
	sharedFlag                    // a flag of every command
)

// variable is the setting's environment variable.
func (s *setting) variable() string {
	return "PIPELINED_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// key is the setting's key in a configuration file.
func (s *setting) key() string { return strings.ReplaceAll(s.name, "-", "_") }

// defaultText is the default as the help and the documentation show it.
func (s *setting) defaultText() string {
	if s.computed != "" {
		return s.computed
	}

	return s.def
}

const (
	maxPort  = 65535
	maxSlots = 10_000
)

var (
	modes     = []string{"auto", "orchestrator", "worker", "standalone"}
	logLevels = []string{"trace", "debug", "info", "warn", "error", "off"}
)

// agentTable lists the settings of an agent in the order of its help.
var agentTable = slices.Concat(nodeTable, limitsTable)

// nodeTable lists the settings of the node itself.
var nodeTable = []setting{
	{name: "name", flag: agentFlag, usage: "`NAME` of the node", computed: "the host's name",
		set: text(func(s *agentSettings) *string { return &s.Name })},
	{name: "bind", flag: agentFlag, usage: "`ADDRESS` of all ports: an IP address, private or public",
		computed: "127.0.0.1; with -join to another machine, the address of the route to it",
		set:      text(func(s *agentSettings) *string { return &s.bind })},
	{name: "advertise", flag: agentFlag, usage: "`ADDRESS` that the other nodes use", computed: "that of -bind",
		set: text(func(s *agentSettings) *string { return &s.Advertise })},
	{name: "http-port", flag: agentFlag, kind: kindNumber, usage: "`PORT` of the HTTP API; 0 takes a free one", def: "8080",
		set: number(0, maxPort, func(s *agentSettings) *int { return &s.HTTPPort })},
	{name: "peer-port", flag: agentFlag, kind: kindNumber, usage: "`PORT` between nodes; 0 takes a free one", def: "7947",
		set: number(0, maxPort, func(s *agentSettings) *int { return &s.PeerPort })},
	{name: "gossip-port", flag: agentFlag, kind: kindNumber, usage: "`PORT` of gossip; 0 takes a free one", def: "7946",
		set: number(0, maxPort, func(s *agentSettings) *int { return &s.GossipPort })},
	{name: "data-dir", flag: agentFlag, usage: "`DIR` that holds everything the node keeps",
		computed: "by the bind address, below the user's state directory",
		set:      text(func(s *agentSettings) *string { return &s.DataDir })},
	{name: "join", flag: agentFlag, kind: kindList, usage: "`HOST[:PORT]` of a node of the cluster to join (its gossip port); may be repeated",
		set: list(func(s *agentSettings) *[]string { return &s.Join })},
	{name: "expect", flag: agentFlag, kind: kindNumber, usage: "number `N` of new nodes that must see each other before they make a cluster",
		set: number(0, 99, func(s *agentSettings) *int { return &s.Expect })},
	{name: "mode", flag: agentFlag, usage: "`MODE`: " + strings.Join(modes, ", "), def: string(pipeline.ModeAuto),
		set: choice(modes, func(s *agentSettings, v string) { s.Mode = pipeline.Mode(v) })},
	{name: "max-parallel", flag: agentFlag, kind: kindNumber, usage: "number `N` of modules that run at the same time", computed: "the number of cores",
		set: number(1, maxSlots, func(s *agentSettings) *int { return &s.Slots })},
	{name: "tag", flag: agentFlag, kind: kindList, usage: "`TAG` that modules can require; may be repeated",
		set: list(func(s *agentSettings) *[]string { return &s.Tags })},
	{name: "module-env", flag: agentFlag, kind: kindList, usage: "`NAMES` of this machine's environment variables that modules get",
		set: list(func(s *agentSettings) *[]string { return &s.ModuleEnv })},
	{name: "container-host", usage: "`SOCKET` of the container engine, such as unix:///run/docker.sock, or off", computed: "$DOCKER_HOST, else the usual sockets of Docker and Podman",
		set: setContainerHost},
	{name: "key-file", flag: sharedFlag, usage: "`FILE` that holds the cluster key", computed: "in the user's configuration directory",
		set: text(func(s *agentSettings) *string { return &s.keyFile })},
	{name: "http-host", flag: agentFlag, kind: kindList, usage: "`NAME` by which clients may address the HTTP port; may be repeated",
		set: list(func(s *agentSettings) *[]string { return &s.HTTPHosts })},
	{name: "http-plain", flag: agentFlag, kind: kindSwitch, usage: "serve HTTP without TLS, for use behind a proxy",
		set: toggle(func(s *agentSettings) *bool { return &s.HTTPPlain })},
	{name: "tls-cert", flag: agentFlag, usage: "`FILE` that holds the certificate of the HTTP port", computed: "one of the cluster's authority",
		set: text(func(s *agentSettings) *string { return &s.TLSCert })},
	{name: "tls-key", flag: agentFlag, usage: "`FILE` that holds the certificate's key",
		set: text(func(s *agentSettings) *string { return &s.TLSKey })},
	{name: "drain-on-stop", flag: agentFlag, kind: kindSwitch, usage: "wait for running modules before the agent stops",
		set: toggle(func(s *agentSettings) *bool { return &s.DrainOnStop })},
	{name: "keep-work", flag: agentFlag, kind: kindSwitch, usage: "keep the directories of failed attempts",
		set: toggle(func(s *agentSettings) *bool { return &s.KeepWork })},
	{name: "dev", flag: agentFlag, kind: kindSwitch, usage: "keep all data in memory and delete it at exit; modules end with the agent",
		set: toggle(func(s *agentSettings) *bool { return &s.dev })},
	{name: "log-level", flag: agentFlag, usage: "lowest `LEVEL` that is logged: " + strings.Join(logLevels, ", "), def: "info",
		set: choice(logLevels, func(s *agentSettings, v string) { s.logLevel = v })},
	{name: "log-json", flag: agentFlag, kind: kindSwitch, usage: "log as lines of JSON",
		set: toggle(func(s *agentSettings) *bool { return &s.logJSON })},
	{name: "cpu", usage: "number `N` of processors that modules can reserve; may be a fraction", computed: "what the machine or the agent's control group has",
		set: setCPU},
	{name: "memory", usage: "memory that modules can reserve together (`SIZE`)", computed: "what the machine or the agent's control group has",
		set: setMemory},
	{name: "metrics-open", kind: kindSwitch, usage: "serve /metrics without a token",
		set: toggle(func(s *agentSettings) *bool { return &s.MetricsOpen })},
	{name: "public-badges", kind: kindSwitch, usage: "serve /badges/PIPELINE.svg, which says how the newest run ended, without a token",
		set: toggle(func(s *agentSettings) *bool { return &s.PublicBadges })},
	{name: "webhook-allow", kind: kindList, usage: "`ADDRESSES` or ranges at which webhooks may have receivers although they are loopback or link-local",
		set: list(func(s *agentSettings) *[]string { return &s.WebhookAllow })},
	{name: "layout", usage: "how large module directories are laid out (`MODE`): " + strings.Join(layout.Modes(), ", "), def: "auto",
		set: choice(layout.Modes(), func(s *agentSettings, v string) { s.Layout = layout.Mode(v) })},
}

// defaultSettings are the settings if nothing is given.
func defaultSettings() agentSettings {
	return agentSettings{
		nodeConfig: nodeConfig{HTTPPort: 8080, PeerPort: 7947, GossipPort: 7946, Mode: pipeline.ModeAuto},
		logLevel:   "info",
	}
}
