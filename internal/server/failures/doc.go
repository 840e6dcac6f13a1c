// Package failures has no code, only tests of the built server: two of them on
// one PostgreSQL, which are killed, cut off and started again while clients
// send; one on the embedded store, which is killed while it erases a user; and
// the memory that one needs to list big messages.
package failures
