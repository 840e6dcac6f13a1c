// Package postgres implements core.Store for several nodes, in PostgreSQL 13 or
// later, directly or behind PgBouncer in transaction mode.
//
// # Tables
//
// The keys of a thread's rows begin with the thread's id, and the keys of a user's rows begin with
// the user's id. Sends to different threads share only a sequence, from which each batch draws its
// number. They use no NOTIFY and no advisory lock.
//
//	heads         thread                        properties, counters, day of the last event
//	members       thread, user                  share and join time, event intervals, state when it left
//	messages      thread, sequence; also by id  a message with its content; an edit moves the row
//	superseded    thread, id, sequence          a version of a message that was replaced, which somebody who has left may still read
//	answers       thread                        the first answer of a create, for replays
//	sent          thread, caller, token         the message id of a send with a token
//	receipts      thread, user                  how far the user has read
//	events        thread, number, day           kind, message id, version, actor, time, place; a partition a day
//	batches       number                        a committed batch with events: how many, and on which day
//	log           last position                 a batch whose events have positions in the event log
//	runs          number                        the state of the sequencer
//	purges        thread                        a deleted thread whose rows are not all deleted yet
//	log_floor     (one row)                     the last position that was trimmed
//	users         user                          state, deletion time, token generation
//	user_threads  user, minute, thread          the user's list of threads by activity
//	relistings    thread                        a thread whose entries in user_threads are being moved, and how far
//	endpoints     user, id                      the cursor up to which a client has answered, and when it was last seen
//	audit         refused, time, number         who did what through the operator's API; refused attempts are apart
//	access_keys   index                         the two keys
//	meta          name                          resource and epoch
//	writers       process and lane              the number of its last batch
//	servers       process                       a server of this database, and when it was last seen
//
// Migrations are embedded SQL files, which are never changed after a release. Open
// refuses tables that a newer version has migrated.
//
// # A batch
//
// A batch is one READ COMMITTED transaction in two round trips (the first use
// of a statement on a connection costs one more, in which it is prepared):
//
//	BEGIN; limits; lock heads; lock users; read the other rows of the changes; claim the lane's row, draw a number
//	core.Assign, in this process, under those locks
//	new heads; heads; the other tables; new users; COMMIT
//
// The first round trip also reads the newest messages of threads that get a send with a
// fingerprint, if this process does not know them or another process has written to the thread
// before. Only under the lock can this process see that another process has written since; a third
// round trip then reads them.
//
// Rows are locked in this order, so that two batches never deadlock:
//
//  1. existing heads, by id
//  2. existing users, by id
//  3. the lane's row in writers, which no other lane uses
//  4. new heads, by id
//  5. new users, by id
//
// The lock of a thread's head guards all other rows of the thread. If another writer inserts the
// same row between steps 1 and 4, the insert is a unique violation. The batch is then tried again
// and reads that row, so that the change becomes a replay or stale, not an error. A deadlock and a
// lock timeout are tried again too. A writer that stalls in a transaction loses its locks after
// five seconds, by idle_in_transaction_session_timeout.
//
// # Prepared statements
//
// Each connection prepares its statements by name. Batches and the most frequent reads (threads,
// their lists, pages of messages) plan each statement once for the connection; these plans use the
// indexes, whatever the tables held when they were made. Any other read is planned for its
// parameters each time. Each new connection looks for a pooler. Behind a pooler, statements are
// only described, because a pooler may run each transaction on another connection to the database.
//
// # Positions
//
// An event gets its position in the log after its batch is committed, so positions do not
// depend on transaction ids. Therefore no open transaction can delay the log, and the
// positions stay valid in a dump, an upgrade or a failover.
//
// A batch with events draws a number from the sequence batch_numbers while it holds all
// heads and users that it changes. Its events are stored with places: the number times 2^20, plus
// 1, 2, 3 and so on. As the heads are locked until the commit, places ascend within each
// thread, and when a batch is visible, so are all earlier batches of its threads. This is
// only true if the sequence has no cache, which Open checks.
//
// Store.Sequence calls the sequencer, the SQL function place_batches. The sequencer waits
// for a lock that one caller in the database can hold. Then, in a second statement, whose
// snapshot has all that the previous caller committed, it finds the committed batches without
// a position, and inserts them into the table log in the order of their numbers. A row of
// log has the batch's last position, so the position of an event is
//
//	log.last - log.events + (events.position & (2^20 - 1))
//
// If a batch is committed later than one with a greater number, it may come later in the
// log. The two have no thread in common, since one of them would have waited for the other,
// unless the first was so late that its number counted as rolled back (see sweepLog).
//
// To find the batches, the sequencer reads those with numbers above the greatest one that
// has a position, and looks for each lesser number that was missing in earlier calls. It
// stores the greatest number and the missing ones in a new row of the table runs. It never
// updates a row: while an old transaction is open, the dead versions of an updated row would
// make each call slower. After ten minutes a missing number counts as rolled back, and the
// sequencer gives it up. Once a minute each process looks for batches that were committed
// even later. Missing numbers make a call slower. So a batch that cannot have events draws
// no number, and with its next call a process tells the sequencer which numbers it has drawn
// and will not use.
//
// A standby may lag, so its log must not be read, and it takes no writes. On a standby each
// read of the log and each call of the sequencer fails, and a batch fails when it locks its
// first row.
//
// # The start of the log
//
// Store.Trim drops partitions. First it raises the floor, the position of the last event
// that it deletes. A dropped partition vanishes from snapshots that are already taken.
// So a reader of the log first locks events, then takes its snapshot: it sees either the
// partition or the new floor, by which it knows that events are missing.
//
// # Days
//
// An event's day is the day of the batch's time. If the server's clock and the database's differ by
// more than a minute, the time is corrected by the difference. If a thread in the batch has an
// event of a later day, the event gets that day, so days never decrease within a thread. Across
// threads they may decrease, if the clocks of two nodes differ; that only puts an event into a
// neighbouring partition. Before its first batch of a day, a store creates the partitions of that
// day and the next one.
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
