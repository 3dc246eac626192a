package node

import (
	"errors"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

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

// read reads node.json and the cluster key, or creates them. With state present,
// another key than before is an error, never a new key.
func (i *identity) read() (err error) {
	if i.file, i.known, err = i.dir.ReadNode(); err != nil {
		return err
	}

	bound := i.known && i.file.KeyFingerprint != ""
	i.key = i.cfg.Key
	if i.key == nil {
		if i.key, err = i.loadKey(bound); err != nil {
			return err
		}
	}
	if i.keys, err = keys.New(i.key); err != nil {
		return err
	}

	fingerprint := i.keys.Fingerprint()
	if bound && i.file.KeyFingerprint != fingerprint {
		return pipeline.Errorf(pipeline.Invalid, "the state in %s was created with the cluster key %s, and the key given is %s: "+
			"give that key, or another -data-dir to start over", i.dir.Path(), i.file.KeyFingerprint, fingerprint)
	}
	if !i.known {
		i.file = storage.NodeFile{ID: newNodeID()}
	}
	i.file.KeyFingerprint, i.file.Name = fingerprint, i.cfg.Name
	return i.dir.WriteNode(i.file)
}

func newNodeID() pipeline.NodeID { return pipeline.NodeID(service.RandomHex(16)) }

// loadKey reads the cluster key's file. It is created if it is missing, unless
// the data directory is bound to a key, or the node is to join a cluster on another
// machine: a new key could open neither. Agents of one user on one machine share
// the file and may start at the same moment: the first of them creates it.
func (i *identity) loadKey(bound bool) ([]byte, error) {
	path := i.cfg.KeyFile
	if path == "" {
		path = keys.DefaultFile(storage.DefaultRoot())
	}
	if !bound && !joinsElsewhere(i.cfg.Join) {
		key, _, err := keys.LoadOrCreate(path)
		return key, err
	}

	key, err := keys.Load(path)
	if errors.Is(err, fs.ErrNotExist) && !bound {
		return nil, pipeline.Errorf(pipeline.Invalid, "cluster key %s is missing: to join a cluster, copy its key there from one of its nodes (there it is %s too, unless -key-file says otherwise)", path, path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		dir := i.dir.Path()
		return nil, pipeline.Errorf(pipeline.Invalid, "cluster key %s is missing, but %s was created with it: "+
			"restore the key, or start over with: mv %s %s.old", path, dir, dir, dir)
	}
	return key, err
}

// joinsElsewhere reports whether the nodes to join are on other machines: none of
// them has a loopback address.
func joinsElsewhere(join []string) bool {
	for _, address := range join {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address
		}
		if host == "localhost" || net.ParseIP(strings.Trim(host, "[]")).IsLoopback() {
			return false
		}
	}
	return len(join) > 0
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
	if i.file.ClusterID == "" || !damage.Replaceable(string(i.file.ID)) {
		return pipeline.Errorf(pipeline.Internal, "%w; no other node can make up for it, so nothing was changed. "+
			"Restore %s from a backup of this data directory. To start over without the runs of this cluster, use another -data-dir, or move %s away first",
			damage, damage.Dir, i.dir.Path())
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
