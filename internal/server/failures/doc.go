// Package failures has no code, only a test: two servers on one PostgreSQL,
// which are killed, cut off and started again while clients send.
package failures
