package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// purgePage is the number of rows of each table that one transaction deletes for a deleted
// thread. It limits how long the transaction blocks a lane: deleting all rows of a thread with
// a million messages takes longer than the statement timeout.
const purgePage = 2000

// purgedTables has the names of the tables whose rows are deleted when their thread is deleted.
var purgedTables = []string{"messages", "superseded", "sent", "receipts"}

// pageOf returns a statement that deletes at most $1 rows of a table. It deletes only rows of
// the threads that the subquery selects.
func pageOf(table, threads string) string {
	return fmt.Sprintf(`DELETE FROM %[1]s WHERE ctid = ANY(ARRAY(SELECT ctid FROM %[1]s WHERE thread IN (%[2]s) LIMIT $1))`, table, threads)
}

// leaveSQL adds to the table purges, for FinishPurges, each of the deleted threads $1 that still
// has rows.
var leaveSQL = `INSERT INTO purges (thread) SELECT t FROM unnest($1::text[]) t
	WHERE ` + strings.Join(eachPurged(func(table string) string { return `EXISTS (SELECT FROM ` + table + ` WHERE thread = t)` }), " OR ") + ` ON CONFLICT DO NOTHING`

// notedSQL selects up to $2 threads of the table purges that come after the thread $1.
const notedSQL = `SELECT thread FROM purges WHERE thread > $1 ORDER BY thread LIMIT $2`

// nextPageSQL deletes a page of the rows of the thread $2, if the table purges has the thread,
// and returns the number of rows. If there were none, it removes the thread from purges. It
// returns no row if purges does not have the thread, or if another server is working on it.
var nextPageSQL = `WITH next AS (SELECT thread FROM purges WHERE thread = $2 FOR UPDATE SKIP LOCKED), ` +
	strings.Join(eachPurged(func(table string) string {
		return `of_` + table + ` AS (` + pageOf(table, `SELECT thread FROM next`) + ` RETURNING 1)`
	}), ", ") +
	`, deleted AS (SELECT ` + strings.Join(eachPurged(func(table string) string { return `(SELECT count(*) FROM of_` + table + `)` }), " + ") + ` AS n),
	done AS (DELETE FROM purges p USING next, deleted WHERE p.thread = next.thread AND deleted.n = 0)
	SELECT n FROM next, deleted`

// eachPurged calls do for each of purgedTables, and returns the results.
func eachPurged(do func(table string) string) (all []string) {
	for _, table := range purgedTables {
		all = append(all, do(table))
	}
	return all
}

// queuePurges queues the deletion of messages, superseded ones too, send tokens and receipts of
// the purged threads. It deletes one page of each table, which is all that most threads have.
// FinishPurges deletes the rest.
func queuePurges(b *pgx.Batch, r *rows) {
	if len(r.purged) == 0 {
		return
	}
	threads := slices.Sorted(maps.Keys(r.purged))
	for _, table := range purgedTables {
		b.Queue(pageOf(table, `SELECT unnest($2::text[])`), purgePage, threads)
	}
	b.Queue(leaveSQL, threads)
}

// purgeTime is the time after which a call of FinishPurges stops and leaves the other rows to the
// next call.
const purgeTime = time.Second

// purging is the state that FinishPurges keeps between calls.
type purging struct {
	mu     sync.Mutex             // guards the fields below
	after  string                 // the thread of which rows were deleted last
	pauses map[string]*purgePause // pauses of threads whose rows could not be deleted, by thread
}

// purgePause says when FinishPurges tries again to delete the rows of a thread, after it has
// failed.
type purgePause struct {
	until  time.Time
	length time.Duration // doubles with each failure
}

// These constants limit the pause of a thread whose rows could not be deleted.
const (
	firstPurgePause   = time.Second
	longestPurgePause = time.Hour
)

// purgeList is the number of threads that are read from the table purges at a time.
const purgeList = 100

var _ core.Purger = (*Store)(nil)

// FinishPurges deletes the rows that deleted threads still have: the batch that deletes a thread
// deletes only one page of its rows. FinishPurges deletes a page of one thread after another, in
// turns, each in its own transaction outside the lanes. After an error it leaves the thread alone
// for a pause, which doubles with each error, and continues with the others.
func (s *Store) FinishPurges(ctx context.Context) error {
	p := &s.purging
	p.mu.Lock()
	defer p.mu.Unlock()
	began := time.Now()
	var errs []error
	wrapped, progress := p.after == "", false
	for {
		noted, err := readAll(ctx, s, "deleted threads", pgx.RowTo[string], notedSQL, p.after, purgeList)
		if err != nil {
			return fmt.Errorf("list the deleted threads with rows left: %w", err)
		}
		for _, thread := range noted {
			if time.Since(began) > purgeTime {
				return errors.Join(errs...)
			}
			p.after = thread
			pause := p.pauses[thread]
			if pause != nil && time.Now().Before(pause.until) {
				continue
			}
			did, err := s.purgePage(ctx, thread)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				p.failed(thread)
				errs = append(errs, fmt.Errorf("delete the messages of thread %s: %w", thread, err))
				continue
			}
			delete(p.pauses, thread)
			progress = progress || did
		}
		if len(noted) == purgeList {
			continue
		}
		// Begin with the first thread again, unless a whole round has deleted nothing.
		if p.after = ""; wrapped && !progress {
			return errors.Join(errs...)
		}
		wrapped, progress = true, false
	}
}

// failed begins a pause for a thread, twice as long as its last one.
func (p *purging) failed(thread string) {
	pause := p.pauses[thread]
	if pause == nil {
		if p.pauses == nil || len(p.pauses) >= 10*purgeList {
			p.pauses = map[string]*purgePause{} // there are too many pauses: try all threads again
		}
		pause = &purgePause{length: firstPurgePause / 2}
		p.pauses[thread] = pause
	}
	pause.length = min(2*pause.length, longestPurgePause)
	pause.until = time.Now().Add(pause.length)
}

// purgePage deletes a page of the rows of a deleted thread. It returns false, and deletes nothing,
// if another server is working on the thread or no row is left.
func (s *Store) purgePage(ctx context.Context, thread string) (did bool, err error) {
	err = s.transact(ctx, s.timeouts, func(b *pgx.Batch) {
		b.Queue(nextPageSQL, purgePage, thread).QueryRow(func(row pgx.Row) error {
			var n int
			err := row.Scan(&n)
			if did = err == nil; errors.Is(err, pgx.ErrNoRows) {
				err = nil
			}
			return err
		})
	})
	return did, err
}

// notPurged is an SQL condition that is false if the thread $1 was deleted and still has rows.
const notPurged = `NOT EXISTS (SELECT FROM purges WHERE thread = $1)`

// queuePurged queues a query that calls do for each of the threads that was deleted and still
// has rows.
func queuePurged(b *pgx.Batch, threads []string, do func(thread string)) {
	b.Queue(`SELECT thread FROM purges WHERE thread = ANY($1)`, threads).Query(func(rows pgx.Rows) error {
		var thread string
		_, err := pgx.ForEachRow(rows, []any{&thread}, func() error {
			do(thread)
			return nil
		})
		return err
	})
}

// hide removes the messages, tokens and receipts of a deleted thread from l, which was just
// read from the database.
func hide(l *core.BatchState, thread string) {
	maps.DeleteFunc(l.Messages, func(k core.MessageKey, _ core.Message) bool { return k.Thread == thread })
	maps.DeleteFunc(l.Sent, func(k core.SendKey, _ int64) bool { return k.Thread == thread })
	maps.DeleteFunc(l.Superseded, func(k core.MessageKey, _ []core.Span) bool { return k.Thread == thread })
	maps.DeleteFunc(l.Receipts, func(k core.ReceiptKey, _ core.Receipt) bool { return k.Thread == thread })
}

// unpurged returns a table for an export that leaves out the rows of deleted threads.
func unpurged(of records) queried {
	name, _ := of.target()
	return queried{of, strings.Replace(of.query(), ` ORDER BY `, ` WHERE NOT EXISTS (SELECT FROM purges WHERE purges.thread = `+name+`.thread) ORDER BY `, 1)}
}
