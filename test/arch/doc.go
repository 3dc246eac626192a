// Package arch holds the rules about the shape of the code, as tests: which
// package may import which, what pure code must not use, and the habits that a
// reviewer would otherwise have to look for. docs/DESIGN.md gives the reasons.
//
// It reads the source and the output of `go list`. It imports none of the
// packages it checks, so that it reports even if they do not build.
package arch
