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

// purgePage is the number of rows of a table that one transaction deletes for a deleted
// thread. It bounds the time for which the transaction holds up a lane: all rows of a
// thread with a million messages take longer than a statement may.
const purgePage = 2000

// purgedTables names the tables whose rows are deleted with their thread.
var purgedTables = []string{"messages", "superseded", "sent", "receipts"}

// pageOf returns a statement that deletes at most $1 rows of a table with the threads
// that the subquery selects.
func pageOf(table, threads string) string {
	return fmt.Sprintf(`DELETE FROM %[1]s WHERE ctid = ANY(ARRAY(SELECT ctid FROM %[1]s WHERE thread IN (%[2]s) LIMIT $1))`, table, threads)
}

// leaveSQL notes a deleted thread for FinishPurges if it has rows left.
var leaveSQL = `INSERT INTO purges (thread) SELECT t FROM unnest($1::text[]) t
	WHERE ` + strings.Join(eachPurged(func(table string) string { return `EXISTS (SELECT FROM ` + table + ` WHERE thread = t)` }), " OR ") + ` ON CONFLICT DO NOTHING`

// notedSQL selects up to $2 of the noted threads after the thread $1.
const notedSQL = `SELECT thread FROM purges WHERE thread > $1 ORDER BY thread LIMIT $2`

// nextPageSQL deletes a page of the rows of one of the noted threads, $2. It returns the
// number of rows, or no row if the thread is no longer noted. It deletes the note if no row
// was left. It skips a thread that another server is working on.
var nextPageSQL = `WITH next AS (SELECT thread FROM purges WHERE thread = $2 FOR UPDATE SKIP LOCKED), ` +
	strings.Join(eachPurged(func(table string) string {
		return `of_` + table + ` AS (` + pageOf(table, `SELECT thread FROM next`) + ` RETURNING 1)`
	}), ", ") +
	`, deleted AS (SELECT ` + strings.Join(eachPurged(func(table string) string { return `(SELECT count(*) FROM of_` + table + `)` }), " + ") + ` AS n),
	done AS (DELETE FROM purges p USING next, deleted WHERE p.thread = next.thread AND deleted.n = 0)
	SELECT n FROM next, deleted`

// eachPurged calls do for each of purgedTables.
func eachPurged(do func(table string) string) (all []string) {
	for _, table := range purgedTables {
		all = append(all, do(table))
	}
	return all
}

// queuePurges queues the deletion of the messages, superseded ones too, send tokens and receipts
// of the purged threads: a page of each table, which is all of most threads. FinishPurges deletes the
// rest.
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

// purgeTime is the time after which FinishPurges leaves the rest to its next call.
const purgeTime = time.Second

// purging is the state of FinishPurges between its calls.
type purging struct {
	mu     sync.Mutex             // guards the fields below
	after  string                 // the thread that had its turn last
	pauses map[string]*purgePause // by thread whose rows could not be deleted
}

// purgePause says when a thread whose rows could not be deleted is tried again.
type purgePause struct {
	until  time.Time
	length time.Duration // doubles with each failure
}

// Pauses of threads whose rows could not be deleted.
const (
	firstPurgePause   = time.Second
	longestPurgePause = time.Hour
)

// purgeList is the number of noted threads that are read at a time.
const purgeList = 100

var _ core.Purger = (*Store)(nil)

// FinishPurges deletes rows of deleted threads that their batches have left, page by page,
// each in a transaction of its own that holds up no lane. The threads take turns of a page.
// One that fails waits, longer each time, and the others go on.
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
		// Begin with the first thread again, unless a whole round has done nothing.
		if p.after = ""; wrapped && !progress {
			return errors.Join(errs...)
		}
		wrapped, progress = true, false
	}
}

// failed begins the next pause of a thread.
func (p *purging) failed(thread string) {
	pause := p.pauses[thread]
	if pause == nil {
		if p.pauses == nil || len(p.pauses) >= 10*purgeList {
			p.pauses = map[string]*purgePause{} // too many: try all again
		}
		pause = &purgePause{length: firstPurgePause / 2}
		p.pauses[thread] = pause
	}
	pause.length = min(2*pause.length, longestPurgePause)
	pause.until = time.Now().Add(pause.length)
}

// purgePage deletes a page of the rows of a deleted thread. It does nothing and returns false
// if another server is doing so.
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

// notPurged is the condition that a thread, $1, is none that was deleted and has rows left.
const notPurged = `NOT EXISTS (SELECT FROM purges WHERE thread = $1)`

// queuePurged queues a query that calls do for each of the threads that were deleted and
// have rows left.
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

// hide removes the rows of a deleted thread from a state that was just read.
func hide(l *core.BatchState, thread string) {
	maps.DeleteFunc(l.Messages, func(k core.MessageKey, _ core.Message) bool { return k.Thread == thread })
	maps.DeleteFunc(l.Sent, func(k core.SendKey, _ int64) bool { return k.Thread == thread })
	maps.DeleteFunc(l.Superseded, func(k core.MessageKey, _ []core.Span) bool { return k.Thread == thread })
	maps.DeleteFunc(l.Receipts, func(k core.ReceiptKey, _ core.Receipt) bool { return k.Thread == thread })
}

// unpurged returns a table for export without the rows of deleted threads.
func unpurged(of records) queried {
	name, _ := of.target()
	return queried{of, strings.Replace(of.query(), ` ORDER BY `, ` WHERE NOT EXISTS (SELECT FROM purges WHERE purges.thread = `+name+`.thread) ORDER BY `, 1)}
}
