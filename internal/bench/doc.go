// Package bench measures parts of Confab: a disk with the embedded store on it, for an operator,
// and the CPU time and memory that the Go SDK costs a client. Its tests measure live events, the
// console, positions in the event log and resumed sessions for `make bench`. Package measure
// compares a whole server with other servers.
package bench
