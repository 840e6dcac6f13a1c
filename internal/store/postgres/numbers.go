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

// mayHaveEvents reports whether a batch may write events, so that it needs a number. Most batches
// without events only create users.
func mayHaveEvents(b core.Batch) bool {
	return slices.ContainsFunc(b.Changes, func(c *core.Change) bool { return c.Decide != nil || len(c.Events) > 0 })
}

// maxUnused is the maximum number of unused batch numbers that a store remembers.
const maxUnused = 100_000

// unusedNumbers holds the batch numbers that this process has drawn but not used: the
// transactions were rolled back or had no events. The sequencer is told these numbers, because
// it looks for each missing number for ten minutes otherwise.
type unusedNumbers struct {
	mu      sync.Mutex
	numbers []int64 // the numbers, in the order in which they were added
}

// add remembers an unused batch number; it ignores 0. If there are more than maxUnused numbers, it
// drops the oldest.
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

// clear forgets all numbers. It is called for each new connection, because the connection may lead
// to a server that has crashed or was restored from a backup, and that draws the same numbers
// again. Behind PgBouncer such a server may go unnoticed. Then a batch that gets one of these
// numbers and is committed late may get its positions only from sweepLog.
func (u *unusedNumbers) clear() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.numbers = nil
}

// all returns a copy of the unused numbers.
func (u *unusedNumbers) all() []int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.numbers)
}

// forget removes the numbers in told that are at most high. The sequencer was told these numbers,
// and high was the greatest number with a position at that time, so the sequencer does not look for
// them any more. forget keeps greater numbers, because the sequencer may begin to look for them
// later.
func (u *unusedNumbers) forget(told []int64, high int64) {
	gone := make(map[int64]bool, len(told))
	for _, n := range told {
		gone[n] = n <= high
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.numbers = slices.DeleteFunc(u.numbers, func(n int64) bool { return gone[n] })
}

// liftSQL sets the sequence of batch numbers to the greatest number in the tables, unless the
// sequence is already that far. The table batches has the numbers without a position, and runs has
// the greatest number that ever got a position, even if its batch was trimmed. So no head has a
// greater number than these.
const liftSQL = `SELECT setval('batch_numbers', stored.most)
	FROM batch_numbers drawn, (SELECT greatest((SELECT max(number) FROM batches), (SELECT high FROM runs ORDER BY n DESC LIMIT 1), (SELECT max(batch) FROM log)) AS most) stored
	WHERE stored.most > drawn.last_value OR stored.most = drawn.last_value AND NOT drawn.is_called`

// checkNumbers checks the sequence of batch numbers. It fails if the sequence has a cache. If
// the sequence is behind the tables, as may be after a restore or a logical upgrade of the
// database, checkNumbers sets it to the greatest number in use.
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

// liftNumbers runs liftSQL while the store is running, under the lock startLock.
func (s *Store) liftNumbers(ctx context.Context) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, startLock); err != nil {
			return err
		}
		return lift(ctx, tx)
	})
}

// lift runs liftSQL. The caller must make sure that only one process calls it at a time.
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
