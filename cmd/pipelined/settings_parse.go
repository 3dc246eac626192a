package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/executor/container"
	"github.com/pipelined/pipelined/internal/terminal"
)

// parser takes the values of a setting in.
type parser func(s *agentSettings, values []string) error

func text(to func(*agentSettings) *string) parser {
	return func(s *agentSettings, v []string) error {
		*to(s) = v[0]
		return nil
	}
}

func list(to func(*agentSettings) *[]string) parser {
	return func(s *agentSettings, v []string) error {
		*to(s) = v
		return nil
	}
}

func toggle(to func(*agentSettings) *bool) parser {
	return func(s *agentSettings, v []string) error {
		on, err := strconv.ParseBool(v[0])
		if err != nil {
			return fmt.Errorf("expected true or false")
		}

		*to(s) = on

		return nil
	}
}

func number(lowest, highest int, to func(*agentSettings) *int) parser {
	return func(s *agentSettings, v []string) error {
		n, err := strconv.Atoi(v[0])
		if err != nil || n < lowest || n > highest {
			return fmt.Errorf("expected a number from %d to %d", lowest, highest)
		}

		*to(s) = n

		return nil
	}
}

// choice takes one of a few words.
func choice(words []string, to func(*agentSettings, string)) parser {
	return func(s *agentSettings, v []string) error {
		if !slices.Contains(words, v[0]) {
			return fmt.Errorf("expected one of %s%s", strings.Join(words, ", "), terminal.DidYouMean(v[0], words))
		}

		to(s, v[0])

		return nil
	}
}

func setContainerHost(s *agentSettings, v []string) error {
	s.ContainerHost = v[0]
	return container.CheckHost(v[0])
}

func setCPU(s *agentSettings, v []string) error {
	n, err := strconv.ParseFloat(v[0], 64)
	if err != nil || !(n >= 0.001 && n <= 100_000) {
		return fmt.Errorf("expected a number of processors, such as 4 or 0.5")
	}

	s.CPU = n

	return nil
}

func setMemory(s *agentSettings, v []string) error {
	n, err := humanize.ParseBytes(v[0])
	if _, bare := strconv.ParseFloat(v[0], 64); err != nil || bare == nil || n < 1<<20 || n > 1<<50 {
		return fmt.Errorf("expected a number and a unit, such as 8GiB or 512MiB")
	}

	s.Memory = int64(n)

	return nil
}

// span takes a time above 0: 90m, 36h, 30d.
func span(to func(*agentSettings) *time.Duration) parser {
	return func(s *agentSettings, v []string) error {
		d, err := wire.ParseSpan(v[0])
		if err != nil {
			return err
		}

		*to(s) = d

		return nil
	}
}

// sized takes a size above 0: 500MB, 20GiB.
func sized(to func(*agentSettings) *int64) parser {
	return func(s *agentSettings, v []string) error {
		n, err := parseSize(v[0])
		if err != nil {
			return err
		}

		*to(s) = n

		return nil
	}
}

func parseSize(text string) (int64, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > math.MaxInt64 {
		return 0, fmt.Errorf("expected a size such as 500MB or 20GiB")
	}

	return int64(n), nil
}

// rate is a size, or off.
func rate(to func(*agentSettings) *int64) parser {
	return func(s *agentSettings, v []string) error {
		if v[0] == "off" {
			*to(s) = -1
			return nil
		}

		return sized(to)(s, v)
	}
}

func quotas(s *agentSettings, v []string) error {
	s.Limits.Quota = map[string]int64{}

	for _, item := range v {
		name, size, ok := strings.Cut(item, "=")
		n, err := parseSize(size)
		if !ok || name == "" || err != nil {
			return fmt.Errorf("expected PIPELINE=SIZE, such as build=20GiB")
		}

		s.Limits.Quota[name] = n
	}

	return nil
}

// split takes lists apart at commas.
func split(values []string) []string {
	out := []string{}

	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}

	return out
}
