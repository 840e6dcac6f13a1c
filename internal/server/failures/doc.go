// Package failures contains only tests, which run the built server while something fails. The
// tests kill and disconnect two servers on one PostgreSQL database while clients send messages.
// They cut the connections of clients that receive live events, and kill the servers at the same
// time. They kill a server on the embedded store while it erases a user, and fill its disk. They
// measure the memory that a server needs to list big messages.
package failures
