package node

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/internal/outbox"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/internal/snapshots"
	"github.com/pipelined/pipelined/internal/webhook"
	"github.com/pipelined/pipelined/internal/worker"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/layout"
)

// Config says what node to open. The zero value of a field means its default.
type Config struct {
	// DataDir holds everything the node keeps.
	DataDir string
	// Name is what people call the node; default: the host's name, with the
	// address where several nodes share a host.
	Name string
	// Bind is the IP for all ports, Advertise the one that others use.
	Bind, Advertise string
	// HTTPPort, PeerPort, GossipPort: 0 takes a free one.
	HTTPPort, PeerPort, GossipPort int
	Join                           []string
	Expect                         int
	Mode                           pipeline.Mode
	// Slots is how many modules run at once; default: the number of cores.
	Slots int
	// CPU (a number of processors) and Memory (in bytes) are what modules here may
	// reserve together; default: what the machine, or this process's control
	// group, has.
	CPU    float64
	Memory int64
	Tags   []string
	// KeyFile holds the cluster key; Key, where it is set, stands for it. Without
	// either it is the user's own file, which is created if it is missing; with
	// OwnKey a file in the data directory.
	KeyFile string
	Key     []byte
	OwnKey  bool
	// ContainerHost is the socket of the container engine; "" looks at the usual places,
	// container.Off turns containers off.
	ContainerHost string
	// ModuleEnv names variables of this process that modules see.
	ModuleEnv []string
	// HTTPPlain turns TLS off on an address other than loopback.
	HTTPPlain       bool
	TLSCert, TLSKey string
	// HTTPHosts are names by which the HTTP port may be called, besides those of the
	// node and its host.
	HTTPHosts []string
	// MetricsOpen serves /metrics without a token.
	MetricsOpen bool
	// PublicBadges serves badges of pipelines without a token.
	PublicBadges bool
	// DrainOnStop lets the node's modules end before it stops.
	DrainOnStop bool
	// Layout is how directories of modules are laid out; "" chooses.
	Layout layout.Mode
	// KeepWork keeps the directories of failed attempts.
	KeepWork bool
	// Secrets, where it is not nil, stands for the secrets of the state: they are
	// kept in memory alone.
	Secrets map[string]string
	// Embedded is `pipelined run`: modules are children of this process and end
	// with it, so there is no keeper.
	Embedded bool
	// Idle nodes take no modules: they are started to look at what they keep.
	Idle bool
	// Executable is this binary, for the keeper and the evaluator; default
	// os.Executable.
	Executable string
	Logger     hclog.Logger
	Version    string
	// Webhooks are the webhooks that this agent defines when it leads. WebhookAllow lists
	// ranges of addresses, otherwise refused, at which receivers may be.
	Webhooks     []WebhookDefinition
	WebhookAllow []string
	// NoWebhooks runs send no notifications to webhooks (`pipelined run`).
	NoWebhooks bool
	// Limits say what is kept, for how long, and how fast background work may go.
	Limits Limits
	// Snapshots says where the leader saves snapshots of the state, and how often.
	Snapshots snapshots.Schedule
	// Raft and Timing are for tests and other networks.
	Raft   consensus.Timings
	Timing orchestrator.Timing
	// OnStopped is called when another process asked this node to leave.
	OnStopped func()
}

// alone reports whether no other worker can ever join.
func (c *Config) alone() bool {
	return c.Embedded && !c.Idle && c.Mode == pipeline.ModeStandalone
}

// hostNames are the names by which the HTTP port may be called: calls with another one
// are refused, and the node's certificate has exactly these.
func (c *Config) hostNames() []string {
	names := append([]string{c.Name, c.Advertise, "localhost"}, c.HTTPHosts...)
	if host, err := os.Hostname(); err == nil {
		short, _, _ := strings.Cut(host, ".")
		names = append(names, host, short)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" || net.ParseIP(name) != nil })
}

// Complete checks a configuration, and gives it with the defaults that depend on the
// machine.
func Complete(c Config) (Config, error) {
	err := c.defaults()
	return c, err
}

func (c *Config) defaults() error {
	if c.Bind == "" {
		c.Bind = "127.0.0.1"
	}
	ip := net.ParseIP(c.Bind)
	if ip == nil {
		return pipeline.Errorf(pipeline.Invalid, "-bind %q: expected an IP address", c.Bind)
	}
	if ip.IsUnspecified() && c.Advertise == "" {
		return pipeline.Errorf(pipeline.Invalid, "-bind %s listens everywhere: say with -advertise which address the other nodes are to use", c.Bind)
	}
	if c.Mode == "" {
		c.Mode = pipeline.ModeAuto
	}
	if !c.Mode.Valid() {
		return pipeline.Errorf(pipeline.Invalid, "-mode %q: expected auto, orchestrator, worker or standalone", c.Mode)
	}
	if c.Slots == 0 {
		c.Slots = runtime.GOMAXPROCS(0)
	}
	if c.Slots < 0 || c.Slots > 10_000 {
		return pipeline.Errorf(pipeline.Invalid, "-max-parallel %d: expected 1 to 10000", c.Slots)
	}
	has := worker.FindMachine("/")
	if c.CPU == 0 {
		c.CPU = has.CPU
	}
	if c.Memory == 0 {
		c.Memory = has.Memory
	}
	if c.CPU < 0 || c.CPU > maxCPU || c.Memory < 0 {
		return pipeline.Errorf(pipeline.Invalid, "cpu %v, memory %d: expected 0.001 to %d processors, and a size", c.CPU, c.Memory, maxCPU)
	}
	if c.Mode == pipeline.ModeOrchestrator || c.Idle {
		c.Slots = 0
	}
	if c.Name == "" {
		c.Name = defaultName(c.Bind, ip)
	}
	if len(c.Name) > 63 || strings.ContainsAny(c.Name, " /\\\x00\n\r\t") {
		return pipeline.Errorf(pipeline.Invalid, "-name %.80q: at most 63 characters without spaces or slashes", c.Name)
	}
	if c.Executable == "" {
		exe, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find own executable: %w", err)
		}
		c.Executable = exe
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if err := c.checkWebhooks(); err != nil {
		return err
	}
	c.Snapshots.Every = cmp.Or(c.Snapshots.Every, 24*time.Hour)
	c.Snapshots.Keep = cmp.Or(c.Snapshots.Keep, 7)
	return c.Limits.defaults()
}

// WebhookDefinition is a webhook that the configuration of an agent defines.
type WebhookDefinition = outbox.Definition

func (c *Config) checkWebhooks() error {
	rules, err := webhook.ParseRules(c.WebhookAllow)
	if err != nil {
		return pipeline.Errorf(pipeline.Invalid, "webhook_allow: %w", err)
	}
	for _, d := range c.Webhooks {
		if err := outbox.Check(d, rules); err != nil {
			return pipeline.Errorf(pipeline.Invalid, "webhook %.80q: %w", d.Name, err)
		}
	}
	return nil
}

// defaultName is the host's name; nodes on loopback addresses other than the
// first add theirs, since they share the host.
func defaultName(bind string, ip net.IP) string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "node"
	}
	host, _, _ = strings.Cut(host, ".")
	if ip.IsLoopback() && bind != "127.0.0.1" {
		return host + "-" + strings.NewReplacer(".", "-", ":", "-").Replace(strings.TrimPrefix(bind, "127.0.0."))
	}
	return host
}

// maxCPU is the most processors that a node can be said to have.
const maxCPU = 100_000

// SecretPrefix begins the environment variables that `pipelined run` takes its
// secrets from.
const SecretPrefix = service.SecretPrefix
