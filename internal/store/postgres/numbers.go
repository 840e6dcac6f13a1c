package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// mayHaveEvents reports whether a batch may write events and so needs a number. The
// others are mostly new users.
func mayHaveEvents(b core.Batch) bool {
	return slices.ContainsFunc(b.Changes, func(c *core.Change) bool { return c.Decide != nil || len(c.Events) > 0 })
}

// maxUnused is the greatest number of unused batch numbers that a store remembers.
const maxUnused = 100_000

// unusedNumbers holds batch numbers that this process has drawn and that no batch has:
// their transactions were rolled back, or had no events. The sequencer would look for
// each of them for ten minutes if it were not told.
type unusedNumbers struct {
	mu      sync.Mutex
	numbers []int64 // the last one added is the last element
}

// add remembers a number, unless it is 0. If there are too many, it forgets the one added
// first.
func (u *unusedNumbers) add(number uint64) {
	if number == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.numbers = append(u.numbers, int64(number))
	if n := len(u.numbers) - maxUnused; n > 0 {
		u.numbers = slices.Delete(u.numbers, 0, n)
	}
}

// clear forgets all numbers. It is called for each new connection, which may lead to a
// server that has crashed or was put back, and that draws the numbers again. Behind
// PgBouncer such a server may go unnoticed. Then a batch that gets one of the numbers and
// is committed late may get its positions only from sweepLog.
func (u *unusedNumbers) clear() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.numbers = nil
}

// all returns a copy of the numbers.
func (u *unusedNumbers) all() []int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.numbers)
}

// forget removes those of the told numbers that are not greater than high, the greatest
// number that had a position before the sequencer was told: it looks for none of them
// any more. It may only begin to look for greater ones.
func (u *unusedNumbers) forget(told []int64, high int64) {
	gone := make(map[int64]bool, len(told))
	for _, n := range told {
		gone[n] = n <= high
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.numbers = slices.DeleteFunc(u.numbers, func(n int64) bool { return gone[n] })
}

// liftSQL sets the sequence of batch numbers to the greatest number that is stored,
// unless it is already that far. batches has the batches without a position, and runs
// the greatest number of one with a position, also if that was trimmed; so a greater
// number is in no head.
const liftSQL = `SELECT setval('batch_numbers', stored.most)
	FROM batch_numbers drawn, (SELECT greatest((SELECT max(number) FROM batches), (SELECT high FROM runs ORDER BY n DESC LIMIT 1), (SELECT max(batch) FROM log)) AS most) stored
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
