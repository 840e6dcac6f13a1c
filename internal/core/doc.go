// Package core is the domain: what may happen to a chat thread and what follows.
//
// It is plain Go. It knows nothing of HTTP, SQL or api-versions, and it
// declares the two things that it needs from outside: a Store, which keeps
// rows, and a Bus, which carries committed events to whoever listens.
//
// Every operation has the same four steps:
//
//	load      the thread's head and members, mostly from a cache
//	decide    a pure function of (thread, command): a Change or an *Error
//	commit    a lane applies what has gathered as one durable batch
//	announce  the lane hands the committed events to the bus, then answers
//
// A Change is data. It lists what it was decided on, and Assign checks that
// under the engine's lock, so a decision made on an old head is never written:
// it comes back stale, and the operation loads and decides again.
package core
