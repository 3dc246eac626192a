//go:build !race

package language_test

const raceFactor = 1
