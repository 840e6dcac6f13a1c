// Package pebble is the embedded storage engine. It implements core.Store with the
// key-value store cockroachdb/pebble, in one folder that one process opens.
//
// # Keys
//
// A key is a letter, which names the kind of row, followed by the key's fields. A
// text that is not the last field ends with a zero byte, which no id contains.
// Numbers are big-endian, so that byte order is numeric order. Keys are compared
// with Pebble's default comparer. The table gives the size of numbers in bytes.
//
//	letter  key                               value
//	M       name                              schema version, resource, epoch, the last event that was trimmed
//	k       index(1)                          an access key
//	u       user                              a user: state, deletion time, token generation, erasure, custom id, time of the last token
//	h       thread                            a head: the thread's properties and counters
//	p       thread 0 user                     a member: share and join time, event intervals, when and where it left
//	m       thread 0 sequence(8)              a message with its content
//	i       thread 0 message-id(8)            the message's sequence; an edit moves the row
//	s       thread 0 message-id(8) sequence(8)  a superseded version of a message, and the sequence that replaced it
//	v       thread 0 sequence(8)              the id of the superseded message, and the sequence that replaced it
//	c       thread                            the answer to the create request, for its repeats
//	t       thread 0 caller 0 token           the id of the message that was sent with an idempotency token
//	r       thread 0 user                     a read receipt
//	d       user                              a user whose deletion has begun but is not complete
//	a       custom id                         the user who has this custom id
//	x       time(8) thread                    a thread that expires at this time by its retention policy
//	l       user 0 minute(8) thread           an entry in the user's list of threads
//	j       thread                            a thread whose list entries are being moved: from which minute to which, and how far
//	e       day(4) thread 0 number(8)         an event: kind, message id, version, actor, position, time, check
//	o       day(4) position(8)                the thread and number of the event at this position
//	w       refused(1) time(8) number(8)      an audit row: who did what from where, and the outcome; refused is 0 or 1
//	n       user 0 endpoint                   a client of the user: the cursor it has answered up to, and when it was last seen
//
// A store records its schema number. Open upgrades an older schema and refuses a
// newer one; see upgrade.
//
// # Values
//
// Package row defines the fields and the format of each value. testdata/rows has an
// example of each key and of its value in format 1. In the values of heads, messages, events and
// positions, the ids of users and threads are packed: their digits are stored as bytes. Ids in
// keys are texts, and rows of older formats stay as they are.
//
// # Durability
//
// Batches are appended to the write-ahead log one after another, under one lock;
// each then waits for its own sync. When a batch is durable, so are all batches
// before it. Pebble shows a batch to readers before it is durable. Reads must not
// see such a batch, so they use a published snapshot: it is taken under that lock,
// right after a batch was appended, and published when that batch's sync returns.
//
// # Damage
//
// Open reads the files that Pebble starts from before Pebble does, strictly; see inspect.
// The file DURABLE says how far logs and manifests are durable; see mark.go.
package pebble
