// Package report writes what became of a run in the forms that other programs and
// people read: JUnit XML, CTRF, JSON and Markdown, and mistakes of a pipeline as
// SARIF. It only writes: what it writes about is given.
package report
