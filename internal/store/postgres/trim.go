package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// raiseSQL raises the floor of the log to the last event of the days before $1. The sum
// keeps the planner from walking the primary key back through all later days.
const raiseSQL = `UPDATE log_floor f SET position = l.last, batch_check = l.batch_check
	FROM log l WHERE l.last = (SELECT max(last + 0) FROM log WHERE day < $1) AND l.last > f.position`

// clearSQL deletes the rows of log and batches that lie before the floor. The row of log
// that ends at the floor stays, so that log always has a last row.
const clearSQL = `WITH gone AS (DELETE FROM log WHERE last < (SELECT position FROM log_floor) RETURNING batch)
	DELETE FROM batches b USING gone WHERE b.number = gone.batch`

// trimTimeouts has the timeouts of Trim's transactions. A DROP waits for all readers and
// writers of events and lets none begin, so it must give up soon.
var trimTimeouts = timeouts{lock: time.Second, statement: 10 * time.Minute, idle: defaultTimeouts.idle, trip: 11 * time.Minute}

// Trim deletes the events of days before this one from the log: it raises the floor,
// drops the partitions of these days, and deletes the rows of their batches. If it is
// interrupted, or a partition is in use, the next call does the rest: that of the next
// day, or of the next start.
func (s *Store) Trim(ctx context.Context, day uint32) error {
	if _, err := s.Sequence(ctx); err != nil { // an event without a position cannot raise the floor
		return err
	}
	tables, err := readAll(ctx, s, "the partitions of events", pgx.RowTo[string], `SELECT relname::text FROM pg_class
		WHERE relkind = 'r' AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'events'::regclass)
			AND relname ~ $1 AND relname < $2 ORDER BY relname`, "^"+prefix+"[0-9]{8}$", partition(day))
	if err != nil {
		return err
	}
	if len(tables) > 0 {
		if err := s.transact(ctx, trimTimeouts, func(b *pgx.Batch) { b.Queue(raiseSQL, int64(day)) }); err != nil {
			return fmt.Errorf("raise the floor of the log: %w", err)
		}
	}
	for _, table := range tables {
		err := s.transact(ctx, trimTimeouts, func(b *pgx.Batch) {
			b.Queue(`SELECT pg_advisory_xact_lock($1)`, startLock) // makePartition may attach the table
			b.Queue(`DROP TABLE IF EXISTS ` + table)
		})
		if inUse(err) {
			s.log.Info("store: a partition of events is in use and is dropped later", "partition", table, "error", err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("drop the partition %s: %w", table, err)
		}
	}
	if err := s.transact(ctx, trimTimeouts, func(b *pgx.Batch) { b.Queue(clearSQL) }); err != nil && !inUse(err) {
		return fmt.Errorf("delete the trimmed batches from the log: %w", err)
	}
	return nil
}

// inUse reports whether a statement failed because of another transaction: by a lock
// timeout, by a deadlock, or because the partition is being detached.
func inUse(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "55P03" || e.Code == "40P01" || e.Code == "55000")
}
