package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/renameio/v2"
)

// maxBook is how many addresses are remembered.
const maxBook = 64

// PeersFile is the file of the address book, in raft's directory.
func PeersFile(raftDir string) string { return filepath.Join(raftDir, "peers.json") }

// bookEntry is what is remembered of a node.
type bookEntry struct {
	// Addr is where its peer port is.
	Addr string `json:"addr"`
	Name string `json:"name,omitempty"`
}

// addressBook remembers where the peer ports of other nodes are, so that raft
// finds its voters after a cold start before gossip does, and their names. It is
// safe for concurrent use.
type addressBook struct {
	path string

	mu      sync.Mutex // guards following
	entries map[string]bookEntry
}

// openAddressBook reads the book; a missing or broken one is empty, as it is
// only a help.
func openAddressBook(path string) (*addressBook, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make raft's directory: %w", err)
	}
	b := &addressBook{path: path, entries: map[string]bookEntry{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the peers' addresses: %w", err)
	}
	if json.Unmarshal(data, &b.entries) != nil || b.entries == nil {
		b.entries = map[string]bookEntry{}
	}
	return b, nil
}

// get is what is remembered of a node; empty if nothing is.
func (b *addressBook) get(id string) bookEntry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries[id]
}

// put remembers exactly the given entries and writes them if they differ.
func (b *addressBook) put(entries map[string]bookEntry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if maps.Equal(b.entries, entries) || len(entries) > maxBook {
		return nil
	}
	data, err := json.Marshal(entries)
	if err != nil {
		return fmt.Errorf("write the peers' addresses: %w", err)
	}
	if err := renameio.WriteFile(b.path, data, 0o600); err != nil {
		return fmt.Errorf("write the peers' addresses: %w", err)
	}
	b.entries = entries
	return nil
}
