package pipeline

import (
	"fmt"
	"strconv"
	"strings"
)

// FormatBytes formats a size for users, rounded down, with one decimal if it is
// not whole: 512 MiB, 23.5 GiB.
func FormatBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	n = max(n, 0)
	unit, of := 0, int64(1)
	for unit < len(units)-1 && n/of >= 1024 {
		unit, of = unit+1, of*1024
	}

	whole, tenth := n/of, n%of/(max(of/10, 1))
	if tenth == 0 || unit == 0 {
		return fmt.Sprintf("%d %s", whole, units[unit])
	}

	return fmt.Sprintf("%d.%d %s", whole, min(tenth, 9), units[unit])
}

// FormatCPU formats a number of processors for users: 1 processor, 0.5
// processors.
func FormatCPU(cpu float64) string {
	if cpu == 1 {
		return "1 processor"
	}
	return strconv.FormatFloat(cpu, 'f', -1, 64) + " processors"
}

// String lists the resources: "2 processors and 1 GiB of memory".
func (r Resources) String() string {
	var parts []string
	if r.CPU > 0 {
		parts = append(parts, FormatCPU(r.CPU))
	}

	if r.Memory > 0 {
		parts = append(parts, FormatBytes(r.Memory)+" of memory")
	}

	return strings.Join(parts, " and ")
}
