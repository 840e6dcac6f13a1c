package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// follower reads the log from its beginning. It fails the test if positions, or the numbers of
// the events of a thread, have gaps.
type follower struct {
	t       *testing.T
	store   *Store
	at      core.Cursor
	numbers map[string]uint64 // of the last event, by thread
}

func follow(t *testing.T, s *Store) *follower {
	t.Helper()
	tip, err := s.Tip(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return &follower{t: t, store: s, at: core.Cursor{Epoch: tip.Epoch}, numbers: map[string]uint64{}}
}

// read returns the next events, at most limit.
func (f *follower) read(limit int) []core.Event {
	f.t.Helper()
	page, err := f.store.Log(context.Background(), f.at, limit)
	if err != nil || page.Gap != 0 {
		f.t.Fatalf("the log after %+v: gap %q, %v", f.at, page.Gap, err)
	}
	for i, e := range page.Events {
		f.numbers[e.Thread]++
		if want := f.at.Position + uint64(i) + 1; e.Position != want || e.Number != f.numbers[e.Thread] || e.Batch != 0 {
			f.t.Fatalf("event %d of %s at position %d (batch %d), want event %d at %d", e.Number, e.Thread, e.Position, e.Batch, f.numbers[e.Thread], want)
		}
	}
	f.at = page.Next
	return page.Events
}

// rest reads events until there are no more, and returns them.
func (f *follower) rest() (all []core.Event) {
	f.t.Helper()
	for {
		es := f.read(100)
		if len(es) == 0 {
			return all
		}
		all = append(all, es...)
	}
}

// sequence calls Sequence, fails the test after an error, and returns the batches.
func sequence(t *testing.T, s *Store) []core.Placed {
	t.Helper()
	placed, err := s.Sequence(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return placed
}

// applyAt applies a change in a batch with the given time, in epoch milliseconds, and the given
// Batch.Check.
func applyAt(t *testing.T, s *Store, at int64, check uint32, c *core.Change) core.Outcome {
	t.Helper()
	os, err := s.Apply(context.Background(), core.Batch{At: at, Check: check, Changes: []*core.Change{c}})
	if err != nil || os[0].Status != core.Applied {
		t.Fatalf("apply: %+v, %v", os, err)
	}
	return os[0]
}

// one returns the value of a query with one row and one column.
func one[T any](t *testing.T, s *Store, sql string, args ...any) (v T) {
	t.Helper()
	if err := s.pool.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// TestLogBesideOpenTransactions keeps prepared and running transactions open that have written
// to the store's database and to another database of the server. Events must still get
// positions.
func TestLogBesideOpenTransactions(t *testing.T) {
	ctx := context.Background()
	url, foreign := emptyDatabase(t), emptyDatabase(t)
	s := open(t, url)
	defer s.Close()
	for i, u := range []string{url, foreign} {
		execute(t, u, `CREATE TABLE foreign_rows (n int)`)
		prepared := fmt.Sprint("prepared ", i)
		execute(t, u, `BEGIN; INSERT INTO foreign_rows VALUES (1); PREPARE TRANSACTION '`+prepared+`'`)
		defer execute(t, u, `ROLLBACK PREPARED '`+prepared+`'`)
		running := dial(t, u)
		defer running.Close(ctx)
		if _, err := running.Exec(ctx, `BEGIN; INSERT INTO foreign_rows VALUES (2)`); err != nil {
			t.Fatal(err)
		}
	}
	f := follow(t, s)
	mustApply(t, s, core.Applied, newThread("t"))
	for i := range 20 {
		mustApply(t, s, core.Applied, text("t", fmt.Sprint(i)))
		sequence(t, s)
	}
	if n := len(f.rest()); n != 21 {
		t.Errorf("the log has %d events, want 21", n)
	}
}

// TestSequencers runs testSequencers with one additional store that does not write, and with seven
// such stores.
func TestSequencers(t *testing.T) {
	t.Run("three", func(t *testing.T) { testSequencers(t, 1, 150) })
	t.Run("nine", func(t *testing.T) { testSequencers(t, 7, 60) })
}

// testSequencers lets two stores write to the same threads. These two stores and a number of idle
// ones call Sequence at the same time, and a reader follows the log. A fifth of the batches is
// rolled back. The log must have each acknowledged event once, without gaps, and must never change
// after the reader has read it.
func testSequencers(t *testing.T, idle, rounds int) {
	ctx := context.Background()
	url := emptyDatabase(t)
	stores := []*Store{open(t, url), open(t, url)}
	all := slices.Clone(stores)
	for range idle {
		all = append(all, open(t, url))
	}
	third := all[2]
	const threads = 6
	for n := range threads {
		mustApply(t, stores[0], core.Applied, newThread(fmt.Sprint("t", n)))
	}
	f := follow(t, third)
	var events atomic.Int64
	events.Store(threads)
	var writers, others sync.WaitGroup
	for w, s := range stores {
		for lane := range lanes {
			writers.Go(func() {
				for i := range rounds {
					b := core.Batch{At: at + int64(i), Check: uint32(i)}
					for n := range threads {
						if id := fmt.Sprint("t", (n+i+w)%threads); core.LaneOf(id, lanes) == lane {
							c := text(id, fmt.Sprint(w, "/", i))
							if i%5 == 0 {
								c.Revision = 99 // makes the change stale, so the batch draws a number and is rolled back
							}
							b.Changes = append(b.Changes, c)
						}
					}
					if len(b.Changes) == 0 {
						continue
					}
					os, err := s.Apply(ctx, b)
					if err != nil {
						t.Error(err)
						return
					}
					for _, o := range os {
						if o.Status == core.Applied {
							events.Add(1)
						}
					}
				}
			})
		}
	}
	stop := make(chan struct{})
	defer func() { // wait for the writers to end, even if the reader has failed the test
		writers.Wait()
		select {
		case <-stop:
		default:
			close(stop)
		}
		others.Wait()
		for _, s := range all {
			s.Close()
		}
	}()
	var mu sync.Mutex // guards placed
	placed := map[uint64]int{}
	for _, s := range all {
		others.Go(func() {
			for ended := false; !ended; {
				select {
				case <-stop:
					ended = true // call Sequence once more, to give positions to the last batches
				default:
				}
				ps, err := s.Sequence(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, p := range ps {
					placed[p.Batch]++
				}
				mu.Unlock()
			}
		})
	}
	var seen []core.Event
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		seen = append(seen, f.read(7)...)
	}
	close(stop)
	others.Wait()
	seen = append(seen, f.rest()...)
	if int64(len(seen)) != events.Load() {
		t.Errorf("the reader has seen %d events, want %d", len(seen), events.Load())
	}
	again := follow(t, third).rest()
	if diff := cmp.Diff(seen, again); diff != "" {
		t.Errorf("the log has changed behind the reader (-was +is):\n%s", diff)
	}
	for batch, n := range placed {
		if n != 1 {
			t.Errorf("batch %d was returned %d times", batch, n)
		}
	}
	if got := one[int](t, third, `SELECT count(*) FROM batches`); got != len(placed) {
		t.Errorf("%d batches got positions, want %d", len(placed), got)
	}
}

// holder opens a store. Its next batch with this content waits between the drawing of its
// number and the COMMIT until release is called. held is closed when it begins to wait.
func holder(t *testing.T, url, content string) (s *Store, held chan struct{}, release func()) {
	t.Helper()
	c, through := behindCutter(t, url)
	s = open(t, through)
	held, released := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c.when(func(toServer bool, data []byte) (forward, cut bool) {
		if toServer && runs(data, "COMMIT") && bytes.Contains(data, []byte(content)) {
			once.Do(func() { close(held); <-released })
		}
		return true, false
	})
	return s, held, sync.OnceFunc(func() { close(released) })
}

// TestLateCommit delays a batch after its number was drawn, while batches with greater numbers
// get positions. The delayed batch must get positions after its commit, and no event may be
// lost.
func TestLateCommit(t *testing.T) {
	url := emptyDatabase(t)
	s := open(t, url)
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	mustApply(t, s, core.Applied, newThread("u"))
	slow, held, release := holder(t, url, "held until released")
	defer slow.Close()
	defer release()
	f := follow(t, s)

	var late sync.WaitGroup
	late.Go(func() {
		if os, err := slow.Apply(context.Background(), core.Batch{At: at, Changes: []*core.Change{text("t", "held until released")}}); err != nil || os[0].Status != core.Applied {
			t.Errorf("the held batch: %+v, %v", os, err)
		}
	})
	<-held
	for i := range 5 {
		mustApply(t, s, core.Applied, text("u", fmt.Sprint(i)))
		sequence(t, s)
	}
	if n := len(f.rest()); n != 7 {
		t.Errorf("the log has %d events before the commit, want 7", n)
	}
	before := one[[]int64](t, s, `SELECT missing FROM runs ORDER BY last DESC LIMIT 1`)
	if len(before) != 1 {
		t.Errorf("the numbers %v are missing, want one", before)
	}
	release()
	late.Wait()
	placed := sequence(t, s)
	if len(placed) != 1 || placed[0].Last != 8 || placed[0].Events != 1 || int64(placed[0].Batch) != before[0] {
		t.Errorf("placed %+v, want batch %d at 8", placed, before)
	}
	if es := f.rest(); len(es) != 1 || es[0].Thread != "t" || es[0].Number != 2 {
		t.Errorf("the log goes on with %+v, want event 2 of t", es)
	}
	if after := one[[]int64](t, s, `SELECT missing FROM runs ORDER BY last DESC LIMIT 1`); len(after) != 0 {
		t.Errorf("the numbers %v are missing", after)
	}
}

// TestSweep commits a batch so late that the sequencer has given up its number. Sequence must
// not find the batch; sweepLog must give it a position and log an error.
func TestSweep(t *testing.T) {
	ctx := context.Background()
	url := emptyDatabase(t)
	var logged bytes.Buffer
	s, err := Open(ctx, url, Options{Initial: storetest.Initial, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	mustApply(t, s, core.Applied, newThread("u"))
	slow, held, release := holder(t, url, "held until released")
	defer slow.Close()
	defer release()
	var late sync.WaitGroup
	late.Go(func() {
		if os, err := slow.Apply(ctx, core.Batch{At: at, Changes: []*core.Change{text("t", "held until released")}}); err != nil || os[0].Status != core.Applied {
			t.Errorf("the held batch: %+v, %v", os, err)
		}
	})
	<-held
	mustApply(t, s, core.Applied, text("u", "one"))
	sequence(t, s)
	execute(t, url, `UPDATE runs SET missed_at = ARRAY(SELECT m - 600001 FROM unnest(missed_at) m)`) // ten minutes pass
	mustApply(t, s, core.Applied, text("u", "two"))
	sequence(t, s)
	release()
	late.Wait()
	if placed := sequence(t, s); len(placed) != 0 {
		t.Errorf("placed %+v: the number was not given up", placed)
	}
	if strings.Contains(logged.String(), "very late") {
		t.Error("an error is logged before the sweep")
	}
	placed, err := s.sweepLog(ctx)
	if err != nil || len(placed) != 1 || placed[0].Last != 5 || !strings.Contains(logged.String(), fmt.Sprintf("[%d]", placed[0].Batch)) {
		t.Errorf("the sweep placed %+v, %v and logged %s", placed, err, logged.String())
	}
	if placed, err := s.sweepLog(ctx); err != nil || len(placed) != 0 {
		t.Errorf("the second sweep placed %+v, %v", placed, err)
	}
	if n := len(follow(t, s).rest()); n != 5 {
		t.Errorf("the log has %d events, want 5", n)
	}
	if n := one[int](t, s, `SELECT count(*) FROM runs`); n != 1 {
		t.Errorf("%d runs are kept, want 1", n)
	}
}

// TestSequencerIsDurable checks that the sequencer commits synchronously even if the database
// has synchronous_commit = off, and that it keeps a setting that is stronger than on.
func TestSequencerIsDurable(t *testing.T) {
	s := open(t, emptyDatabase(t))
	defer s.Close()
	for setting, want := range map[string]string{"off": "on", "local": "local", "remote_apply": "remote_apply"} {
		var got string
		err := pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `SET LOCAL synchronous_commit = `+setting+`; SELECT place_batches(1, '{}')`); err != nil {
				return err
			}
			return tx.QueryRow(t.Context(), `SHOW synchronous_commit`).Scan(&got)
		})
		if err != nil || got != want {
			t.Errorf("%s becomes %q, %v; want %s", setting, got, err, want)
		}
	}
	err := pgx.BeginTxFunc(t.Context(), s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `SELECT place_batches(1, '{}')`)
		return err
	})
	if err == nil {
		t.Error("the sequencer runs in a transaction with an old snapshot")
	}
}

const day = int64(core.MillisPerDay)

// TestTrim deletes days from the log between two pages of a reader. The reader must get a gap
// and no events. It also checks that Trim leaves a partition that is in use to a later call,
// and does not touch a partition that was detached.
func TestTrim(t *testing.T) {
	ctx := context.Background()
	url := emptyDatabase(t)
	s := open(t, url)
	defer s.Close()
	applyAt(t, s, at, 1, newThread("t"))
	for d := range int64(5) {
		applyAt(t, s, at+d*day, uint32(10+d), text("t", "one"))
		applyAt(t, s, at+d*day, uint32(20+d), text("t", "two"))
	}
	sequence(t, s)
	f := follow(t, s)
	first := f.read(2)
	partitions := func() []string {
		t.Helper()
		rows, _ := s.pool.Query(ctx, `SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relname LIKE 'events\_%' AND relname < 'events_2025' ORDER BY 1`)
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	all := partitions()
	if len(first) != 2 || len(all) != 6 {
		t.Fatalf("read %+v; partitions %v", first, all)
	}
	trim := func(d uint32) {
		t.Helper()
		if err := s.Trim(ctx, 20_000+d); err != nil {
			t.Fatal(err)
		}
	}
	gap := func(c core.Cursor) core.GapReason {
		t.Helper()
		page, err := s.Log(ctx, c, 100)
		if err != nil {
			t.Fatal(err)
		}
		if page.Gap != 0 && (len(page.Events) > 0 || page.Next.Position != page.Tip) {
			t.Fatalf("a page with a gap is %+v", page)
		}
		return page.Gap
	}

	// While another transaction reads events, Trim must raise the floor but keep the partition.
	reader := dial(t, url)
	defer reader.Close(ctx)
	if _, err := reader.Exec(ctx, `BEGIN; SELECT count(*) FROM events`); err != nil {
		t.Fatal(err)
	}
	trim(1)
	if got := gap(f.at); got != core.GapTrimmed || len(partitions()) != 6 {
		t.Errorf("beside a reader: gap %q, partitions %v", got, partitions())
	}
	if _, err := reader.Exec(ctx, `COMMIT`); err != nil {
		t.Fatal(err)
	}
	trim(0)
	if len(partitions()) != 6 {
		t.Errorf("the days before the first one are trimmed: %v", partitions())
	}

	// Trim must not touch a partition that the operator has detached.
	execute(t, url, `ALTER TABLE events DETACH PARTITION `+all[0])
	trim(2)
	if got, want := partitions(), append([]string{all[0]}, all[2:]...); !slices.Equal(got, want) {
		t.Errorf("partitions %v are left, want %v", got, want)
	}
	execute(t, url, `DROP TABLE `+all[0])
	floor := core.Cursor{Epoch: f.at.Epoch, Position: 5, Check: 21}
	for _, tc := range []struct {
		cursor core.Cursor
		want   core.GapReason
	}{
		{f.at, core.GapTrimmed},
		{core.Cursor{Epoch: floor.Epoch}, core.GapTrimmed},
		{core.Cursor{Epoch: floor.Epoch, Position: 4, Check: 11}, core.GapTrimmed},
		{floor, 0},
		{core.Cursor{Epoch: floor.Epoch, Position: 5, Check: 22}, core.GapLost},
		{core.Cursor{Epoch: floor.Epoch, Position: 6, Check: 12}, 0},
		{core.Cursor{Epoch: floor.Epoch, Position: 6, Check: 22}, core.GapLost},
		{core.Cursor{Epoch: floor.Epoch, Position: 11, Check: 24}, 0},
		{core.Cursor{Epoch: floor.Epoch, Position: 12, Check: 24}, core.GapLost},
		{core.Cursor{Epoch: floor.Epoch, Position: math.MaxUint64, Check: 21}, core.GapLost},
		{core.Cursor{Epoch: "other", Position: 5, Check: 21}, core.GapEpoch},
	} {
		if got := gap(tc.cursor); got != tc.want {
			t.Errorf("after %+v: gap %q, want %q", tc.cursor, got, tc.want)
		}
	}
	if n := one[int](t, s, `SELECT count(*) FROM log`) + one[int](t, s, `SELECT count(*) FROM batches`); n != 2*7 {
		t.Errorf("%d rows of batches are left, want the floor's and six", n)
	}
	es, err := s.ThreadEvents(ctx, "t", 1, 3)
	if err != nil || len(es) != 3 || es[0].Number != 6 || es[0].Position != 6 || es[2].Position != 8 {
		t.Errorf("events of the thread: %+v, %v", es, err)
	}
	news, err := s.News(ctx, "8:acs:ann", 0, 10)
	if err != nil || len(news) != 1 || news[0].First != 6 {
		t.Errorf("news: %+v, %v", news, err)
	}

	// After all events were trimmed, new events must continue the log after its old end.
	trim(100)
	tip, err := s.Tip(ctx)
	if err != nil || tip.Position != 11 || tip.Check != 24 || gap(tip) != 0 {
		t.Errorf("the end is %+v, %v", tip, err)
	}
	applyAt(t, s, at, 30, text("t", "of a day that was trimmed"))
	sequence(t, s)
	page, err := s.Log(ctx, tip, 10)
	if err != nil || page.Gap != 0 || len(page.Events) != 1 || page.Events[0].Position != 12 {
		t.Errorf("the log goes on with %+v, %v", page, err)
	}
	if records := storetest.Records(t, s); records[len(records)-1].(core.Event).Position != 1 {
		t.Errorf("the export ends with %+v", records[len(records)-1])
	}
}

// TestTrimMixedDays trims a log in which an event of an old day lies between newer ones, and an
// event of a future day between old ones. The floor must stay before the first event to keep.
// The partition of the old day must stay until all its events lie before the floor.
func TestTrimMixedDays(t *testing.T) {
	url := emptyDatabase(t)
	s := open(t, url)
	defer s.Close()
	for i, id := range []string{"a", "future", "b", "new", "old", "newer"} {
		on := at
		switch id {
		case "future":
			on = time.Now().Add(30 * 24 * time.Hour).UnixMilli()
		case "new":
			on = at + 2*day
		case "newer":
			on = at + 5*day
		}
		applyAt(t, s, on, uint32(i+1), newThread(id))
		sequence(t, s)
	}
	check := func(trim uint32, floor int64, kept bool) {
		t.Helper()
		if err := s.Trim(t.Context(), trim); err != nil {
			t.Fatal(err)
		}
		if got := one[int64](t, s, `SELECT position FROM log_floor`); got != floor {
			t.Errorf("trimmed before day %d the floor is %d, want %d", trim, got, floor)
		}
		if got := one[bool](t, s, `SELECT to_regclass($1) IS NOT NULL`, partition(20_000)); got != kept {
			t.Errorf("trimmed before day %d the partition of the old day exists: %t, want %t", trim, got, kept)
		}
		page, err := s.Log(t.Context(), core.Cursor{Epoch: storetest.Initial.Epoch, Position: uint64(floor), Check: uint32(floor)}, 10)
		if err != nil || page.Gap != 0 || len(page.Events) != int(6-floor) {
			t.Errorf("the log after the floor: %+v, %v", page, err)
		}
	}
	check(20_001, 3, true)
	check(20_003, 5, false)
}

// TestWrongClocks lets servers write and trim whose clocks are ten days behind and ten days
// ahead of the database's. Events must get their days by the database's clock, and Trim must
// not delete events of the last days.
func TestWrongClocks(t *testing.T) {
	url := emptyDatabase(t)
	right := open(t, url)
	defer right.Close()
	real := time.Now
	today := core.DayOf(real().UnixMilli())
	for name, off := range map[string]time.Duration{"behind": -10 * 24 * time.Hour, "right": time.Second, "ahead": 10 * 24 * time.Hour} {
		s := open(t, url)
		defer s.Close()
		s.wall = func() time.Time { return real().Add(off) }
		s.now = s.wall
		if err := s.readClock(t.Context()); err != nil {
			t.Fatal(err)
		}
		o := applyAt(t, s, s.wall().UnixMilli(), 1, newThread(name))
		if got := o.Change.Events[0].Day; got != today && got != core.DayOf(real().UnixMilli()) {
			t.Errorf("the event of the server that is %s has day %d, want %d", name, got, today)
		}
		if err := s.Trim(t.Context(), core.DayOf(s.wall().UnixMilli())-2); err != nil {
			t.Fatal(err)
		}
	}
	if got := one[int64](t, right, `SELECT position FROM log_floor`); got != 0 {
		t.Errorf("the floor is %d, want 0", got)
	}
	if n := len(follow(t, right).rest()); n != 3 {
		t.Errorf("the log has %d events, want 3", n)
	}
}

// TestDetachedPartition detaches the partition of a day. The store must attach it again when it
// writes events of that day.
func TestDetachedPartition(t *testing.T) {
	url := emptyDatabase(t)
	s := open(t, url)
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	execute(t, url, `ALTER TABLE events DETACH PARTITION `+partition(20_000))
	mustApply(t, s, core.Applied, text("t", "one"))
	sequence(t, s)
	if n := len(follow(t, s).rest()); n != 2 {
		t.Errorf("the log has %d events, want 2", n)
	}
}

// TestOlderCopy replaces a database by an older copy. The log must report a gap after a cursor of
// the newer state, even if the copy has got the same number of other events since.
func TestOlderCopy(t *testing.T) {
	ctx := context.Background()
	url := emptyDatabase(t)
	s := open(t, url)
	applyAt(t, s, at, 1, newThread("t"))
	sequence(t, s)
	s.Close()
	name := strings.TrimPrefix(url[strings.LastIndex(url, "/"):], "/")
	name, _, _ = strings.Cut(name, "?")
	execute(t, server(t, "TEST_POSTGRES_URL"), "CREATE DATABASE "+name+"_copy TEMPLATE "+name)
	defer execute(t, server(t, "TEST_POSTGRES_URL"), "DROP DATABASE "+name+"_copy WITH (FORCE)")

	s = open(t, url)
	applyAt(t, s, at, 2, text("t", "only in the newer one"))
	applyAt(t, s, at, 3, text("t", "only in the newer one"))
	sequence(t, s)
	newer, err := s.Tip(ctx)
	s.Close()
	if err != nil || newer.Position != 3 {
		t.Fatalf("the newer state ends at %+v, %v", newer, err)
	}
	older := open(t, onServer(t, url, name+"_copy"))
	defer older.Close()
	gap := func(want core.GapReason, c core.Cursor) {
		t.Helper()
		page, err := older.Log(ctx, c, 10)
		if err != nil || page.Gap != want {
			t.Errorf("after %+v: gap %q, %v; want %q", c, page.Gap, err, want)
		}
	}
	gap(core.GapLost, newer)
	for i := range 3 {
		applyAt(t, older, at, uint32(7+i), text("t", "another"))
	}
	sequence(t, older)
	gap(core.GapLost, newer)
	gap(0, core.Cursor{Epoch: newer.Epoch, Position: 1, Check: 1})
	if err := older.RenewEpoch(ctx, "not the epoch", "second"); err != nil {
		t.Fatal(err)
	}
	gap(0, core.Cursor{Epoch: newer.Epoch, Position: 1, Check: 1})
	if err := older.RenewEpoch(ctx, newer.Epoch, "second"); err != nil {
		t.Fatal(err)
	}
	gap(core.GapEpoch, core.Cursor{Epoch: newer.Epoch, Position: 1, Check: 1})
	gap(0, core.Cursor{Epoch: "second", Position: 1, Check: 1})
}

// TestSequenceOfNumbers checks that Open refuses a sequence of batch numbers that has a cache.
// If the sequence is behind the tables, it must be set to the greatest number in use: by Open,
// and when a batch finds its number taken.
func TestSequenceOfNumbers(t *testing.T) {
	ctx := context.Background()
	url := emptyDatabase(t)
	s := open(t, url)
	mustApply(t, s, core.Applied, newThread("t"))
	for range 4 {
		mustApply(t, s, core.Applied, text("t", "before"))
	}
	sequence(t, s)
	s.Close()

	execute(t, url, `ALTER SEQUENCE batch_numbers CACHE 10`)
	if other, err := Open(ctx, url, Options{Initial: storetest.Initial}); err == nil || !strings.Contains(err.Error(), "CACHE 10") {
		t.Errorf("Open with CACHE 10: %v", err)
		if err == nil {
			other.Close()
		}
	}
	execute(t, url, `ALTER SEQUENCE batch_numbers CACHE 1 RESTART`)
	s = open(t, url)
	defer func() { s.Close() }()
	if n := applyAt(t, s, at, 0, text("t", "after a restore")).Change.Events[0].Batch; n != 6 {
		t.Errorf("the batch has number %d, want 6", n)
	}
	execute(t, url, `ALTER SEQUENCE batch_numbers RESTART`)
	if n := applyAt(t, s, at, 0, text("t", "after another one")).Change.Events[0].Batch; n != 7 {
		t.Errorf("the batch has number %d, want 7", n)
	}
	// Empty the table batches, as a Trim of all days does.
	sequence(t, s)
	execute(t, url, `TRUNCATE batches`)
	execute(t, url, `ALTER SEQUENCE batch_numbers RESTART`)
	s.Close()
	s = open(t, url)
	if n := applyAt(t, s, at, 0, text("t", "after all was trimmed")).Change.Events[0].Batch; n != 8 {
		t.Errorf("the batch has number %d, want 8", n)
	}
	sequence(t, s)
	if n := len(follow(t, s).rest()); n != 8 {
		t.Errorf("the log has %d events, want 8", n)
	}
}

// missingNumbers returns the missing batch numbers that the sequencer still looks for.
func missingNumbers(t *testing.T, s *Store) []int64 {
	t.Helper()
	return one[[]int64](t, s, `SELECT missing FROM runs ORDER BY n DESC LIMIT 1`)
}

// TestUnusedNumbers makes attempts that draw a batch number and write no event. After the
// store's next call of Sequence the sequencer must not look for these numbers, even if a call
// of another store has noticed them as missing. A batch that cannot have events must draw no
// number.
func TestUnusedNumbers(t *testing.T) {
	url := emptyDatabase(t)
	s, other := open(t, url), open(t, url)
	defer s.Close()
	defer other.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	sequence(t, s)
	drawn := func() int64 { return one[int64](t, s, `SELECT last_value FROM batch_numbers`) }
	before := drawn()
	bob := core.User{ID: "8:acs:bob", State: core.UserLive}
	mustApply(t, s, core.Applied, &core.Change{Key: bob.ID, ReadUsers: []core.User{{ID: bob.ID}}, PutUsers: []core.User{bob}})
	if drawn() != before {
		t.Error("a batch without events draws a number")
	}
	unused := func() {
		t.Helper()
		before := drawn()
		stale := text("t", "stale")
		stale.Revision = 99
		mustApply(t, s, core.Stale, stale)
		decided := func(status core.Status, c *core.Change, err error) {
			t.Helper()
			again := text("t", "decided again")
			again.Decide = func(core.Rows) (*core.Change, error) { return c, err }
			mustApply(t, s, status, again)
		}
		decided(core.Refused, nil, errors.New("refused"))
		decided(core.Unchanged, &core.Change{}, nil)
		silent := text("t", "a change without an event")
		silent.Events = nil
		decided(core.Applied, silent, nil)
		if n := drawn() - before; n != 4 {
			t.Errorf("%d numbers were drawn, want 4", n)
		}
	}

	unused()
	mustApply(t, s, core.Applied, text("t", "one"))
	sequence(t, s)
	if got := missingNumbers(t, s); len(got) != 0 {
		t.Errorf("the sequencer looks for %v", got)
	}
	unused()
	mustApply(t, s, core.Applied, text("t", "two"))
	sequence(t, other)
	if got := missingNumbers(t, s); len(got) != 4 {
		t.Errorf("the sequencer looks for %v, want four numbers", got)
	}
	if placed := sequence(t, s); len(placed) != 0 || len(missingNumbers(t, s)) != 0 {
		t.Errorf("the next call placed %+v; the sequencer looks for %v", placed, missingNumbers(t, s))
	}
	sequence(t, s)
	if left := s.unused.all(); len(left) != 0 {
		t.Errorf("the store still remembers %v", left)
	}
	if n := len(follow(t, s).rest()); n != 3 {
		t.Errorf("the log has %d events, want 3", n)
	}
}

// TestStandby lets the database say that it is a standby. All reads of the log must fail, and
// so must Writable and another Open.
func TestStandby(t *testing.T) {
	ctx := context.Background()
	url := emptyDatabase(t)
	s := open(t, url)
	mustApply(t, s, core.Applied, newThread("t"))
	sequence(t, s)
	s.Close()
	url += "&search_path=public,pg_catalog"
	s = open(t, url)
	defer s.Close()
	execute(t, url, `CREATE FUNCTION pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'`)
	s.pool.Reset() // replace the connections, whose prepared statements still call the old function
	if other, err := Open(ctx, url, Options{}); err == nil || !strings.Contains(err.Error(), "standby") {
		t.Errorf("open on a standby: %v", err)
		if err == nil {
			other.Close()
		}
	}
	if err := s.Writable(ctx); err == nil || Reason(err) != "it is a standby, which takes no writes" {
		t.Errorf("a standby is writable: %v", err)
	}
	for name, use := range map[string]func() error{
		"Sequence":     func() error { _, err := s.Sequence(ctx); return err },
		"Tip":          func() error { _, err := s.Tip(ctx); return err },
		"Log":          func() error { _, err := s.Log(ctx, core.Cursor{Epoch: "epoch"}, 10); return err },
		"News":         func() error { _, err := s.News(ctx, "8:acs:ann", 0, 10); return err },
		"ThreadEvents": func() error { _, err := s.ThreadEvents(ctx, "t", 1, 10); return err },
		"Tell":         func() error { _, err := s.Tell(ctx, nil); return err },
		"Trim":         func() error { return s.Trim(ctx, 1) },
		"Export":       func() error { return s.Export(ctx, func(core.Record) error { return nil }) },
	} {
		if err := use(); !errors.Is(err, core.ErrUnavailable) || !strings.Contains(err.Error(), "standby") {
			t.Errorf("%s on a standby: %v", name, err)
		}
	}
}

// TestNewsReadsFewRows counts the rows that the query of News reads, for a user in three threads and
// for a user in 1,100, with one batch of events after the position. For the first user, whose list
// is shorter than the log, it must read the list and no events. For the second one it must read only
// the new events and the rows of their threads. A scan of the lists may also pass the three entries
// of the first user.
func TestNewsReadsFewRows(t *testing.T) {
	s := open(t, emptyDatabase(t))
	defer s.Close()
	const few, many = "8:acs:few", "8:acs:many"
	id := func(n int) string { return fmt.Sprintf("19:%032x@thread.v2", n) }
	var created, sends []*core.Change
	for n := range 1100 {
		c := newThread(id(n))
		c.Members[0].User = many
		if n < 3 {
			c.Members = append(c.Members, core.Member{User: few, Order: 2, Intervals: []core.Interval{{}}})
		}
		created = append(created, c)
	}
	for n := range 500 {
		sends = append(sends, text(id(n%10), fmt.Sprint(n)))
	}
	mustApply(t, s, core.Applied, created...)
	mustApply(t, s, core.Applied, sends...)
	sequence(t, s)
	if _, err := s.pool.Exec(t.Context(), "ANALYZE"); err != nil {
		t.Fatal(err)
	}
	end, err := s.Tip(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user                  string
		behind                uint64
		events, members, list float64 // rows that may be read
	}{
		{few, 400, 0, 10, 6},
		{many, 400, 400, 20, 404},
		{many, 3, 3, 6, 7},
		{many, 0, 0, 0, 4},
	} {
		var text []byte
		err := s.pool.QueryRow(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) "+newsSQL, c.user, int64(end.Position-c.behind), 10).Scan(&text)
		if err != nil {
			t.Fatal(err)
		}
		var plans []struct{ Plan planNode }
		if err := json.Unmarshal(text, &plans); err != nil {
			t.Fatal(err)
		}
		plan := plans[0].Plan
		if got := plan.readPartitions("events"); got > c.events {
			t.Errorf("%s, %d events: %.0f events were read, want at most %.0f", c.user, c.behind, got, c.events)
		}
		if got := plan.read("members"); got > c.members {
			t.Errorf("%s, %d events: %.0f members were read, want at most %.0f", c.user, c.behind, got, c.members)
		}
		if got := plan.read("user_threads"); got > c.list {
			t.Errorf("%s, %d events: %.0f entries of lists were read, want at most %.0f", c.user, c.behind, got, c.list)
		}
	}
}

// TestNews writes to three threads of a user. It checks which threads News returns for each
// position, and the number of their first new event. An event without a position does not
// count. After a position that has fewer events behind it than the user has threads News reads
// these events; otherwise it asks each thread for its first new event.
func TestNews(t *testing.T) {
	ctx := context.Background()
	s := open(t, emptyDatabase(t))
	defer s.Close()
	for _, id := range []string{"a", "b", "c"} {
		mustApply(t, s, core.Applied, newThread(id)) // positions 1 to 3
	}
	mustApply(t, s, core.Applied, text("a", "four"), text("a", "five"))
	for range 52 {
		var twenty []*core.Change
		for range 20 {
			twenty = append(twenty, text("b", "six to 1,045"))
		}
		mustApply(t, s, core.Applied, twenty...)
	}
	sequence(t, s)
	mustApply(t, s, core.Applied, text("c", "without a position"))
	mustApply(t, s, core.Applied, text("a", "without a position"))
	for after, want := range map[uint64]string{
		0: "map[a:1 b:1 c:1]", 2: "map[a:2 b:2 c:1]", 3: "map[a:2 b:2]", 4: "map[a:3 b:2]", 5: "map[b:2]", 6: "map[b:3]", 44: "map[b:41]",
		45: "map[b:42]", 1044: "map[b:1041]", 1045: "map[]",
	} {
		news, err := s.News(ctx, "8:acs:ann", after, 10)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]uint64{}
		for _, n := range news {
			got[n.Head.ID] = n.First
			if n.Head.Revision != 1 || n.Member.User != "8:acs:ann" || !n.Member.Present() {
				t.Errorf("news %+v with member %+v", n, n.Member)
			}
		}
		if fmt.Sprint(got) != want {
			t.Errorf("news after %d: %v, want %v", after, got, want)
		}
	}
	if news, err := s.News(ctx, "8:acs:ann", 0, 2); err != nil || len(news) != 2 {
		t.Errorf("two news: %+v, %v", news, err)
	}
	if news, err := s.News(ctx, "8:acs:bob", 0, 2); err != nil || len(news) != 0 {
		t.Errorf("news of a user without threads: %+v, %v", news, err)
	}
	es, err := s.ThreadEvents(ctx, "a", 2, 10)
	if err != nil || len(es) != 2 || es[0].Position != 4 || es[1].Position != 5 || es[1].Number != 3 {
		t.Errorf("events of a: %+v, %v", es, err)
	}
	told, err := s.Tell(ctx, append(es, core.Event{Thread: "a", Number: 1, Kind: core.ThreadCreated}, core.Event{Kind: core.UserRemoved}, core.Event{Thread: "a", MessageID: 1}))
	if err != nil || len(told) != 5 {
		t.Fatalf("told %+v, %v", told, err)
	}
	if told[0].Message == nil || told[0].Message.Content != "four" || told[1].Message.Content != "five" || told[0].Revision != 1 || told[0].Properties != nil || len(told[0].Members) != 0 {
		t.Errorf("told %+v of a message", told[0])
	}
	if len(told[2].Members) != 1 || told[2].Properties == nil || told[2].Properties.Topic != "topic" || told[3].Properties != nil || told[3].Revision != 0 || told[4].Message != nil {
		t.Errorf("told %+v", told[2:])
	}
}

// TestLogMigration creates tables of version 3, with events whose positions have the form of
// that version, and opens the database. The log must have the events in their old order without
// gaps, and new events must follow them.
func TestLogMigration(t *testing.T) {
	type event struct {
		day      uint32
		position int64
		thread   string
		number   uint64
	}
	const xid = 1 << 20
	for name, events := range map[string][]event{
		"no events": nil,
		"transactions": {
			{1, 700*xid + 1, "t", 1}, {1, 700*xid + 2, "u", 1}, {1, 705*xid + 1, "t", 2}, {2, 709*xid + 1, "u", 2},
		},
		"after days were deleted": { // the first events of each transaction were deleted from the log
			{1, 700*xid + 3, "t", 5}, {1, 700*xid + 7, "u", 6}, {2, 705*xid + 2, "t", 6},
		},
		"after an import": {
			{1, 1, "t", 1}, {1, 2, "u", 1}, {2, 3, "t", 2}, {2, xid - 1, "t", 3}, {2, xid, "t", 4}, {3, xid + 1, "u", 2}, {3, 9*xid + 1, "u", 3}, {4, 9*xid + 2, "t", 5},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			url := emptyDatabase(t)
			migrateTo(t, url, 3)
			var sql strings.Builder
			sql.WriteString(`INSERT INTO heads VALUES ('t', 1, '', '', 0, 0, NULL, 0, 0, 0, 0, 0, 0, 0), ('u', 1, '', '', 0, 0, NULL, 0, 0, 0, 0, 0, 0, 0);`)
			for d := 1; d <= 4; d++ {
				fmt.Fprintf(&sql, `CREATE TABLE %[1]s PARTITION OF events FOR VALUES FROM (%[2]d) TO (%[2]d + 1);`, partition(uint32(d)), d)
			}
			for _, e := range events {
				fmt.Fprintf(&sql, `INSERT INTO events VALUES (%d, '%s', %d, %d, 2, 0, 0, 'ann');`, e.day, e.thread, e.number, e.position)
				fmt.Fprintf(&sql, `UPDATE heads SET last_event = %d, last_position = %d, last_day = %d WHERE id = '%s';`, e.number, e.position, e.day, e.thread)
			}
			execute(t, url, sql.String())
			s := open(t, url)
			defer s.Close()
			c := text("t", "after the migration")
			applyAt(t, s, 4*day, 5, c)
			sequence(t, s)
			tip, err := s.Tip(ctx)
			if err != nil || tip.Position != uint64(len(events)+1) || tip.Check != 5 {
				t.Errorf("the log ends at %+v, %v", tip, err)
			}
			page, err := s.Log(ctx, core.Cursor{Epoch: tip.Epoch}, 100)
			if err != nil || page.Gap != 0 || len(page.Events) != len(events)+1 {
				t.Fatalf("the log is %+v, %v", page, err)
			}
			for i, e := range events {
				if got := page.Events[i]; got.Thread != e.thread || got.Number != e.number || got.Position != uint64(i+1) || got.Day != e.day || got.At != 0 {
					t.Errorf("event %d is %+v, want %+v", i+1, got, e)
				}
			}
			if n := one[int](t, s, `SELECT count(*) FROM heads h JOIN events e ON e.thread = h.id AND e.number = h.last_event AND e.position = h.last_position`); n < 1 || len(events) > 0 && n != 2 {
				t.Errorf("%d heads have the place of their last event", n)
			}
			if n := len(storetest.Records(t, s)); n < len(events)+1 {
				t.Errorf("the export has %d records", n)
			}
		})
	}
}

// TestRunsMigration opens a database of version 5 with several rows in the table runs. The
// newest row must stay the newest. A server of version 5 calls the sequencer with two
// parameters; this call must still give positions.
func TestRunsMigration(t *testing.T) {
	url := emptyDatabase(t)
	migrateTo(t, url, 5)
	execute(t, url, `INSERT INTO runs (last, high, missing, missed_at) VALUES (7, 9, '{3,8}', '{1,1}'), (5, 6, '{3}', '{1}');
		INSERT INTO log (last, batch, events, batch_check, day) VALUES (7, 9, 7, 0, 20000); SELECT setval('batch_numbers', 9)`)
	s := open(t, url)
	defer s.Close()
	if got := missingNumbers(t, s); !slices.Equal(got, []int64{3, 8}) {
		t.Errorf("the newest run misses %v, want 3 and 8", got)
	}
	mustApply(t, s, core.Applied, newThread("t"))
	if last := one[int64](t, s, `SELECT last FROM place_batches(10, '{}')`); last != 8 {
		t.Errorf("the batch has position %d, want 8", last)
	}
	if got := missingNumbers(t, s); len(got) != 0 { // they were missing since 1970
		t.Errorf("the numbers %v are missing", got)
	}
}

// migrateTo creates the tables of a version in an empty database.
func migrateTo(t *testing.T, url string, version int64) {
	t.Helper()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	table, err := database.NewStore(database.DialectPostgres, versions)
	if err != nil {
		t.Fatal(err)
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	p, err := goose.NewProvider("", db, files, goose.WithStore(table), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
}

// TestImportedBatches imports events as batches of at most two events. The log must have all
// events in order.
func TestImportedBatches(t *testing.T) {
	defer func(was int) { maxImported = was }(maxImported)
	maxImported = 2
	from, to := open(t, emptyDatabase(t)), open(t, emptyDatabase(t))
	defer from.Close()
	defer to.Close()
	mustApply(t, from, core.Applied, newThread("t"))
	for d := range int64(3) {
		for range 5 {
			applyAt(t, from, at+d*day, 1, text("t", "x"))
		}
	}
	gone := core.User{ID: "8:acs:bob", State: core.UserDeleting}
	applyAt(t, from, at, 1, &core.Change{Key: gone.ID, PutUsers: []core.User{gone}, ReadUsers: []core.User{{ID: gone.ID}}, Events: []core.Event{{Kind: core.UserRemoved, Actor: gone.ID}}})
	records := storetest.Records(t, from)
	last := records[len(records)-1].(core.Event)
	if last.Position != 17 || last.Number != 17 || last.Thread != "" || last.Check != 0 {
		t.Errorf("the export ends with %+v", last)
	}
	if err := to.Import(t.Context(), storetest.Reading(records)); err != nil {
		t.Fatal(err)
	}
	es, err := storetest.Events(t.Context(), to)
	if err != nil || len(es) != 17 {
		t.Fatalf("the log has %d events, %v", len(es), err)
	}
	for i, e := range es[:16] {
		if e.Position != uint64(i+1) || e.Number != uint64(i+1) {
			t.Errorf("event %d is %+v", i+1, e)
		}
	}
	if n := one[int](t, to, `SELECT count(*) FROM log`); n != 3+3+3 {
		t.Errorf("the log has %d batches, want 9", n)
	}
	if n := applyAt(t, to, at, 1, text("t", "after the import")).Change.Events[0].Batch; n <= one[uint64](t, to, `SELECT max(batch) FROM log`) {
		t.Errorf("the next batch has number %d", n)
	}
	sequence(t, to)
	if es, err := storetest.Events(t.Context(), to); err != nil || len(es) != 18 {
		t.Errorf("the log has %d events, %v", len(es), err)
	}
}
