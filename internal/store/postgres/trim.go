package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/confab-chat/confab/internal/core"
)

// raiseSQL raises the floor of the log: the position of the last event that Trim deletes. The new
// floor is the last event before the first event whose day is between $1 and today, $2. Events of
// later days are ignored: a server whose clock is ahead has written them.
const raiseSQL = `UPDATE log_floor f SET position = l.last, batch_check = l.batch_check
	FROM (
		SELECT last, batch_check FROM log
		WHERE last < coalesce((SELECT last FROM log WHERE day BETWEEN $1 AND $2 ORDER BY last LIMIT 1), 9223372036854775807)
		ORDER BY last DESC LIMIT 1
	) l WHERE l.last > f.position`

// partitionsSQL selects the partitions of events whose names match $1 and are less than $2, the
// oldest first. Its second column says whether the partition has events after the floor. It
// does not select tables that the operator has detached from events.
const partitionsSQL = `SELECT relname::text, EXISTS (SELECT FROM log
		WHERE day = to_date(right(relname, 8), 'YYYYMMDD') - date '1970-01-01' AND last > (SELECT position FROM log_floor))
	FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
	WHERE inhparent = 'events'::regclass AND relname ~ $1 AND relname < $2 ORDER BY relname`

// clearSQL deletes the rows of the tables log and batches before the floor. The row of log that
// ends at the floor stays, so that log always has a last row.
const clearSQL = `WITH gone AS (DELETE FROM log WHERE last < (SELECT position FROM log_floor) RETURNING batch)
	DELETE FROM batches b USING gone WHERE b.number = gone.batch`

// trimTimeouts has the timeouts of Trim's transactions. DROP TABLE waits for all readers and
// writers of events and blocks new ones meanwhile, so its lock timeout is short.
var trimTimeouts = timeouts{lock: time.Second, statement: 10 * time.Minute, idle: defaultTimeouts.idle, trip: 11 * time.Minute}

// Trim deletes the events of days before day from the log: it raises the floor, drops the
// partitions of these days, and deletes the rows of their batches. The caller computes day by
// the clock of this process; Trim corrects it if the database has another date. If Trim is
// interrupted, or a partition is in use, the next call deletes the rest.
func (s *Store) Trim(ctx context.Context, day uint32) error {
	if _, err := s.Sequence(ctx); err != nil { // give all events positions: the floor cannot rise above an event without one
		return err
	}
	if err := s.readClock(ctx); err != nil {
		return err
	}
	now, shift := s.wall().UnixMilli(), s.shift.Load()
	from := int64(day) + int64(core.DayOf(now+shift)) - int64(core.DayOf(now))
	today := int64(core.DayOf(s.now().UnixMilli()+shift)) + 1 // one day more than today, because the clocks of two servers may differ by seconds
	old, err := s.partitions(ctx, from)
	if err != nil {
		return err
	}
	if len(old) > 0 {
		if err := s.transact(ctx, trimTimeouts, func(b *pgx.Batch) { b.Queue(raiseSQL, from, today) }); err != nil {
			return fmt.Errorf("raise the floor of the log: %w", err)
		}
		if old, err = s.partitions(ctx, from); err != nil {
			return err
		}
	}
	if err := s.drop(ctx, old); err != nil {
		return err
	}
	if err := s.transact(ctx, trimTimeouts, func(b *pgx.Batch) { b.Queue(clearSQL) }); err != nil && !inUse(err) {
		return fmt.Errorf("delete the trimmed batches from the log: %w", err)
	}
	return nil
}

// dayTable is a partition of the table events, which has the events of one day.
type dayTable struct {
	Name string
	Kept bool // true if the partition has events after the floor of the log, so that it must stay
}

// partitions returns the partitions of the days before a day, given in days since 1970, the oldest
// first.
func (s *Store) partitions(ctx context.Context, before int64) ([]dayTable, error) {
	return readAll(ctx, s, "the partitions of events", pgx.RowToStructByPos[dayTable], partitionsSQL, "^"+prefix+"[0-9]{8}$", partition(uint32(max(before, 0))))
}

// drop drops the partitions that have no event after the floor. It stops at the first one that
// another transaction uses: the others are probably in use too, and each attempt blocks all
// readers and writers of events for up to a second.
func (s *Store) drop(ctx context.Context, old []dayTable) error {
	for _, p := range old {
		if p.Kept {
			s.log.Info("store: a partition of events has newer events and is dropped later", "partition", p.Name)
			continue
		}
		err := s.transact(ctx, trimTimeouts, func(b *pgx.Batch) {
			b.Queue(`SELECT pg_advisory_xact_lock($1)`, startLock) // while this lock is held, makePartition does not attach the table again
			b.Queue(`DROP TABLE IF EXISTS ` + p.Name)
		})
		if inUse(err) {
			s.log.Info("store: a partition of events is in use and is dropped later", "partition", p.Name, "error", err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("drop the partition %s: %w", p.Name, err)
		}
	}
	return nil
}

// inUse reports whether a statement failed because of another transaction: by a lock timeout or
// a deadlock, or because the partition is being detached.
func inUse(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "55P03" || e.Code == "40P01" || e.Code == "55000")
}
