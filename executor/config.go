package executor

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Config is what a runner needs. Only DataDir is required, and Executable for
// Connect.
type Config struct {
	// DataDir is the runner's own directory: socket, lock, log and exits of the
	// keeper. It also names the runner: every process with its mark is killed when
	// a runner is opened after one that did not end in order. One runner at a
	// time may use it; a keeper makes sure of that by a lock, the caller of
	// NewLocal by its own.
	DataDir string
	// Executable is the program that Connect starts as keeper, with
	// KeeperCommand as its first argument.
	Executable string
	// Logger gets what happens in this process; nil means that it is dropped. A keeper
	// writes to keeper.log in DataDir.
	Logger hclog.Logger

	// LeftoverWait is how long processes that outlive the main one have
	// between TERM and KILL; 0 means 500 ms.
	LeftoverWait time.Duration
	// DrainWait is how long output is read after the tree is dead, if another
	// process holds the pipe; 0 means 1 s.
	DrainWait time.Duration
	// IdleExit is when a keeper with neither daemon nor process ends; 0 means
	// 10 min.
	IdleExit time.Duration
	// ConnectTimeout bounds Connect; 0 means 30 s.
	ConnectTimeout time.Duration
	// NoCgroups finds members of a tree by session, ancestry and cookie even
	// if there are control groups.
	NoCgroups bool
	// AllowNewPrivileges lets modules gain privileges by setuid programs such
	// as sudo.
	AllowNewPrivileges bool
	// OnIncarnation is called by a Client, from a goroutine of its own, when it
	// has connected to a keeper of another incarnation than before: all that
	// ran is gone, save exits that come again.
	OnIncarnation func(incarnation string)

	// namedOnly leaves version 2 out, for tests of the named hierarchy.
	namedOnly bool
}

// KeeperCommand is the hidden command, the first argument of Config.Executable,
// whose further arguments KeeperMain takes.
const KeeperCommand = "__keeper"

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.LeftoverWait <= 0 {
		c.LeftoverWait = 500 * time.Millisecond
	}
	if c.DrainWait <= 0 {
		c.DrainWait = time.Second
	}
	if c.IdleExit <= 0 {
		c.IdleExit = 10 * time.Minute
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = 30 * time.Second
	}
	return c
}

// mark is what cookies of a data dir begin with and its control group is named
// by.
func (c *Config) mark() string {
	sum := sha256.Sum256([]byte(c.DataDir))
	return hex.EncodeToString(sum[:8])
}
