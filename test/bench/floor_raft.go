package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// entrySize is how many bytes the floor commits for a module.
const entrySize = 512

// timings are raft's, as the product ships them unless flags say otherwise.
type timings struct {
	heartbeat, election, lease time.Duration
}

// floorConfig is the command line of a bare raft node.
type floorConfig struct {
	id, dir, http string
	// peers are "id=host:port" of all nodes, this one too.
	peers string
	timings
}

// floorNode is raft and nothing else: a log in bolt, a state machine that
// counts, TCP without encryption, and an HTTP port that accepts entries.
type floorNode struct {
	raft  *raft.Raft
	fsm   *counter
	entry []byte
}

// runFloorNode is the main function of a bare raft node: a child process of
// the benchmark. It serves until it is killed.
func runFloorNode(args []string) error {
	var c floorConfig
	fs := flag.NewFlagSet("raft-node", flag.ContinueOnError)
	fs.StringVar(&c.id, "id", "", "this node")
	fs.StringVar(&c.dir, "dir", "", "folder of the log")
	fs.StringVar(&c.http, "http", "", "address to serve")
	fs.StringVar(&c.peers, "peers", "", "id=address of all nodes")
	fs.DurationVar(&c.heartbeat, "heartbeat", 300*time.Millisecond, "heartbeat timeout")
	fs.DurationVar(&c.election, "election", 300*time.Millisecond, "election timeout")
	fs.DurationVar(&c.lease, "lease", 100*time.Millisecond, "leader's lease")

	if err := fs.Parse(args); err != nil {
		return err
	}

	n, err := openFloorNode(c)
	if err != nil {
		return err
	}

	l, err := net.Listen("tcp", c.http)
	if err != nil {
		return err
	}

	srv := &http.Server{Handler: n.handler(), ReadHeaderTimeout: 10 * time.Second}

	return srv.Serve(l)
}

// openFloorNode starts raft; a node without a log bootstraps with all peers.
func openFloorNode(c floorConfig) (*floorNode, error) {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(c.id)
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = c.heartbeat, c.election, c.lease
	conf.BatchApplyCh = true
	conf.Logger = hclog.NewNullLogger()

	var servers []raft.Server
	self := ""
	for p := range strings.SplitSeq(c.peers, ",") {
		id, addr, ok := strings.Cut(p, "=")
		if !ok {
			return nil, fmt.Errorf("peer %q: want id=host:port", p)
		}
		if id == c.id {
			self = addr
		}
		servers = append(servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(addr)})
	}

	store, err := raftboltdb.NewBoltStore(filepath.Join(c.dir, "raft.db"))
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}

	snaps, err := raft.NewFileSnapshotStoreWithLogger(c.dir, 2, conf.Logger)
	if err != nil {
		return nil, err
	}

	trans, err := raft.NewTCPTransportWithLogger(self, nil, 3, 10*time.Second, conf.Logger)
	if err != nil {
		return nil, err
	}

	if has, err := raft.HasExistingState(store, store, snaps); err != nil {
		return nil, err
	} else if !has {
		if err := raft.BootstrapCluster(conf, store, store, snaps, trans, raft.Configuration{Servers: servers}); err != nil {
			return nil, fmt.Errorf("bootstrap: %w", err)
		}
	}

	n := &floorNode{fsm: &counter{}, entry: make([]byte, entrySize)}
	n.raft, err = raft.NewRaft(conf, n.fsm, store, store, snaps, trans)

	return n, err
}

// handler serves the driver of the benchmark.
func (n *floorNode) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /leader", func(w http.ResponseWriter, _ *http.Request) {
		_, id := n.raft.LeaderWithID()
		_ = json.NewEncoder(w).Encode(string(id))
	})

	mux.HandleFunc("POST /apply", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err == nil {
			err = n.raft.Apply(body, 5*time.Second).Error()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})

	mux.HandleFunc("POST /work", func(w http.ResponseWriter, r *http.Request) {
		layers, _ := strconv.Atoi(r.FormValue("layers"))
		width, _ := strconv.Atoi(r.FormValue("width"))
		took, err := n.work(shape{layers, width}, strings.Fields(r.FormValue("command")))
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(took)
	})

	return mux
}

// work is the durable floor: every module is one entry of raft on a majority
// of disks, and then a process.
func (n *floorNode) work(s shape, argv []string) (time.Duration, error) {
	if len(argv) == 0 {
		return 0, errors.New("no command")
	}

	spawn, err := spawner(argv)
	if err != nil {
		return 0, err
	}

	return runShape(s, func() error {
		if err := n.raft.Apply(n.entry, 5*time.Second).Error(); err != nil {
			return err
		}
		return spawn()
	})
}

// counter is the least of a state machine.
type counter struct {
	n uint64 // touched by raft's one goroutine only
}

// Apply counts an entry.
func (c *counter) Apply(*raft.Log) any {
	c.n++
	return nil
}

// ApplyBatch counts entries; raft expects one response per entry.
func (c *counter) ApplyBatch(ls []*raft.Log) []any {
	c.n += uint64(len(ls))
	return make([]any, len(ls))
}

// Snapshot returns an empty one: the state is not worth keeping.
func (c *counter) Snapshot() (raft.FSMSnapshot, error) { return empty{}, nil }

// Restore reads what Snapshot wrote.
func (c *counter) Restore(r io.ReadCloser) error { return r.Close() }

type empty struct{}

// Persist writes nothing.
func (empty) Persist(s raft.SnapshotSink) error { return s.Close() }

// Release has nothing to release.
func (empty) Release() {}
