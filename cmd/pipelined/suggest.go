package main

import "fmt"

// didYouMean gives `: did you mean "x"?` for the nearest candidate, or "".
func didYouMean(name string, candidates []string) string {
	if near := nearest(name, candidates); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

// nearest gives the candidate that is fewest edits away, if that is at most a
// third of the name; the first of several.
func nearest(name string, candidates []string) string {
	const longest = 64
	if len(name) > longest {
		return ""
	}
	best, limit := "", max(1, (len(name)+1)/3)
	for _, c := range candidates {
		if len(c) > longest || c == name {
			continue
		}
		if d := editDistance(name, c); d <= limit && (best == "" || d < editDistance(name, best)) {
			best = c
		}
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours, bytewise.
func editDistance(a, b string) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			d := prev[j-1]
			if a[i-1] != b[j-1] {
				d++
			}
			d = min(d, prev[j]+1, cur[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, before[j-2]+1)
			}
			cur[j] = d
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
