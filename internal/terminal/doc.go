// Package terminal is what a person sees of a command: progress of a run that
// is drawn live on a terminal and printed as plain lines elsewhere, the output of
// several modules in one stream, tables, durations, and names that were perhaps
// meant.
//
// Text that comes from elsewhere (names, reasons, output of modules) is cleaned
// of everything that steers a terminal before it is shown; see Clean.
//
// It knows neither flags nor exit codes, and opens no file: streams, clock and
// signals are given to it. A Stream and RetryNotes may be used by several
// goroutines at once, everything else by one.
package terminal
