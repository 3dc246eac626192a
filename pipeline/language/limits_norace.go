//go:build !race

package language

const raceFactor = 1
