package calendar

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// field is a field of an expression.
type field struct {
	name string
	// low and high are its values; H alone goes up to most.
	low, high, most int
	// expected is what may stand in it, for errors.
	expected string
}

// fields are those of an expression, the seconds first. H picks no day that some month
// does not have.
var fields = [...]field{
	{"second", 0, 59, 59, "0 to 59, *, a range such as 0-9, a step such as */10, or H"},
	{"minute", 0, 59, 59, "0 to 59, *, a range such as 0-9, a step such as */10, or H"},
	{"hour", 0, 23, 23, "0 to 23, *, a range such as 9-17, a step such as */2, or H"},
	{"day of month", 1, 31, 28, "1 to 31, *, a range such as 1-7, a step such as */2, L for the last one, 15W for the working day nearest to the 15th, or H"},
	{"month", 1, 12, 12, "1 to 12, JAN to DEC, *, a range such as 1-6, a step such as */3, or H"},
	{"day of week", 0, 6, 6, "0 to 7, SUN to SAT, *, a range such as MON-FRI, FRI#3 for the third Friday, FRI#L for the last one, or H"},
}

// spread is an element of a field that is chosen by the name of the schedule.
var spread = regexp.MustCompile(`^H(?:\((\d{1,2})-(\d{1,2})\))?(?:/(\d{1,2}))?$`)

// Spread replaces each H of an expression by a value that follows from a name, as
// Jenkins does: H is any value, H(0-29) one of a range, and H/15 every 15 from any
// beginning. So schedules that say the same are due at different times, each always at
// its own. An expression without H, or that is no expression, is returned as it is.
func Spread(expression, name string) (string, error) {
	parts := strings.Fields(expression)
	if len(parts) != 5 && len(parts) != 6 {
		return expression, nil
	}

	for i := range parts {
		f := &fields[len(fields)-len(parts)+i]
		elements := strings.Split(parts[i], ",")
		for j, text := range elements {
			if !strings.HasPrefix(text, "H") {
				continue
			}
			// Each H has a value of its own: H H must reach every minute of a day.
			value, err := f.pick(text, fmt.Sprintf("%s\x00%s\x00%d", name, f.name, j))
			if err != nil {
				return "", err
			}
			elements[j] = value
		}
		parts[i] = strings.Join(elements, ",")
	}
	return strings.Join(parts, " "), nil
}

// pick is the value of one element, by the hash of a key.
func (f *field) pick(text, key string) (string, error) {
	m := spread.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s %.40q: expected H, H/15, H(0-29) or H(0-29)/10", f.name, text)
	}

	low, high := f.low, f.most
	if m[1] != "" {
		low, _ = strconv.Atoi(m[1])
		high, _ = strconv.Atoi(m[2])
		if low < f.low || high > f.high || low > high {
			return "", fmt.Errorf("%s %q: expected a range within %d-%d", f.name, text, f.low, f.high)
		}
	}

	sum := sha256.Sum256([]byte(key))
	hash := binary.BigEndian.Uint64(sum[:])
	n := high - low + 1
	if m[3] == "" {
		return strconv.Itoa(low + int(hash%uint64(n))), nil
	}

	step, _ := strconv.Atoi(m[3])
	if step < 1 || step > n {
		return "", fmt.Errorf("%s %q: expected a step from 1 to %d", f.name, text, n)
	}
	first := low + int(hash%uint64(step))
	if first+step > high {
		return strconv.Itoa(first), nil
	}
	return fmt.Sprintf("%d-%d/%d", first, high, step), nil
}
