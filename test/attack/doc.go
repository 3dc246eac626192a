// Package attack plays hostile callers against real agents: every route with every
// kind of caller, the ports below HTTP, and requests that are meant to take memory.
// What is tried, and where, is listed in docs/SECURITY.md.
package attack
