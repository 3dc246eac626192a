package pipeline

// Nearest returns the candidate with the fewest edits from name, the first of
// several. It returns "" if they are more than a third of the name, or all of
// it.
func Nearest(name string, candidates []string) string {
	if len(name) < 2 || len(name) > 64 {
		return ""
	}

	best, limit := "", max(1, (len(name)+1)/3)
	for _, c := range candidates {
		if c == "" || len(c)-len(name) > limit || len(name)-len(c) > limit {
			continue
		}

		if d := editDistance(name, c); d <= limit {
			best, limit = c, d-1
			if limit < 0 {
				break
			}
		}
	}

	return best
}

// editDistance counts insertions, deletions, replacements and swaps of neighbours
// (the optimal string alignment distance), bytewise and ignoring case.
func editDistance(a, b string) int {
	lower := func(c byte) byte {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}

	var rows [3][130]int
	prev2, prev, cur := &rows[0], &rows[1], &rows[2]
	if len(b) >= len(prev) {
		return len(b)
	}

	for j := range len(b) + 1 {
		prev[j] = j
	}

	for i := 1; i <= len(a); i++ {
		cur[0] = i

		for j := 1; j <= len(b); j++ {
			cost := 1
			if lower(a[i-1]) == lower(b[j-1]) {
				cost = 0
			}

			d := min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && lower(a[i-1]) == lower(b[j-2]) && lower(a[i-2]) == lower(b[j-1]) {
				d = min(d, prev2[j-2]+1)
			}

			cur[j] = d
		}

		prev2, prev, cur = prev, cur, prev2
	}

	return prev[len(b)]
}
