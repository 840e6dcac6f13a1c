package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// liftSQL sets the sequence of batch numbers to the greatest number that is stored,
// unless it is already that far. batches has the batches without a position, and runs
// the greatest number of one with a position, also if that was trimmed; so a greater
// number is in no head.
const liftSQL = `SELECT setval('batch_numbers', stored.most)
	FROM batch_numbers drawn, (SELECT greatest((SELECT max(number) FROM batches), (SELECT high FROM runs ORDER BY last DESC LIMIT 1), (SELECT max(batch) FROM log)) AS most) stored
	WHERE stored.most > drawn.last_value OR stored.most = drawn.last_value AND NOT drawn.is_called`

// checkNumbers prepares the sequence of batch numbers. After a restore or a logical
// upgrade of the database the sequence may be behind the tables; then it is lifted.
// checkNumbers fails if the sequence has a cache.
func checkNumbers(ctx context.Context, tx pgx.Tx) error {
	var cache int64
	if err := tx.QueryRow(ctx, `SELECT seqcache FROM pg_sequence WHERE seqrelid = 'batch_numbers'::regclass`).Scan(&cache); err != nil {
		return fmt.Errorf("read the sequence of batch numbers: %w", err)
	}
	if cache != 1 {
		return fmt.Errorf("the sequence batch_numbers has CACHE %d, which puts events in the wrong order: ALTER SEQUENCE batch_numbers CACHE 1", cache)
	}
	return lift(ctx, tx)
}

// liftNumbers lifts the sequence of batch numbers while the store is running.
func (s *Store) liftNumbers(ctx context.Context) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, startLock); err != nil {
			return err
		}
		return lift(ctx, tx)
	})
}

// lift runs liftSQL. Only one process at a time may call it.
func lift(ctx context.Context, tx pgx.Tx) error {
	var to int64
	err := tx.QueryRow(ctx, liftSQL).Scan(&to)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lift the sequence of batch numbers: %w", err)
	}
	return nil
}
