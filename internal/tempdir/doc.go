// Package tempdir makes temporary directories that are locked by their process,
// and removes those of processes that were killed.
package tempdir
