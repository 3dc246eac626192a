// Package pipeline holds the nouns of the system: pipelines, modules, runs,
// attempts, outcomes, workers, their identifiers, their states and the legal
// transitions between states, and the kinds of error that packages share.
//
// It imports the standard library only, does no I/O and reads no clock. All
// values are plain data; a value that is shared between goroutines is treated
// as immutable by convention.
package pipeline
