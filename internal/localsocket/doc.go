// Package localsocket has unix sockets that connect the processes of one user on
// one machine: made for that user alone, reached by paths of any length, and with
// the word of the kernel for who is at the other end. It exists on Linux only.
package localsocket
