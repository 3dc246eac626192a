// Package ui drives the dashboard of real clusters in Debian's Chromium. It is a Go
// module of its own, so that what drives the browser is in no go.mod of the product.
// Run it with make ui-test.
package ui
