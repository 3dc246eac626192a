// Package top is the full-screen view of `pipelined top`: nodes, runs and the modules of
// one run, live, with keys for logs, reasons, cancelling, retrying and draining.
//
// It knows no HTTP: a Cluster answers its questions, and Client makes one of a client,
// which continues at another node when its own dies. One goroutine (App.Run) owns the
// screen and everything that is shown; feeds and actions run beside it and send what
// they found to it. Everything that comes from elsewhere is cleaned before it is shown.
package top
