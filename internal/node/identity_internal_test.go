package node

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// A node that joins a cluster on another machine needs that cluster's key, and
// never creates one. Nodes of one machine share the file.
func TestIdentity_missingKey(t *testing.T) {
	for _, tc := range []struct {
		join    []string
		created bool
	}{
		{nil, true},
		{[]string{"127.0.0.1"}, true},
		{[]string{"127.0.0.1:7946", "127.0.0.2:7946"}, true},
		{[]string{"127.0.0.1:7946, 127.0.0.2:7946"}, true},
		{[]string{"localhost:7946"}, true},
		{[]string{"[::1]:7946"}, true},
		{[]string{"10.0.0.1"}, false},
		{[]string{"build-1.example:7946", "10.0.0.2:7946"}, false},
	} {
		t.Setenv("XDG_CONFIG_HOME", t.TempDir())
		i := identity{cfg: &Config{Join: tc.join}, log: hclog.NewNullLogger()}
		key, err := i.loadKey(false)
		if tc.created {
			if err != nil || len(key) == 0 {
				t.Errorf("join %v: %v", tc.join, err)
			}
			continue
		}
		if pipeline.KindOf(err) != pipeline.Invalid || !strings.Contains(err.Error(), "copy its key there") {
			t.Errorf("join %v: %v, want how to get the key", tc.join, err)
		}
	}
}

// Host names of -join are kept for later starts without them; addresses are not.
func TestIdentity_join(t *testing.T) {
	dir, err := storage.OpenDataDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	names := []string{"a.example", "b.example:1"}
	for _, tc := range []struct{ join, want []string }{
		{nil, nil},
		{[]string{"a.example", "10.0.0.1, b.example:1", "[::1]:7946"}, names},
		{nil, names},
		{[]string{"10.0.0.1:7946"}, names},
		{[]string{"c.example"}, []string{"c.example"}},
	} {
		i := identity{cfg: &Config{Join: tc.join, Key: []byte(strings.Repeat("k", 32))}, dir: dir, log: hclog.NewNullLogger()}
		if err := i.read(); err != nil {
			t.Fatal(err)
		}
		if file, _, err := dir.ReadNode(); err != nil || !slices.Equal(file.Join, tc.want) {
			t.Errorf("join %q: kept %q, %v, want %q", tc.join, file.Join, err, tc.want)
		}
	}
}
