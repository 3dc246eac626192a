package node

import (
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/pipeline"
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
