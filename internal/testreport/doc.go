// Package testreport reads what modules report of their tests: files in JUnit's XML, of
// whatever program. It reads in bounds, and hostile files do no harm: no entity is
// expanded, nothing is fetched, and depth, length and number are limited. It knows no
// attempts and no state.
package testreport
