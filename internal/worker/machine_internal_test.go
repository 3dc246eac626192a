package worker

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestFindMachine(t *testing.T) {
	all := float64(runtime.NumCPU())
	const meminfo = "MemTotal:       1048576 kB\nMemFree: 1 kB\n"
	const v2 = "30 1 0:26 / /cg rw - cgroup2 cgroup2 rw\n"
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  Machine
	}{
		{"nothing is known", nil, Machine{all, 0}},
		{"no groups", map[string]string{"proc/meminfo": meminfo}, Machine{all, 1 << 30}},
		{"version 2, a group above is tighter", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": v2,
			"cg/a/b/memory.max": "max\n", "cg/a/memory.max": "1000000\n", "cg/a/b/cpu.max": "50000 100000\n", "cg/a/cpu.max": "max 100000\n"},
			Machine{0.5, 1_000_000}},
		{"version 1, mounted from our own group", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/x\n1:cpu,cpuacct:/x\n",
			"proc/self/mountinfo":       "30 1 0:26 /x /mem rw - cgroup cgroup rw,memory\n31 1 0:27 /x /cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
			"mem/memory.limit_in_bytes": "2000000\n", "cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "100000\n"},
			Machine{0.25, 2_000_000}},
		{"more than there is", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "proc/self/mountinfo": v2,
			"cg/memory.max": "9223372036854771712\n", "cg/cpu.max": "99999999 1000\n"}, Machine{all, 1 << 30}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range tc.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := FindMachine(root); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}
