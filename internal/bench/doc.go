// Package bench measures parts of Confab: a disk with the embedded store on it, for an operator,
// and what the Go SDK costs a client. Its tests measure live events, the console, positions and
// resumes for `make bench`. Package measure compares a whole server with others.
package bench
