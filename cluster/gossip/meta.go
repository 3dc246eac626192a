package gossip

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/pipelined/pipelined/pipeline"
)

// maxMeta is what memberlist leaves for a node's description, in bytes.
const maxMeta = 512

// metaVersion is written first; a description of a later version is refused.
const metaVersion = 1

// The bounds of the texts of a description. Together they stay below maxMeta.
const (
	maxNodeID      = 64
	maxClusterID   = 64
	maxName        = 80
	maxVersion     = 40
	maxHTTPHost    = 64
	maxIncarnation = 40
)

// Meta describes a node to the others. It is a hint: nothing is allowed or
// believed because of it (reliability H22).
type Meta struct {
	// Cluster is "" on a node that has none yet.
	Cluster string
	Name    string
	Version string
	Mode    pipeline.Mode
	// PeerPort is at the address of gossip; 0 if the node has none.
	PeerPort int
	// HTTPAddr is host:port.
	HTTPAddr string
	HTTPS    bool
	Slots    int
	Load     int
	// Incarnation identifies the process of the keeper.
	Incarnation string
	// Role is leader, voter, standby or none; Term is the leader's.
	Role string
	Term uint64
	// Draining nodes take no work, leaving ones leave permanently.
	Draining bool
	Leaving  bool
	// Expect is how many new nodes this one waits for before it bootstraps a
	// cluster; 0 means it never does. Sees is how many it sees, Pledge which of
	// them it expects to bootstrap.
	Expect int
	Sees   int
	Pledge string
	// Yields marks a cluster of one, with nothing in it, that was started to join another.
	Yields bool
}

// wire is Meta as it travels. Numbers instead of names keep it short.
type wire struct {
	V           int    `cbor:"0,keyasint"`
	Cluster     string `cbor:"1,keyasint,omitempty"`
	Name        string `cbor:"2,keyasint,omitempty"`
	Version     string `cbor:"3,keyasint,omitempty"`
	Mode        int    `cbor:"4,keyasint"`
	PeerPort    int    `cbor:"5,keyasint,omitempty"`
	HTTPHost    string `cbor:"6,keyasint,omitempty"`
	HTTPPort    int    `cbor:"7,keyasint,omitempty"`
	Slots       int    `cbor:"8,keyasint,omitempty"`
	Load        int    `cbor:"9,keyasint,omitempty"`
	Incarnation string `cbor:"10,keyasint,omitempty"`
	Role        int    `cbor:"11,keyasint,omitempty"`
	Term        uint64 `cbor:"12,keyasint,omitempty"`
	Flags       uint   `cbor:"13,keyasint,omitempty"`
	Expect      int    `cbor:"14,keyasint,omitempty"`
	Sees        int    `cbor:"15,keyasint,omitempty"`
	Pledge      string `cbor:"16,keyasint,omitempty"`
}

const (
	flagDraining = 1 << iota
	flagLeaving
	flagYields
	flagHTTPS
)

var (
	modes = []pipeline.Mode{pipeline.ModeAuto, pipeline.ModeOrchestrator, pipeline.ModeWorker, pipeline.ModeStandalone}
	roles = []string{"none", "standby", "voter", "leader"}
)

func indexOf[T comparable](list []T, v T) int {
	for i := range list {
		if list[i] == v {
			return i
		}
	}
	return 0
}

var decMode = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 4, MaxMapPairs: 64, MaxArrayElements: 16,
		IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden, UTF8: cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return m
}()

// clip shortens a text to n bytes, at a rune's end.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// encode returns the bytes to send; texts beyond their bounds are cut.
func (m Meta) encode() ([]byte, error) {
	w := wire{V: metaVersion, Cluster: clip(m.Cluster, maxClusterID), Name: clip(strings.ToValidUTF8(m.Name, "?"), maxName),
		Version: clip(m.Version, maxVersion), Mode: indexOf(modes, m.Mode), PeerPort: m.PeerPort,
		Slots: m.Slots, Load: m.Load, Incarnation: clip(m.Incarnation, maxIncarnation),
		Role: indexOf(roles, m.Role), Term: m.Term, Expect: m.Expect, Sees: m.Sees, Pledge: clip(m.Pledge, maxNodeID)}

	if host, port, err := net.SplitHostPort(m.HTTPAddr); err == nil {
		w.HTTPHost = clip(host, maxHTTPHost)
		w.HTTPPort, _ = strconv.Atoi(port)
	}

	for flag, on := range map[uint]bool{flagDraining: m.Draining, flagLeaving: m.Leaving, flagYields: m.Yields, flagHTTPS: m.HTTPS} {
		if on {
			w.Flags |= flag
		}
	}

	b, err := cbor.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("encode the node's description: %w", err)
	}

	if len(b) > maxMeta {
		return nil, fmt.Errorf("encode the node's description: %d bytes, at most %d fit", len(b), maxMeta)
	}

	return b, nil
}

var errMeta = errors.New("not a description of a node")

// decodeMeta reads what came from another node. Nothing in it is trusted.
func decodeMeta(b []byte) (Meta, error) {
	if len(b) == 0 || len(b) > maxMeta {
		return Meta{}, fmt.Errorf("%w: %d bytes", errMeta, len(b))
	}

	var w wire
	if err := decMode.Unmarshal(b, &w); err != nil {
		return Meta{}, fmt.Errorf("%w: %w", errMeta, err)
	}

	if w.V != metaVersion {
		return Meta{}, fmt.Errorf("%w of version %d: this program knows %d; upgrade the older node", errMeta, w.V, metaVersion)
	}

	for _, f := range []struct {
		s   string
		max int
	}{{w.Cluster, maxClusterID}, {w.Name, maxName}, {w.Version, maxVersion}, {w.HTTPHost, maxHTTPHost},
		{w.Incarnation, maxIncarnation}, {w.Pledge, maxNodeID}} {
		if len(f.s) > f.max || strings.ContainsFunc(f.s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			return Meta{}, fmt.Errorf("%w: %.80q", errMeta, f.s)
		}
	}

	if w.Mode < 0 || w.Mode >= len(modes) || w.Role < 0 || w.Role >= len(roles) ||
		w.PeerPort < 0 || w.PeerPort > 65535 || w.HTTPPort < 0 || w.HTTPPort > 65535 ||
		w.Slots < 0 || w.Load < 0 || w.Expect < 0 || w.Sees < 0 {
		return Meta{}, fmt.Errorf("%w: a number is out of its range", errMeta)
	}

	m := Meta{Cluster: w.Cluster, Name: w.Name, Version: w.Version, Mode: modes[w.Mode], PeerPort: w.PeerPort,
		HTTPS: w.Flags&flagHTTPS != 0, Slots: w.Slots, Load: w.Load, Incarnation: w.Incarnation,
		Role: roles[w.Role], Term: w.Term, Draining: w.Flags&flagDraining != 0, Leaving: w.Flags&flagLeaving != 0,
		Yields: w.Flags&flagYields != 0, Expect: w.Expect, Sees: w.Sees, Pledge: w.Pledge}

	if w.HTTPPort != 0 {
		m.HTTPAddr = net.JoinHostPort(w.HTTPHost, strconv.Itoa(w.HTTPPort))
	}

	return m, nil
}
