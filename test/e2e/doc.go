// Package e2e tests the real binary as a user has it: agents on loopback
// addresses, real files, kill -9. What ran is counted by what the modules
// themselves write, not by the product's own records.
package e2e
