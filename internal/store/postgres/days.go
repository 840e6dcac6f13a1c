package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// prefix is the first part of the name of a partition of the table events; a date follows, as
// in events_20261122.
const prefix = "events_"

// partition returns the name of the partition of the table events for a day, given in days
// since 1970.
func partition(day uint32) string {
	return prefix + time.Unix(int64(day)*86_400, 0).UTC().Format("20060102")
}

// rightClock is the greatest difference between two clocks, in milliseconds, that is ignored.
const rightClock = core.MillisPerMinute

// readClock measures the difference between this process's clock and the database's clock, and
// stores it in s.shift. Events get their days by the database's clock. Otherwise a server whose
// clock is days ahead would delete events of the last days from the log, and a server whose clock
// is days behind would write new events into a day that is soon deleted.
func (s *Store) readClock(ctx context.Context) error {
	var there int64
	began := s.wall()
	if err := s.pool.QueryRow(ctx, `SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint`).Scan(&there); err != nil {
		return fmt.Errorf("read the database's clock: %w", err)
	}
	took := s.wall().Sub(began)
	shift := there - began.Add(took/2).UnixMilli()
	if max(shift, -shift) <= rightClock+took.Milliseconds() {
		shift = 0
	}
	if s.shift.Swap(shift) != shift && shift != 0 {
		s.log.Warn("store: the clocks of this server and of the database differ; the days of events are by the database's", "difference", time.Duration(-shift)*time.Millisecond)
	}
	return nil
}

// prepareDay creates the partitions of a day and of the next one if they do not exist. After it has
// succeeded for a day, later calls for that day return at once.
func (s *Store) prepareDay(ctx context.Context, day uint32) error {
	if _, known := s.days.Load(day); known {
		return nil
	}
	for _, d := range []uint32{day, day + 1} {
		if err := s.makePartition(ctx, d); err != nil {
			return fmt.Errorf("make the partition %s: %w", partition(d), err)
		}
	}
	s.days.Store(day, true)
	return nil
}

// makePartition creates the partition of a day if it does not exist. It creates a table and
// then attaches it to events, because CREATE TABLE ... PARTITION OF takes a lock on events that
// waits for all running batches. If there is a table of that name that is not attached, as
// after an interrupted DETACH, it attaches that table.
func (s *Store) makePartition(ctx context.Context, day uint32) error {
	name := partition(day)
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, startLock); err != nil {
			return err
		}
		var exists, attached bool
		err := tx.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL,
			EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass($1) AND inhparent = 'events'::regclass)`, name).Scan(&exists, &attached)
		if err != nil || attached {
			return err
		}
		if !exists {
			if _, err := tx.Exec(ctx, fmt.Sprintf(`CREATE TABLE %s (LIKE events INCLUDING ALL)`, name)); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, fmt.Sprintf(`ALTER TABLE events ATTACH PARTITION %s FOR VALUES FROM (%d) TO (%d)`, name, day, day+1))
		return err
	})
}
