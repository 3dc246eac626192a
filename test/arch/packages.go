package arch

// module is the path of this Go module.
const module = "github.com/pipelined/pipelined"

// rule says what one package, and all packages below it without a rule of their
// own, may import.
type rule struct {
	// path below the module.
	path string
	// may lists the packages that it may import; "*" stands for all of them.
	// Packages of one rule may always import each other.
	may []string
	// stdOnly forbids everything that is neither the standard library nor ours.
	stdOnly bool
}

// rules are the imports that the architecture allows. They point one way. A
// package without a rule is an error, so that new packages are added here
// first.
var rules = []rule{
	{path: "pipeline", stdOnly: true},
	{path: "pipeline/calendar/zones", may: []string{}},
	{path: "pipeline/calendar", may: []string{"pipeline", "pipeline/calendar/zones"}},
	{path: "pipeline/mask", stdOnly: true},
	{path: "pipeline/safetext", stdOnly: true},
	{path: "pipeline/graph", stdOnly: true},
	{path: "pipeline/language", may: []string{"pipeline", "pipeline/calendar", "pipeline/mask"}},
	{path: "storage/disk", may: []string{"pipeline"}},
	{path: "storage/blob", may: []string{"pipeline", "storage/disk"}},
	{path: "storage/tree", may: []string{"pipeline", "storage/disk", "storage/blob"}},
	{path: "storage/layout", may: []string{"pipeline", "storage/disk", "storage/blob", "storage/tree"}},
	{path: "storage", may: []string{"pipeline", "internal/localsocket", "storage/disk"}},
	{path: "storage/journal", may: []string{"pipeline"}},
	{path: "storage/workspace", may: []string{"pipeline", "storage/disk", "storage/blob", "storage/tree"}},
	{path: "fsm", may: []string{"pipeline"}},
	{path: "scheduler", may: []string{"pipeline"}, stdOnly: true},
	{path: "executor", may: []string{"pipeline", "internal/localsocket", "pipeline/mask"}},
	{path: "executor/container", may: []string{"pipeline", "executor"}},
	{path: "internal/metrics", may: []string{"pipeline"}},
	{path: "cluster/gossip", may: []string{"pipeline", "internal/metrics"}},
	{path: "cluster/consensus", may: []string{"pipeline", "internal/awake", "internal/metrics"}},
	{path: "cluster/keys", may: []string{"pipeline"}},
	{path: "cluster", may: []string{"pipeline", "internal/metrics", "cluster/gossip", "cluster/consensus", "cluster/keys"}},
	{path: "internal/peer", may: []string{"pipeline", "api/wire"}},
	{path: "internal/state", may: []string{"pipeline", "fsm", "cluster", "internal/peer"}},
	{path: "internal/orchestrator", may: []string{"pipeline", "internal/metrics", "internal/awake", "pipeline/calendar", "fsm", "scheduler", "internal/peer"}},
	{path: "internal/testreport", may: []string{"pipeline"}},
	{path: "internal/worker/result", may: []string{"pipeline", "executor"}},
	{path: "internal/worker/attemptdir", may: []string{"pipeline", "executor", "storage/disk", "internal/worker/result"}},
	{path: "internal/worker/environ", may: []string{"pipeline", "executor", "internal/worker/attemptdir"}},
	{path: "internal/worker", may: []string{"pipeline", "storage/disk", "storage/blob", "storage/tree", "storage/layout", "storage/journal", "executor", "executor/container", "internal/peer", "pipeline/mask", "pipeline/safetext",
		"internal/testreport", "internal/worker/attemptdir", "internal/worker/environ", "internal/worker/result"}},
	{path: "internal/inputs", may: []string{"pipeline", "storage/blob", "storage/tree", "internal/orchestrator"}},
	{path: "api", may: []string{"pipeline", "internal/metrics", "api/ui", "api/wire"}},
	{path: "internal/fabric", may: []string{"pipeline", "internal/metrics", "internal/awake", "fsm", "storage/disk", "storage/blob", "storage/tree", "internal/peer"}},
	{path: "api/ui", stdOnly: true},
	{path: "api/wire", may: []string{"pipeline"}},
	{path: "api/client", may: []string{"pipeline", "api/wire"}},
	{path: "internal/tempdir", may: []string{"storage", "storage/disk", "storage/layout"}},
	{path: "internal/submission", may: []string{"pipeline", "pipeline/language", "pipeline/mask", "storage", "storage/disk", "storage/blob", "storage/tree", "storage/workspace", "api/wire", "api/client", "internal/tempdir"}},
	{path: "internal/terminal", may: []string{"pipeline", "pipeline/safetext", "api/wire", "api/client"}},
	{path: "internal/top", may: []string{"pipeline", "api/wire", "api/client", "internal/terminal"}},
	{path: "internal/report", may: []string{"pipeline", "api/wire"}},
	{path: "internal/webhook", may: []string{"pipeline"}},
	{path: "internal/traces", may: []string{"pipeline", "fsm"}},
	{path: "internal/backup", may: []string{"pipeline", "fsm", "storage/blob", "storage/tree"}},
	{path: "internal/service", may: []string{"pipeline", "pipeline/language", "pipeline/calendar", "pipeline/mask", "pipeline/graph", "fsm", "storage", "storage/blob", "storage/tree", "cluster", "cluster/keys",
		"api", "api/wire", "internal/peer", "internal/state", "internal/orchestrator", "internal/fabric"}},
	{path: "internal/history", may: []string{"pipeline", "fsm", "api", "api/wire", "internal/orchestrator", "internal/state", "internal/testreport"}},
	{path: "internal/nodereport", may: []string{"pipeline", "cluster", "api/wire", "internal/peer"}},
	{path: "internal/outbox", may: []string{"pipeline", "pipeline/calendar", "pipeline/safetext", "fsm", "cluster/keys", "api", "api/wire", "internal/state", "internal/webhook"}},
	{path: "internal/external", may: []string{"pipeline", "pipeline/mask", "fsm", "storage/blob", "storage/tree", "storage/layout", "cluster", "api", "api/wire", "internal/peer", "internal/state", "internal/service"}},
	{path: "internal/runlog", may: []string{"pipeline", "fsm", "api", "api/wire", "internal/peer"}},
	{path: "internal/session", may: []string{"pipeline", "fsm", "api", "api/wire", "internal/peer", "internal/worker"}},
	{path: "internal/snapshots", may: []string{"pipeline", "fsm", "storage/disk", "cluster", "api", "api/wire", "internal/backup", "internal/state"}},
	{path: "internal/remotecache", may: []string{"pipeline", "fsm", "api", "api/wire", "storage/disk", "storage/blob", "internal/peer", "internal/state", "internal/fabric"}},
	{path: "internal/node", may: []string{"*"}},
	{path: "cmd/pipelined", may: []string{"pipeline", "pipeline/calendar", "pipeline/language", "storage", "storage/blob", "storage/tree", "storage/layout", "executor", "executor/container",
		"api/wire", "api/client", "cluster/keys", "internal/backup", "internal/convert", "internal/node", "internal/report", "internal/scaffold", "internal/submission", "internal/tempdir", "internal/terminal", "internal/top"}},
	{path: "internal/awake", stdOnly: true},
	{path: "internal/convert", may: []string{"pipeline/language"}},
	{path: "internal/scaffold", may: []string{"pipeline/language"}},
	{path: "internal/localsocket"},
	{path: "internal/testutil", stdOnly: true},
	{path: "internal/state/statetest", may: []string{"pipeline", "fsm", "cluster", "internal/peer", "internal/state"}},
	{path: "test", may: []string{"*"}},
}

// limited are libraries that only some packages may import: a prefix of an
// import path and the packages. A library that is not listed is open to every
// package that is not stdOnly.
var limited = []struct {
	prefix   string
	packages []string
}{
	{"github.com/hashicorp/memberlist", []string{"cluster/gossip"}},
	{"github.com/hashicorp/raft-boltdb", []string{"cluster/consensus", "fsm", "test"}},
	{"github.com/hashicorp/raft", []string{"cluster/consensus", "fsm", "internal/state/statetest", "test"}},
	{"go.etcd.io/bbolt", []string{"cluster/consensus", "fsm", "storage", "test"}},
	{"github.com/hashicorp/hcl", []string{"pipeline/language", "cmd/pipelined"}},
	{"github.com/zclconf/go-cty", []string{"pipeline/language"}},
	{"github.com/netresearch/go-cron", []string{"pipeline/calendar"}},
	{"github.com/urfave/cli", []string{"cmd/pipelined"}},
	{module + "/internal/testutil", []string{"test"}}, // and every test
	{module + "/internal/state/statetest", []string{"test"}},
	{"github.com/gdamore/tcell", []string{"cmd/pipelined", "internal/top"}},
	{"go.opentelemetry.io", []string{"internal/traces", "test"}},
	{"github.com/prometheus", []string{"internal/metrics", "test"}},
	{"github.com/hashicorp/go-metrics", []string{"internal/metrics"}},
	{"github.com/standard-webhooks", []string{"test"}}, // and every test
	{"golang.org/x/term", []string{"cmd/pipelined", "internal/terminal"}},
}

// forbidden are packages of the standard library that a package may not import,
// because they read a clock, the machine or randomness.
var forbidden = map[string][]string{
	"pipeline/calendar": {"os", "net", "math/rand", "crypto/rand", "sync", "syscall"},
	"pipeline":          {"os", "net", "math/rand", "crypto/rand", "io/ioutil", "syscall"},
	"scheduler":         {"os", "net", "math/rand", "crypto/rand", "sync", "log", "syscall"},
}

// exits are files outside of the commands that may end the process, and why.
var exits = map[string]string{
	"pipeline/language/limits_unix.go": "the process that evaluates an expression in bounds ends itself beyond them",
}
