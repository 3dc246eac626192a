// Package webhook sends events to receivers over HTTP, signed as Standard Webhooks
// 1.0.0 says. What is to be sent waits in an Outbox, which is part of the replicated
// state: the leader looks into it, sends, and commits what came of it. So an event is
// sent until its receiver has acknowledged it, whichever node leads, and a repetition
// has the id of the first.
//
// The package knows neither what an event says nor how the state keeps it. A Client is
// safe for concurrent use; a Sender has one caller.
package webhook
