// Package arch holds the rules about the shape of the code, as tests: which
// room may import which, what pure code may not touch, and the habits that a
// reviewer would otherwise have to look for. docs/DESIGN.md says why.
//
// It reads the source and the answers of `go list`; it imports none of the
// rooms, so that it can still speak when they do not build.
package arch
