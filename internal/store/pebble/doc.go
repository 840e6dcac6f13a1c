// Package pebble is the embedded engine: ordered keys in cockroachdb/pebble,
// one process, one folder, no other service.
//
// # Keys
//
// A key is a letter, then its parts. A text that others follow ends with a
// zero byte, which no id contains; numbers are big-endian, so that byte order
// is number order. The comparer is Pebble's default one.
//
//	letter  key                               value
//	M       name                              schema version, resource, epoch, position
//	k       index(1)                          an access key
//	u       user                              a user: state, deletion time, token generation, erasure
//	h       thread                            a head: properties and counters
//	p       thread 0 user                     a member: share and join time, event intervals, what it left
//	m       thread 0 sequence(8)              a message with its content
//	i       thread 0 message-id(8)            the message's sequence; an edit moves the row
//	c       thread                            the first answer of a create, for replays
//	t       thread 0 caller 0 token           the message id of a send with a token
//	r       thread 0 user                     a read receipt
//	d       user                              a user whose deletion has begun and not ended
//	x       time(8) thread                    a thread that expires then by its retention policy
//	l       user 0 minute(8) thread           an entry in the user's list of threads
//	e       day(4) thread 0 number(8)         an event: kind, message id, version, actor, position
//	o       day(4) position(8)                the event's thread and number
//
// A store has a schema number, which an older binary refuses; see upgrade.
//
// # Values
//
// Package row has the fields of each value and its format. testdata/rows has an
// example of each key and value of format 1.
//
// # Durability
//
// The lanes' batches enter the log one after another, under one lock; each
// lane then waits for its own sync. A durable batch implies all before it.
// Pebble shows a batch to readers before it is durable, so all reads use one
// snapshot: it is taken under that lock, right after a batch has entered the
// log, and published when the sync of that batch has returned.
package pebble
