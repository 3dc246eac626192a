package arch

import (
	"strings"
	"testing"
)

// TestApply_deterministic: nothing that the state machine's Apply reaches
// depends on the node that it runs on.
func TestApply_deterministic(t *testing.T) {
	files, err := parseTree(root)
	if err != nil {
		t.Fatal(err)
	}

	for _, w := range checkApply(files) {
		t.Error(w)
	}

	// The rule must reach what is applied last, far away from Apply itself.
	names := map[string]bool{}
	for _, fn := range reached(files, "fsm", applyRoots) {
		names[fn.decl.Name.Name] = true
	}

	for _, name := range []string{"applyBatch", "applyFire", "flush", "mustUnmarshal", "supersede", "Decode"} {
		if !names[name] {
			t.Errorf("Apply is not found to reach %s", name)
		}
	}

	if names["Open"] {
		t.Error("opening the file is not part of Apply")
	}
}

func TestCheckApply(t *testing.T) {
	const apply = "package fsm\nfunc (s *Store) Apply(l *raft.Log) any { return s.deep(l) }\n"
	for name, tc := range map[string]struct{ src, want string }{
		"clock, two calls away":  {"func (s *Store) deep(l *raft.Log) any { return helper() }\nfunc helper() any { return time.Now() }", "time.Now reads"},
		"clock, as a value":      {"func (s *Store) deep(l *raft.Log) any { return run(helper) }\nfunc helper() any { return time.Since(x) }", "time.Since reads"},
		"machine":                {"func (s *Store) deep(l *raft.Log) any { return os.Getpid() }", "os.Getpid answers"},
		"chance":                 {"func (s *Store) deep(l *raft.Log) any { return rand.Int() }", "math/rand/v2.Int answers"},
		"goroutine":              {"func (s *Store) deep(l *raft.Log) any { go s.x(); return nil }", "starts a goroutine"},
		"map of a field":         {"type state struct { dirty map[string]bool }\nfunc (s *Store) deep(l *raft.Log) any { for k := range s.st.dirty { s.put(k) }; return nil }", "order of a map"},
		"map of the function":    {"func (s *Store) deep(l *raft.Log) any { m := map[string]bool{}; for k := range m { s.del(k) }; return nil }", "order of a map"},
		"map that is only read":  {"func (s *Store) deep(l *raft.Log) any { m := map[string]bool{}; n := 0; for range m { n++ }; return n }", ""},
		"clock, out of reach":    {"func (s *Store) deep(l *raft.Log) any { return nil }\nfunc other() any { return time.Now() }", ""},
		"durations are no clock": {"func (s *Store) deep(l *raft.Log) any { return 2 * time.Second }", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := parseFile("fsm/a.go", []byte(strings.Replace(apply, "\n", "\nimport (\"os\"; \"time\"; \"math/rand/v2\")\n", 1)+tc.src))
			if err != nil {
				t.Fatal(err)
			}

			got := strings.Join(checkApply([]*file{f}), "\n")
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("found %q, want %q", got, tc.want)
			}
		})
	}
}
