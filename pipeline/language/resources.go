package language

import (
	"math"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// The most that a module can ask for: far above any machine, and far below what
// overflows when modules are added up.
const (
	maxCPU    = 100_000
	maxMemory = 1 << 50
	minMemory = 1 << 20
)

const (
	cpuRule    = `write how many processors, such as 2 or 0.5`
	memoryRule = `write a number and a unit, such as "512MiB" or "2GiB"`
)

// parseCPU reads a number of processors, in thousandths at the finest.
func parseCPU(s string) (float64, *problem) {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(n) {
		return 0, wrong(cpuRule, "invalid number of processors %s", quote(s))
	}
	if n < 0.001 || n > maxCPU {
		return 0, wrong("write a number from 0.001 to 100000", "number of processors out of range")
	}
	return math.Round(n*1000) / 1000, nil
}

// parseMemory reads a size. A number without a unit is refused: bytes are never
// meant.
func parseMemory(s string) (int64, *problem) {
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return 0, wrong(memoryRule, "size %s has no unit", quote(s))
	}
	n, err := humanize.ParseBytes(s)
	switch {
	case err != nil || strings.HasPrefix(strings.TrimSpace(s), "-"):
		return 0, wrong(memoryRule, "invalid size %s", quote(s))
	case n < minMemory || n > maxMemory:
		return 0, wrong(`the least is "1MiB"`, "size %s is out of range", quote(s))
	}
	return int64(n), nil
}

func checkCPU(s string) *problem    { _, bad := parseCPU(s); return bad }
func checkMemory(s string) *problem { _, bad := parseMemory(s); return bad }
