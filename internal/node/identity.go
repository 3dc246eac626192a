package node

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// KeyPath is the file of the key of a node that has one of its own (Config.OwnKey),
// in its data directory.
func KeyPath(dataDir string) string { return filepath.Join(dataDir, "cluster.key") }

// identity is who this node is: its id and its cluster, in node.json, and the
// cluster key.
type identity struct {
	cfg *Config
	dir *storage.DataDir
	log hclog.Logger

	file storage.NodeFile
	key  []byte
	keys *keys.Keys
	// known is set if the data directory was used before.
	known bool
}

// read reads node.json and the cluster key, or creates them. A node of a cluster
// never gets another key than before, nor another id because node.json is missing.
func (i *identity) read() (err error) {
	if i.file, i.known, err = i.dir.ReadNode(); err != nil {
		return err
	}
	if !i.known && consensus.Exists(i.dir.RaftDir()) {
		return i.lost("node.json", "raft")
	}

	// A node that never joined has nothing that another key could not read.
	bound := i.known && i.file.ClusterID != ""
	if i.key = i.cfg.Key; i.key == nil {
		if i.key, err = i.loadKey(bound); err != nil {
			return err
		}
	}
	if i.keys, err = keys.New(i.key); err != nil {
		return err
	}

	fingerprint := i.keys.Fingerprint()
	if bound && i.file.KeyFingerprint != "" && i.file.KeyFingerprint != fingerprint {
		return pipeline.Errorf(pipeline.Invalid, "cluster key %s (%s) is not the one that %s was created with (%s): restore that key; or join its cluster as a new node, without what is stored here, after: %s",
			i.keyName(), fingerprint, i.dir.Path(), i.file.KeyFingerprint, startOver(i.dir.Path()))
	}
	if !i.known {
		i.file = storage.NodeFile{ID: newNodeID()}
	}
	i.file.KeyFingerprint, i.file.Name = fingerprint, i.cfg.Name
	if names := hostNames(i.cfg.Join); len(names) > 0 {
		i.file.Join = names
	}
	i.file.Raft = i.file.Raft || i.cfg.Mode != pipeline.ModeWorker
	return i.dir.WriteNode(i.file)
}

// keyName says where the cluster key is from.
func (i *identity) keyName() string {
	if i.cfg.Key != nil {
		return "PIPELINED_KEY"
	}
	return i.cfg.KeyFile
}

// checkRaft finds out whether raft's state is gone although this node is a member of a
// cluster: it must not vote again as if it had never voted (reliability H13).
func (i *identity) checkRaft() error {
	if i.file.ClusterID == "" || !i.file.Raft || i.cfg.Mode == pipeline.ModeWorker || consensus.Exists(i.dir.RaftDir()) {
		return nil
	}
	if len(i.file.Peers) == 0 {
		return i.lost("raft", "node.json")
	}
	return &consensus.DamageError{Dir: i.dir.RaftDir(), Missing: true, Err: errors.New("it is empty")}
}

// lost is the error that one part of the data directory is missing and another is not.
func (i *identity) lost(missing, have string) error {
	dir := i.dir.Path()
	return pipeline.Errorf(pipeline.Invalid, "%s is missing, but %s holds the state of a cluster: restore it from a backup of the directory, or start over with: %s",
		filepath.Join(dir, missing), filepath.Join(dir, have), startOver(dir))
}

// leftError is for the directory of a node that has left its cluster.
func leftError(dir string) error {
	return pipeline.Errorf(pipeline.Invalid, "%w, and a node that has left never comes back under its id: to join as a new one, start over with: %s", cluster.ErrLeft, startOver(dir))
}

// startOver is the command that makes way for a new data directory.
func startOver(dir string) string { return fmt.Sprintf("mv %s %s.old", dir, dir) }

func newNodeID() pipeline.NodeID { return pipeline.NodeID(service.RandomHex(16)) }

// loadKey reads the cluster key's file. A file that was named must exist: a typo is
// no reason for a new key. The user's own file is created if it is missing, unless
// the data directory is bound to a key, or the node is to join a cluster on another
// machine: a new key could open neither. Agents of one user on one machine share
// the file and may start at the same moment: the first of them creates it.
func (i *identity) loadKey(bound bool) (key []byte, err error) {
	named := i.cfg.KeyFile != ""
	if i.cfg.OwnKey {
		i.cfg.KeyFile, named = KeyPath(i.dir.Path()), false
	} else if !named {
		i.cfg.KeyFile = keys.DefaultFile(storage.DefaultRoot())
	}

	path := i.cfg.KeyFile
	joins := joinsElsewhere(i.cfg.Join)
	if !bound && !joins && !named {
		key, created, err := keys.LoadOrCreate(path)
		if created && !i.cfg.OwnKey {
			i.log.Info("created the cluster key; other machines need a copy of it to join", "file", path)
		}
		return key, err
	}

	key, err = keys.Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	switch {
	case bound:
		dir := i.dir.Path()
		return nil, pipeline.Errorf(pipeline.Invalid, "cluster key %s is missing, but %s was created with it: restore the key, or start over with: %s", path, dir, startOver(dir))
	case joins:
		return nil, pipeline.Errorf(pipeline.Invalid, "cluster key %s is missing: to join a cluster, copy its key there from one of its nodes (there it is %s too, unless -key-file says otherwise)", path, path)
	}
	return nil, pipeline.Errorf(pipeline.Invalid, "cluster key %s does not exist: name another with -key-file, or create it with: pipelined keygen -o %s", path, path)
}

// joinsElsewhere reports whether the nodes to join are on other machines: none of
// them has a loopback address.
func joinsElsewhere(join []string) (elsewhere bool) {
	for _, host := range joined(join) {
		if host == "localhost" || net.ParseIP(host).IsLoopback() {
			return false
		}
		elsewhere = true
	}
	return elsewhere
}

// hostNames are those of the nodes to join that are named and not given by address.
func hostNames(join []string) (names []string) {
	for name, host := range joined(join) {
		if net.ParseIP(host) == nil {
			names = append(names, name)
		}
	}
	return names
}

// joined gives each node to join as it was written, and its host alone. An element of
// -join may name several, separated by commas.
func joined(join []string) iter.Seq2[string, string] {
	return func(yield func(name, host string) bool) {
		for name := range strings.SplitSeq(strings.Join(join, ","), ",") {
			name = strings.TrimSpace(name)
			host, _, err := net.SplitHostPort(name)
			if err != nil {
				host = strings.Trim(name, "[]")
			}
			if host != "" && !yield(name, host) {
				return
			}
		}
	}
}

// save records the cluster and the members to join at the next start.
func (i *identity) save(clusterID string, peers []string) error {
	file, known, err := i.dir.ReadNode()
	if err != nil {
		return err
	}
	if !known {
		return errors.New("node.json is gone")
	}
	file.ClusterID, file.Peers = clusterID, peers
	return i.dir.WriteNode(file)
}

// renew makes this node a new one of its cluster, if the others can continue
// without the old one: raft's damaged directory is moved away, and the id goes
// with it, because the old one has acknowledged what it no longer knows
// (reliability H13, H14). The id changes first: a crash between the steps leaves
// a damaged directory to an id that no member has seen.
func (i *identity) renew(damage *consensus.DamageError) error {
	if i.file.ClusterID == "" || !damage.Missing && !damage.Replaceable(string(i.file.ID)) {
		return pipeline.Errorf(pipeline.Internal, "%w; no other node can make up for it, so nothing was changed. "+
			"Restore %s from a backup of this data directory, or start over without the runs of this cluster with: %s",
			damage, damage.Dir, startOver(i.dir.Path()))
	}

	old := i.file.ID
	i.file.ID = newNodeID()
	if err := i.dir.WriteNode(i.file); err != nil {
		return err
	}
	aside, err := i.dir.SetRaftAside(time.Now())
	if err != nil {
		return err
	}
	i.log.Error("raft's directory is damaged: it was moved away, and this node joins its cluster again as a new one; check the disk, and delete the directory when it is no longer needed",
		"why", damage.Err, "directory", aside, "old id", old, "new id", i.file.ID)
	return nil
}
