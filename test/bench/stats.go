package main

import (
	"fmt"
	"slices"
	"time"
)

// median returns the median of ds; the mean of the two middle values if there
// are two. Zero for none.
func median[T ~int64 | ~float64](ds []T) T {
	if len(ds) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(ds))
	m := len(s) / 2
	if len(s)%2 == 1 {
		return s[m]
	}
	return (s[m-1] + s[m]) / 2
}

// percentile returns the smallest value that p percent of ds do not exceed.
func percentile[T ~int64 | ~float64](ds []T, p int) T {
	if len(ds) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(ds))
	i := (len(s)*p + 99) / 100
	return s[min(max(i, 1), len(s))-1]
}

// ms shows a duration in milliseconds, with three significant digits or more.
func ms(d time.Duration) string {
	v := float64(d) / float64(time.Millisecond)
	switch {
	case v == 0:
		return "-"
	case v < 10:
		return fmt.Sprintf("%.2f ms", v)
	case v < 100:
		return fmt.Sprintf("%.1f ms", v)
	}
	return fmt.Sprintf("%.0f ms", v)
}

// pair is one round: the product's figure and its floor's, taken one after
// the other.
type pair struct {
	product, floor float64
}

// series are the rounds of one comparison.
type series []pair

// add records a round; one without a figure on either side is left out.
func (s *series) add(product, floor float64) {
	if product > 0 && floor > 0 {
		*s = append(*s, pair{product, floor})
	}
}

// ratio is the median of the rounds' ratios.
func (s series) ratio() float64 {
	rs := make([]float64, 0, len(s))
	for _, p := range s {
		rs = append(rs, p.product/p.floor)
	}
	return median(rs)
}

// product and floor give the medians of the two sides.
func (s series) product() float64 {
	vs := make([]float64, 0, len(s))
	for _, p := range s {
		vs = append(vs, p.product)
	}
	return median(vs)
}

func (s series) floor() float64 {
	vs := make([]float64, 0, len(s))
	for _, p := range s {
		vs = append(vs, p.floor)
	}
	return median(vs)
}

// spread shows the smallest and the largest ratio of the rounds.
func (s series) spread() string {
	if len(s) == 0 {
		return "-"
	}
	lo, hi := s[0].product/s[0].floor, s[0].product/s[0].floor
	for _, p := range s[1:] {
		lo, hi = min(lo, p.product/p.floor), max(hi, p.product/p.floor)
	}
	return fmt.Sprintf("%.2f to %.2f", lo, hi)
}
