// Package testutil holds what tests of several packages need. Only tests import
// it.
package testutil
