package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// conditions says what the figures depend on: machine, kernel, disk.
func conditions(dir, bin string) []string {
	out := []string{
		fmt.Sprintf("%s, %d cores (%s), %s", time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), cpuModel(), memory()),
		fmt.Sprintf("%s/%s, kernel %s, %s", runtime.GOOS, runtime.GOARCH, readTrim("/proc/sys/kernel/osrelease"), runtime.Version()),
		"load before the start " + readTrim("/proc/loadavg") + privileges(),
	}

	if lo, hi, err := fsync(dir, 100); err != nil {
		out = append(out, "fsync could not be measured: "+err.Error())
	} else {
		out = append(out, fmt.Sprintf("4 KiB and an fsync in the folder of the data: median %s, 99 %% within %s", ms(lo), ms(hi)))
	}

	if out2, err := command(10*time.Second, bin, "version"); err == nil {
		out = append(out, "product: "+strings.TrimSpace(strings.ReplaceAll(out2, "\n", ", ")))
	}

	return out
}

// fsync measures the duration of a small durable write in dir.
func fsync(dir string, n int) (p50, p99 time.Duration, err error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()

	buf := make([]byte, 4096)
	var ds []time.Duration
	for range n {
		start := time.Now()
		if _, err := f.Write(buf); err != nil {
			return 0, 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, 0, err
		}
		ds = append(ds, time.Since(start))
	}

	return median(ds), percentile(ds, 99), nil
}

// privileges reports that the product may raise its own priority, which the
// floors do not. It matters only on a machine with other load.
func privileges() string {
	if os.Geteuid() == 0 {
		return "; run as root, so the product's daemons raise their priority above modules and floors"
	}
	return ""
}

func cpuModel() string {
	for l := range strings.SplitSeq(readTrim("/proc/cpuinfo"), "\n") {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return "unknown model"
}

func memory() string {
	var kib int64
	if _, err := fmt.Sscanf(readTrim("/proc/meminfo"), "MemTotal: %d kB", &kib); err != nil {
		return "memory unknown"
	}
	return fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
}

func readTrim(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
