package postgres

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// TestFigures measures group commit on this machine. It prints the durable sends per second of
// 256 senders: with group commit, and with one transaction per send on the number of
// connections that is fastest. It never fails because of a figure.
func TestFigures(t *testing.T) {
	if os.Getenv("TEST_FIGURES") == "" {
		t.Skip("TEST_FIGURES is not set")
	}
	const senders, threads, rounds = 256, 1000, 3
	s, err := Open(context.Background(), emptyDatabase(t), Options{Initial: storetest.Initial, PoolSize: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var creates []*core.Change
	byLane := make([][]string, lanes)
	for n := range threads {
		id := fmt.Sprintf("19:%032x@thread.v2", n)
		lane := core.LaneOf(id, lanes)
		byLane[lane] = append(byLane[lane], id)
		creates = append(creates, newThread(id))
	}
	for lane := range lanes {
		var batch []*core.Change
		for _, c := range creates {
			if core.LaneOf(c.Key, lanes) == lane {
				batch = append(batch, c)
			}
		}
		mustApply(t, s, core.Applied, batch...)
	}

	var grouped, single []float64
	for range rounds {
		grouped = append(grouped, perSecond(func(stop <-chan struct{}, sent *atomic.Int64) { groupCommit(t, s, byLane, senders, nil, stop, sent) }))
		single = append(single, perSecond(func(stop <-chan struct{}, sent *atomic.Int64) { transactionPerSend(t, s, byLane, 64, stop, sent) }))
	}
	slices.Sort(grouped)
	slices.Sort(single)
	t.Logf("durable sends/s, medians of %d: group commit %.0f with %d senders, a transaction per send %.0f with 64; ratio %.1f (wanted: 4 at least)",
		rounds, grouped[rounds/2], senders, single[rounds/2], grouped[rounds/2]/single[rounds/2])
	var updates, hot float64
	err = s.pool.QueryRow(context.Background(), `SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'heads'`).Scan(&updates, &hot)
	t.Logf("updates of heads that stayed on their page (HOT): %.1f %% (%v)", 100*hot/max(updates, 1), err)
}

func perSecond(run func(stop <-chan struct{}, sent *atomic.Int64)) float64 {
	stop := make(chan struct{})
	var sent atomic.Int64
	begun := time.Now()
	time.AfterFunc(3*time.Second, func() { close(stop) })
	run(stop, &sent)
	return float64(sent.Load()) / time.Since(begun).Seconds()
}

// content is a message of 300 bytes, the size with which the storage engines were compared
// before one was chosen.
var content = string(slices.Repeat([]byte("some words of a chat message, "), 10))

// groupCommit sends messages as the committer of package core does: while a batch is being written,
// the sends of all other senders are collected for the next batch. It adds the number of messages
// to sent, until stop is closed. After each batch it sends a value to committed, unless the channel
// is full.
func groupCommit(t *testing.T, s *Store, byLane [][]string, senders int, committed chan<- struct{}, stop <-chan struct{}, sent *atomic.Int64) {
	var wg sync.WaitGroup
	for _, ids := range byLane {
		wg.Go(func() {
			next := 0
			for {
				select {
				case <-stop:
					return
				default:
				}
				b := core.Batch{At: time.Now().UnixMilli()}
				for range senders / lanes {
					next++
					b.Changes = append(b.Changes, text(ids[next*7919%len(ids)], content))
				}
				if _, err := s.Apply(context.Background(), b); err != nil {
					t.Error(err)
					return
				}
				sent.Add(int64(len(b.Changes)))
				select {
				case committed <- struct{}{}:
				default:
				}
			}
		})
	}
	wg.Wait()
}

// transactionPerSend writes the same rows as groupCommit, but with one transaction of four
// round trips for each message, as a simple program would. It adds the number of messages to
// sent, until stop is closed.
func transactionPerSend(t *testing.T, s *Store, byLane [][]string, senders int, stop <-chan struct{}, sent *atomic.Int64) {
	ids := slices.Concat(byLane...)
	ctx := context.Background()
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for next := i; ; next += senders {
				select {
				case <-stop:
					return
				default:
				}
				id, now := ids[next*7919%len(ids)], time.Now().UnixMilli()
				err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
					var message, sequence, number, position int64
					if err := tx.QueryRow(ctx, `UPDATE heads SET last_id = greatest($2, last_id + 1), last_sequence = last_sequence + 1, last_event = last_event + 1,
						last_message_on = $2 WHERE id = $1
						RETURNING last_id, last_sequence, last_event, (nextval('batch_numbers') << 20) + 1`, id, now).Scan(&message, &sequence, &number, &position); err != nil {
						return err
					}
					if _, err := tx.Exec(ctx, `INSERT INTO messages (thread, sequence, id, version, kind, created_on, edited_on, deleted_on, sender, sender_name, content, initiator)
						VALUES ($1, $2, $3, $3, 1, $4, 0, 0, '', '', $5, '')`, id, sequence, message, now, content); err != nil {
						return err
					}
					_, err := tx.Exec(ctx, `WITH batch AS (INSERT INTO batches (number, events, batch_check, day) VALUES ($4::bigint >> 20, 1, 0, $1))
						INSERT INTO events (day, thread, number, position, kind, message_id, version, actor, at)
						VALUES ($1, $2, $3, $4, 2, $5, $5, '8:acs:ann', $5)`, core.DayOf(now), id, number, position, message)
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
				sent.Add(1)
			}
		})
	}
	wg.Wait()
}

// TestSequencerFigures prints how long Sequence takes to give a position to one batch, after a
// number of attempts that drew a batch number and committed no event. It never fails because of
// a figure.
func TestSequencerFigures(t *testing.T) {
	if os.Getenv("TEST_FIGURES") == "" {
		t.Skip("TEST_FIGURES is not set")
	}
	s := open(t, emptyDatabase(t))
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	attempts := 0
	for _, upTo := range []int{0, 1000, 11_000} {
		for ; attempts < upTo; attempts++ {
			c := text("t", "stale")
			c.Revision = 99
			mustApply(t, s, core.Stale, c)
		}
		for range 20 {
			mustApply(t, s, core.Applied, text("t", "to warm up"))
			sequence(t, s)
		}
		var took []time.Duration
		for range 101 {
			mustApply(t, s, core.Applied, text("t", "one"))
			begun := time.Now()
			sequence(t, s)
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		t.Logf("after %d attempts without an event: median %v, worst of 101 %v", upTo, took[50], took[100])
	}
}
