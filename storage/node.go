package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// NodeFileVersion is the version of node.json that this package writes.
const NodeFileVersion = 1

// NodeFile is what a node knows of itself between its lives: node.json.
type NodeFile struct {
	// Version is set by WriteNode.
	Version int `json:"version"`
	// ID is made when the data directory is first used and never changes.
	ID pipeline.NodeID `json:"id"`
	// ClusterID is "" until the node belongs to a cluster.
	ClusterID string `json:"clusterId,omitempty"`
	Name      string `json:"name,omitempty"`
	// KeyFingerprint is that of the cluster key the state was made under.
	KeyFingerprint string `json:"keyFingerprint,omitempty"`
	// Raft reports that the node has had raft's log, as all but workers have.
	Raft bool `json:"raft,omitempty"`
	// Peers are the gossip addresses last known, tried first on the next start.
	Peers []string `json:"peers,omitempty"`
	// Join are the host names that -join gave last. They are looked up again if none
	// of Peers answers.
	Join []string `json:"join,omitempty"`
}

// ReadNode reads node.json. The bool is false where there is none yet. A file
// that cannot be read, or of a newer version, is an error: to go on as if the
// node were new would give it a second identity.
func (d *DataDir) ReadNode() (NodeFile, bool, error) {
	path := filepath.Join(d.path, nodeFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return NodeFile{}, false, nil
	}
	if err != nil {
		return NodeFile{}, false, d.unreadable(err)
	}
	var n NodeFile
	if err := json.Unmarshal(text, &n); err != nil {
		return NodeFile{}, false, d.unreadable(fmt.Errorf("%s: %w", path, err))
	}
	if n.Version > NodeFileVersion {
		return NodeFile{}, false, fmt.Errorf("read node file %s: its version is %d and this program knows up to %d: use the newer program that wrote it", path, n.Version, NodeFileVersion)
	}
	if n.Version < 1 || n.ID == "" {
		return NodeFile{}, false, d.unreadable(fmt.Errorf("%s: it names no node id", path))
	}
	return n, true, nil
}

// unreadable says what helps if node.json cannot be read. err names the file.
func (d *DataDir) unreadable(err error) error {
	return fmt.Errorf("read node file: %w: restore it from a backup of the directory, or start over as a new node with: mv %s %s.old", err, d.path, d.path)
}

// WriteNode replaces node.json; it is durable when WriteNode returns.
func (d *DataDir) WriteNode(n NodeFile) error {
	if n.ID == "" {
		return errors.New("write node file: the node has no id")
	}
	n.Version = NodeFileVersion
	if err := writeJSON(filepath.Join(d.path, nodeFile), n, true); err != nil {
		return fmt.Errorf("write node file: %w", err)
	}
	return nil
}

// AgentFile is what a running agent tells the command line on its machine:
// agent.json.
type AgentFile struct {
	PID  int             `json:"pid"`
	Name string          `json:"name"`
	ID   pipeline.NodeID `json:"id"`
	// HTTP, Peer and Gossip are addresses as host:port.
	HTTP   string `json:"http"`
	Peer   string `json:"peer"`
	Gossip string `json:"gossip"`
	// HTTPScheme is "http" or "https".
	HTTPScheme string `json:"httpScheme"`
	// Socket is the path of the unix socket that serves the same calls to the user
	// of the agent; "" if there is none.
	Socket    string    `json:"socket,omitempty"`
	StartedAt time.Time `json:"startedAt"`
}

// WriteAgent replaces agent.json. It is not synced: after a power cut no agent
// runs.
func (d *DataDir) WriteAgent(a AgentFile) error {
	if err := writeJSON(d.AgentPath(), a, false); err != nil {
		return fmt.Errorf("write agent file: %w", err)
	}
	return nil
}

// RemoveAgent removes agent.json at a clean stop. None is no error.
func (d *DataDir) RemoveAgent() error {
	if err := os.Remove(d.AgentPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove agent file: %w", err)
	}
	return nil
}

// ReadAgentFile reads an agent.json.
func ReadAgentFile(path string) (AgentFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return AgentFile{}, fmt.Errorf("read agent file: %w", err)
	}
	var a AgentFile
	if err := json.Unmarshal(text, &a); err != nil {
		return AgentFile{}, fmt.Errorf("read agent file %s: %w", path, err)
	}
	return a, nil
}

// Running reports whether the process that wrote the file is still there. After
// a crash another process may have its number, so it is a hint.
func (a AgentFile) Running() bool {
	if a.PID <= 0 {
		return false
	}
	err := unix.Kill(a.PID, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

// AgentFiles lists the agent.json files of the running agents below the
// default root (see DefaultDataDir), by path.
func AgentFiles() []string {
	dirs, err := os.ReadDir(filepath.Join(DefaultRoot(), agentsDir))
	if err != nil {
		return nil
	}
	var found []string
	for _, dir := range dirs {
		path := filepath.Join(DefaultRoot(), agentsDir, dir.Name(), agentFile)
		if a, err := ReadAgentFile(path); err == nil && a.Running() {
			found = append(found, path)
		}
	}
	slices.Sort(found)
	return found
}

func writeJSON(path string, v any, durable bool) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return disk.WriteFile(path, append(text, '\n'), 0o600, durable)
}

// agentsDir is where the data directories of agents lie below DefaultRoot.
const agentsDir = "agents"

// DefaultRoot is where data directories are unless the configuration says otherwise:
// $XDG_STATE_HOME/pipelined; where that is not set /var/lib/pipelined for root
// and ~/.local/state/pipelined for others.
func DefaultRoot() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "pipelined")
	}
	if os.Geteuid() == 0 {
		return "/var/lib/pipelined"
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "pipelined")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("pipelined-%d", os.Geteuid()))
}

// DefaultDataDir is the data directory of an agent bound to an address: several
// agents on one machine differ by it.
func DefaultDataDir(bind string) string {
	safe := func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		}
		return '_'
	}
	name := strings.Map(safe, bind)
	if strings.Trim(name, ".") == "" {
		name = "default"
	}
	return filepath.Join(DefaultRoot(), agentsDir, name)
}

// snapshotsDir is where StatCaches lie, below DefaultRoot or in a data directory.
const snapshotsDir = "snapshots"

// SnapshotsDir is where OpenStatCache finds what is remembered of workspaces: in
// a data directory, or, where that is "", in DefaultRoot.
func SnapshotsDir(dataDir string) string {
	if dataDir == "" {
		dataDir = DefaultRoot()
	}
	return filepath.Join(dataDir, snapshotsDir)
}

// DefaultRunDir is the data directory that `run` keeps.
func DefaultRunDir() string { return filepath.Join(DefaultRoot(), "run") }
