//go:build race

package language

// raceFactor is how much slower the race detector makes a helper.
const raceFactor = 3
