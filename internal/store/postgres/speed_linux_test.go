package postgres

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/confab-chat/confab/internal/core"
)

// TestSendFigures prints what a send costs with 64 and 256 senders, without HTTP: the processor
// time of this process and of the database, and the round trips of a batch. It never fails
// because of a figure. TEST_FIGURES_URL_OPTIONS may have settings to add to the database's URL.
func TestSendFigures(t *testing.T) {
	if os.Getenv("TEST_FIGURES") == "" || os.Getenv("TEST_POSTGRES_DATA") == "" {
		t.Skip("TEST_FIGURES or TEST_POSTGRES_DATA is not set")
	}
	url := emptyDatabase(t)
	if more := os.Getenv("TEST_FIGURES_URL_OPTIONS"); more != "" {
		url += "&" + more
	}
	s := open(t, url)
	defer s.Close()
	trips := trace(t, s)
	byLane := fillLanes(t, s, 1000)
	for _, listening := range []bool{false, true} {
		for _, senders := range []int{2, 16, 64, 256, 1024} {
			for round := range 2 {
				trips.take()
				ours, theirs := processTime(), databaseTime(t)
				var committed chan struct{}
				stopSequencing := func() {}
				if listening {
					committed = make(chan struct{}, 1)
					stopSequencing = sequenceAfter(t, s, committed)
				}
				var sent atomic.Int64
				rate := perSecond(func(stop <-chan struct{}, n *atomic.Int64) {
					groupCommit(t, s, byLane, senders, committed, stop, n)
					sent.Store(n.Load())
				})
				stopSequencing()
				ours, theirs = processTime()-ours, databaseTime(t)-theirs
				if round == 0 {
					continue // warm now
				}
				per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(sent.Load()) }
				t.Logf("listening %-5v %4d senders: %6.0f sends/s, CPU of a send: ours %.1f µs, database %.1f µs; %s", listening, senders, rate, per(ours), per(theirs), trips.take())
			}
		}
	}
}

// trace makes the store use connections that are traced.
func trace(t *testing.T, s *Store) *tripTimes {
	t.Helper()
	trips := &tripTimes{}
	config := s.pool.Config()
	config.ConnConfig.Tracer = trips
	traced, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	s.pool.Close()
	s.pool = traced
	return trips
}

// sequenceAfter calls the sequencer after batches are committed, as a feed does, until the returned
// function is called.
func sequenceAfter(t *testing.T, s *Store, committed <-chan struct{}) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-committed:
			}
			if _, err := s.Sequence(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// TestSendStatements applies batches of sends. Each batch must take two round trips, with the same
// number of statements however many sends it has. The updates of heads must be HOT (PostgreSQL's
// heap-only tuples), which write no index: no index has a column that a send changes, and pages
// keep space for a third of their rows. A batch that changes all heads of a page needs more space,
// so not all updates are HOT.
func TestSendStatements(t *testing.T) {
	url := emptyDatabase(t)
	s := open(t, url)
	trips := trace(t, s)
	byLane := fillLanes(t, s, 500)
	send := func(n int) (statements, roundTrips int) {
		b := core.Batch{At: at}
		for i := range n {
			b.Changes = append(b.Changes, text(byLane[0][i%len(byLane[0])], "content"))
		}
		trips.take()
		if _, err := s.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		return trips.statements, len(trips.lock) + len(trips.write)
	}
	send(1) // moves threads in the lists
	for _, n := range []int{1, 2, 64, 1000} {
		statements, roundTrips := send(n)
		t.Logf("a batch of %d sends: %d statements in %d round trips", n, statements, roundTrips)
		if statements != 12 || roundTrips != 2 {
			t.Errorf("a batch of %d sends: %d statements in %d round trips, want 12 in 2", n, statements, roundTrips)
		}
	}
	for range 50 {
		send(64)
	}
	s.Close() // close the store, so that the database counts the updates of the store's connections

	conn := dial(t, url)
	defer conn.Close(context.Background())
	var definitions string
	if err := conn.QueryRow(t.Context(), `SELECT string_agg(pg_get_indexdef(indexrelid), '; ') FROM pg_index WHERE indrelid = 'heads'::regclass`).Scan(&definitions); err != nil {
		t.Fatal(err)
	}
	for _, name := range heads.names {
		if strings.HasPrefix(name, "last_") && strings.Contains(definitions, name) {
			t.Errorf("a send changes %s, which an index has: %s", name, definitions)
		}
	}
	const want = 1 + 1 + 2 + 64 + 50*64
	eventually(t, func() error {
		var updates, hot int
		if err := conn.QueryRow(t.Context(), `SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'heads'`).Scan(&updates, &hot); err != nil {
			return err
		}
		if updates < want || hot < updates*9/10 {
			return fmt.Errorf("%d updates of heads, %d of them HOT; want %d and 90 %%", updates, hot, want)
		}
		t.Logf("%d updates of heads, %d of them HOT", updates, hot)
		return nil
	})
}

// fillLanes creates threads and returns their ids by lane.
func fillLanes(t *testing.T, s *Store, threads int) (byLane [][]string) {
	t.Helper()
	byLane = make([][]string, lanes)
	creates := make([][]*core.Change, lanes)
	for n := range threads {
		id := fmt.Sprintf("19:%032x@thread.v2", n)
		lane := core.LaneOf(id, lanes)
		byLane[lane], creates[lane] = append(byLane[lane], id), append(creates[lane], newThread(id))
	}
	for _, batch := range creates {
		mustApply(t, s, core.Applied, batch...)
	}
	return byLane
}

// processTime returns the processor time that this process has used.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// databaseTime returns the processor time that the processes of the test's PostgreSQL server have
// used, including processes that have ended.
func databaseTime(t *testing.T) (all time.Duration) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(os.Getenv("TEST_POSTGRES_DATA"), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	postmaster, _, _ := strings.Cut(string(file), "\n")
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // the process has ended
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		times := fields[11:13] // user and system time, in hundredths of a second
		switch {
		case name == "/proc/"+postmaster+"/stat":
			times = fields[13:15] // times of the server's child processes that have ended
		case fields[1] != postmaster:
			continue
		}
		for _, ticks := range times {
			n, _ := strconv.Atoi(ticks)
			all += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return all
}

// tripTimes is a tracer that measures round trips.
type tripTimes struct {
	mu         sync.Mutex // guards the fields below
	statements int
	lock       []time.Duration // first round trips of batches
	write      []time.Duration // last round trips of batches
	locked     []time.Duration // times from the end of a batch's first round trip to the end of its last one
	place      []time.Duration // calls of the sequencer
	since      map[*pgx.Conn]time.Time
}

type tripKey struct{}

type trip struct {
	begun       time.Time
	lock, write bool
}

// TraceBatchStart implements pgx.BatchTracer.
func (t *tripTimes) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	queries := data.Batch.QueuedQueries
	has := func(part string) bool {
		return slices.ContainsFunc(queries, func(q *pgx.QueuedQuery) bool { return strings.Contains(q.SQL, part) })
	}
	is := trip{begun: time.Now(), lock: has("INSERT INTO writers"), write: has("INTO messages")}
	if is.lock || is.write {
		t.mu.Lock()
		t.statements += len(queries)
		t.mu.Unlock()
	}
	return context.WithValue(ctx, tripKey{}, is)
}

// TraceBatchQuery implements pgx.BatchTracer.
func (t *tripTimes) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements pgx.BatchTracer.
func (t *tripTimes) TraceBatchEnd(ctx context.Context, conn *pgx.Conn, _ pgx.TraceBatchEndData) {
	now := time.Now()
	is, _ := ctx.Value(tripKey{}).(trip)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case is.lock && !is.write:
		t.lock = append(t.lock, now.Sub(is.begun))
		if t.since == nil {
			t.since = map[*pgx.Conn]time.Time{}
		}
		t.since[conn] = now
	case is.write:
		t.write, t.locked = append(t.write, now.Sub(is.begun)), append(t.locked, now.Sub(t.since[conn]))
	}
}

// TraceQueryStart implements pgx.QueryTracer.
func (t *tripTimes) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, "place_batches") {
		return context.WithValue(ctx, tripKey{}, time.Now())
	}
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (t *tripTimes) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if begun, ok := ctx.Value(tripKey{}).(time.Time); ok {
		t.mu.Lock()
		t.place = append(t.place, time.Since(begun))
		t.mu.Unlock()
	}
}

// take returns the figures as text and begins anew.
func (t *tripTimes) take() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	median := func(ds []time.Duration) time.Duration {
		if len(ds) == 0 {
			return 0
		}
		slices.Sort(ds)
		return ds[len(ds)/2].Round(10 * time.Microsecond)
	}
	text := fmt.Sprintf("a batch: %.1f statements in %.1f round trips, medians: first %v, last %v, locks held from the end of the first on %v; %d batches, %d calls of the sequencer of %v",
		float64(t.statements)/float64(max(1, len(t.write))), float64(len(t.lock)+len(t.write))/float64(max(1, len(t.write))), median(t.lock), median(t.write), median(t.locked),
		len(t.write), len(t.place), median(t.place))
	t.statements, t.lock, t.write, t.locked, t.place = 0, nil, nil, nil, nil
	return text
}
