// Package postgres is the engine for several nodes: the rows of core.Store in
// PostgreSQL 13 or later, directly or behind PgBouncer in transaction mode.
//
// # Tables
//
// Everything of a thread is found by the thread's id, everything of a user by
// the user's, and nothing is shared by all threads: no sequence, no NOTIFY, no
// advisory lock on the way of a send.
//
//	heads         thread                        properties, counters, day of the last event
//	members       thread, user                  share and join time, event intervals, what it left
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
// Migrations are SQL files, embedded and only ever added to. What a newer
// version has migrated is refused.
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
//  1. heads that are there, by id
//  2. users that are there, by id
//  3. the lane's row in writers, which nobody else touches
//  4. heads that are new, by id
//  5. users that are new, by id
//
// All other rows are guarded by their thread's head. A row that another writer
// made between 1 and 4 is a unique violation; the batch then begins anew and
// finds it, so that it becomes a replay or stale and never an error. So do a
// deadlock and a lock timeout. A writer that stops in mid-transaction loses its
// locks after five seconds, by idle_in_transaction_session_timeout.
//
// # Positions
//
// A position is the transaction's id (xid8) times 2^20 plus the event's place
// in the batch. Events shows what lies below the oldest transaction that is
// under way, so a slow commit holds the rest of the log back and nothing ever
// appears behind a reader. Transactions of all databases of a server count.
//
// A transaction gets its id with its first lock and may then wait for a second
// head, on which a younger one writes events. Its own would come before them.
// It sees that in the head's last position, and takes the id of a
// subtransaction in place of its own: that one is new once all locks are held.
//
// # Days
//
// An event's day is that of its batch's clock, or of the last event of any
// thread in the batch if that is later: it never goes back within a thread.
// Across threads it may, by as much as the clocks of two nodes differ, which
// moves an event into a neighbouring partition and nothing else. A store makes
// the partition of a new day, and of the one after, before its first batch.
// Trim drops days.
//
// # A connection that is lost
//
// Before the COMMIT was sent, nothing was committed, and the batch is tried
// again for a while. After that, the lane asks for its row in writers on a new
// connection. The old transaction holds that row, so the answer waits for its
// end, and the row's number says how it ended.
//
// Not pg_xact_status: the server writes no record when it gives a transaction
// its id. After a crash it gives the ids of the lost ones again, and would call
// a lost batch committed because another one was.
//
// # Texts
//
// Ids and texts are text COLLATE "C": readable in psql, compared byte by byte.
// Core lets no zero byte and nothing but UTF-8 into them. Maps and lists inside
// a row are bytea; see package row, from which the statements are built too.
package postgres
