// Package failures has only tests, which run the built server. They kill and disconnect
// two servers on one PostgreSQL database while clients send, cut the connections of clients
// that receive live events and kill the servers meanwhile, kill a server on the
// embedded store while it erases a user, fill its disk, and measure the memory that a
// server needs to list big messages.
package failures
