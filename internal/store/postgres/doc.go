// Package postgres implements core.Store for several nodes, in PostgreSQL 13 or
// later, directly or behind PgBouncer in transaction mode.
//
// # Tables
//
// The keys of a thread's rows begin with the thread's id, those of a user's rows
// with the user's id. A send uses nothing that all threads share: no sequence, no
// NOTIFY, no advisory lock.
//
//	heads         thread                        properties, counters, day of the last event
//	members       thread, user                  share and join time, event intervals, state when it left
//	messages      thread, sequence; also by id  a message with its content; an edit moves the row
//	answers       thread                        the first answer of a create, for replays
//	sent          thread, caller, token         the message id of a send with a token
//	receipts      thread, user                  how far the user has read
//	events        day, thread, number           kind, message id, version, actor, position; a partition a day
//	users         user                          state, deletion time, token generation
//	user_threads  user, minute, thread          the user's list of threads by activity
//	access_keys   index                         the two keys
//	meta          name                          resource and epoch
//	writers       process and lane              the number of its last batch
//
// Migrations are embedded SQL files, which are never changed after a release. Open
// refuses tables that a newer version has migrated.
//
// # A batch
//
// A batch is one READ COMMITTED transaction in two round trips (the first use
// of a statement on a connection costs one more, in which it is described):
//
//	BEGIN; limits; lock heads; lock users; read what else is named; claim the lane's row
//	core.Assign, in this process, under those locks
//	new heads; heads; the other tables; new users; COMMIT
//
// The order of locking, which keeps two batches from waiting for each other:
//
//  1. existing heads, by id
//  2. existing users, by id
//  3. the lane's row in writers, which no other lane uses
//  4. new heads, by id
//  5. new users, by id
//
// The lock of a thread's head guards all other rows of the thread. If another
// writer inserts the same row between 1 and 4, the insert is a unique violation.
// The batch is then tried again and reads that row, so that the change becomes a
// replay or stale, not an error. A deadlock and a lock timeout are tried again too.
// A writer that stalls in a transaction loses its locks after five seconds, by
// idle_in_transaction_session_timeout.
//
// # Positions
//
// A position is the transaction's id (xid8) times 2^20 plus the event's number in
// the batch. Store.Events returns events below the oldest running transaction, so
// no event can appear later at a position that a reader has passed. A slow
// transaction in any database of the server delays the events behind it.
//
// A transaction gets its id with its first lock. While it waits for a second head,
// a transaction with a greater id may write events of that thread. The older id
// would then give smaller positions to later events. The batch recognizes this by
// the head's last position, and uses the id of a subtransaction instead, which it
// begins when it holds all locks.
//
// # Days
//
// An event's day is that of the batch's time, or of the last event of any thread
// in the batch if that is later, so days never decrease within a thread. Across
// threads they may, by the difference of two nodes' clocks, which only puts an
// event into a neighbouring partition. Before its first batch of a day, a store
// creates the partitions of that day and the next one.
//
// # A connection that is lost
//
// If the connection is lost before the COMMIT was sent, nothing was committed, and
// the batch is tried again for a while. If it is lost later, the lane reads its row
// in writers on a new connection. The old transaction locks that row until it ends,
// and the batch number in the row tells whether it was committed.
//
// pg_xact_status cannot tell this: the server does not log the assignment of a
// transaction id. After a crash it may assign the id of a lost transaction again,
// and would report the lost batch as committed because the new one was.
//
// # Texts
//
// Ids and texts are text COLLATE "C": readable in psql, compared byte by byte.
// Package core only accepts valid UTF-8 without NUL. Maps and lists inside a row are
// bytea. The statements are built from the columns in package row.
package postgres
