// Package core implements the rules of chat threads, messages and users.
//
// It does not depend on HTTP, SQL or api-versions. It declares two interfaces that
// other packages implement: a Store, which keeps rows, and a Bus, which delivers
// committed events to subscribers.
//
// Every operation that writes has four steps:
//
//	load      read the thread's head and members, usually from a cache
//	decide    a pure function of those rows and the command returns a Change or an *Error
//	commit    a lane applies all queued changes as one durable batch
//	announce  the lane publishes the committed events on the bus, then answers the callers
//
// A Change lists the rows and versions that it was decided on. Assign compares
// them with the stored rows while the engine holds its locks, and reports the
// change as Stale if they differ. The operation then commits the change once
// more, with its decision, and Assign decides again on the locked rows.
package core
