package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// prefix is the beginning of a partition's name, before the date: events_20261122.
const prefix = "events_"

// partition returns the name of a day's partition of events. day is in days since 1970.
func partition(day uint32) string {
	return prefix + time.Unix(int64(day)*86_400, 0).UTC().Format("20060102")
}

// prepareDay creates the partitions of a day and of the next one unless they exist.
// After the first success for a day it does nothing.
func (s *Store) prepareDay(ctx context.Context, day uint32) error {
	s.mu.Lock()
	known := s.days[day]
	s.mu.Unlock()
	if known {
		return nil
	}
	for _, d := range []uint32{day, day + 1} {
		if err := s.makePartition(ctx, d); err != nil {
			return fmt.Errorf("make the partition %s: %w", partition(d), err)
		}
	}
	s.mu.Lock()
	s.days[day] = true
	s.mu.Unlock()
	return nil
}

// makePartition creates the partition of a day unless it exists. It creates a table
// and then attaches it, because CREATE TABLE ... PARTITION OF takes a lock on events
// that waits for all running batches.
func (s *Store) makePartition(ctx context.Context, day uint32) error {
	name := partition(day)
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, startLock); err != nil {
			return err
		}
		var exists bool
		if err := tx.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, name).Scan(&exists); err != nil || exists {
			return err
		}
		_, err := tx.Exec(ctx, fmt.Sprintf(`CREATE TABLE %[1]s (LIKE events INCLUDING ALL);
			ALTER TABLE events ATTACH PARTITION %[1]s FOR VALUES FROM (%[2]d) TO (%[3]d)`, name, day, day+1))
		return err
	})
}

// forgetDay makes prepareDay check a day's partition again, after it was found missing.
func (s *Store) forgetDay(day uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.days, day)
}

// Trim deletes the events of all days before the given one, in days since 1970. It
// does not block batches or readers.
func (s *Store) Trim(ctx context.Context, before uint32) error {
	rows, err := s.pool.Query(ctx, `SELECT c.relname, i.inhdetachpending FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'events'::regclass AND c.relname < $1 ORDER BY c.relname`, partition(before))
	if err != nil {
		return fmt.Errorf("list the partitions before %s: %w", partition(before), err)
	}
	type child struct {
		Name    string
		Pending bool
	}
	old, err := pgx.CollectRows(rows, pgx.RowToStructByPos[child])
	if err != nil {
		return fmt.Errorf("list the partitions before %s: %w", partition(before), err)
	}
	for _, c := range old {
		how := "CONCURRENTLY"
		if c.Pending { // an earlier Trim was interrupted
			how = "FINALIZE"
		}
		if _, err := s.pool.Exec(ctx, fmt.Sprintf(`ALTER TABLE events DETACH PARTITION %s %s`, c.Name, how)); err != nil {
			return fmt.Errorf("detach %s: %w", c.Name, err)
		}
		if _, err := s.pool.Exec(ctx, `DROP TABLE `+c.Name); err != nil {
			return fmt.Errorf("drop %s: %w", c.Name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for day := range s.days {
		if day < before {
			delete(s.days, day)
		}
	}
	return nil
}
