//go:build race

package language_test

// raceFactor widens bounds of time and memory under the race detector.
const raceFactor = 10
