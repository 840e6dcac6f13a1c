package bench_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/postgres"
)

// sequencing measures how long events in PostgreSQL wait for their positions in the event log.
type sequencing struct {
	database string
	senders  []int // numbers of concurrent senders; each number is measured
	rounds   int
	span     time.Duration
	out      io.Writer
}

// run measures how long an event waits, after its commit, for its position in the event log:
// until then, no client of the server can receive the event. run prints this time beside two
// others. One is the time of a transaction that writes a single row; run executes a hundred of
// these per second during the measurement. The other is the time of a batch, the transaction in
// which the server stores all changes that were waiting. run returns one sentence for each time
// that exceeds its limit.
func (o sequencing) run(t *testing.T) (missed []string) {
	t.Helper()
	ctx := t.Context()
	s, err := postgres.Open(ctx, o.database, postgres.Options{Initial: resumeResource})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	store := &timedStore{Store: s}
	bus := &timingBus{committed: map[eventKey]time.Time{}, early: map[eventKey]bool{}, store: store}
	c, err := core.New(ctx, store, bus, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn, err := pgx.Connect(ctx, o.database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(ctx, "CREATE TABLE bench (n int)"); err != nil {
		t.Fatal(err)
	}
	ann := newUser(t, c)
	threads := make([]string, 200)
	for i := range threads {
		made, _, err := c.CreateThread(ctx, ann.ID, core.CreateThread{Topic: fmt.Sprint("thread ", i)})
		if err != nil {
			t.Fatal(err)
		}
		threads[i] = made.ID
	}
	if _, err := s.Sequence(ctx); err != nil {
		t.Fatal(err)
	}
	from, err := s.Tip(ctx)
	if err != nil {
		t.Fatal(err)
	}
	feed := core.NewFeed(store, bus, from, core.FeedOptions{Failed: func(err error) { t.Error(err) }})
	running, stop := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() {
		if err := feed.Run(running, bus.placed); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	defer following.Wait()
	defer stop()

	fmt.Fprintf(o.out, "\nfrom a commit to a position, PostgreSQL: medians of %d rounds of %v; a commit is one of a row, at the same time\n\n", o.rounds, o.span)
	fmt.Fprintf(o.out, "%8s | %9s | %12s %11s | %12s | %12s %11s | %10s %4s %10s\n", "senders", "sends/s", "commit p50", "p99", "batch p50", "position p50", "p99", "p50/commit", "bar", "p50/batch")
	for _, senders := range o.senders {
		var rates, ratios, p50s, p99s, commits, tails, batches, ofBatch, befores, calls, afters, reads []float64
		for round := range o.rounds + 1 {
			bus.take()
			store.take()
			var took []time.Duration
			var committing sync.WaitGroup
			committing.Go(func() {
				pace(t, 100, o.span, timed(&took, func(int) error {
					_, err := conn.Exec(ctx, "INSERT INTO bench VALUES (1)")
					return err
				}))
			})
			sent := 0
			var sending sync.WaitGroup
			var mu sync.Mutex // guards sent
			start := time.Now()
			for i := range senders {
				sending.Go(func() {
					for n := i; time.Since(start) < o.span; n += senders {
						if _, err := c.SendMessage(ctx, ann.ID, threads[n%len(threads)], core.SendMessage{Kind: core.Text, Content: strings.Repeat("x", 128)}); err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						sent++
						mu.Unlock()
					}
				})
			}
			sending.Wait()
			rate := float64(sent) / time.Since(start).Seconds()
			committing.Wait()
			until(t, "all events have positions", bus.idle)
			waited, before, call, after := bus.take()
			applied, called, read := store.take()
			if round == 0 {
				continue // warm now
			}
			if len(waited) == 0 || len(took) == 0 {
				t.Fatalf("%d events, %d commits", len(waited), len(took))
			}
			slices.Sort(took)
			slices.Sort(waited)
			slices.Sort(applied)
			slices.Sort(before)
			slices.Sort(call)
			slices.Sort(after)
			ms := func(ds []time.Duration, part float64) float64 {
				return float64(ds[int(float64(len(ds)-1)*part)].Microseconds()) / 1000
			}
			rates, ratios = append(rates, rate), append(ratios, ms(waited, 0.5)/ms(took, 0.5))
			commits, tails = append(commits, ms(took, 0.5)), append(tails, ms(took, 0.99))
			batches, ofBatch = append(batches, ms(applied, 0.5)), append(ofBatch, ms(waited, 0.5)/ms(applied, 0.5))
			reads = append(reads, float64(read)/float64(called))
			befores, calls, afters = append(befores, ms(before, 0.5)), append(calls, ms(call, 0.5)), append(afters, ms(after, 0.5))
			p50s, p99s = append(p50s, ms(waited, 0.5)), append(p99s, ms(waited, 0.99))
		}
		fmt.Fprintf(o.out, "%8d | %9.0f | %9.2f ms %8.2f ms | %9.2f ms | %9.2f ms %8.2f ms | %10.2f %4d %10.2f\n", senders, middle(rates),
			middle(commits), middle(tails), middle(batches), middle(p50s), middle(p99s), middle(ratios), 2, middle(ofBatch))
		fmt.Fprintf(o.out, "%8s   p50 of its parts: until the call of the sequencer begins %.2f ms, the call %.2f ms, from its end to the reader %.2f ms; %.2f reads of the log for each call\n", "", middle(befores), middle(calls), middle(afters), middle(reads))
		if r := middle(ratios); r > 2 {
			missed = append(missed, fmt.Sprintf("%d senders: an event waits %.2f times a commit for its position, want at most 2", senders, r))
		}
	}
	return missed
}

// timedStore is a store that records how long its batches take, and when its method Sequence gives
// positions in the event log.
type timedStore struct {
	*postgres.Store

	mu           sync.Mutex // guards the fields below
	took         []time.Duration
	begun, ended time.Time // when the last call of Sequence began and ended
	calls, reads int       // number of calls of Sequence, and number of reads of the log
}

// Log reads the event log and counts the read.
func (s *timedStore) Log(ctx context.Context, after core.Cursor, limit int) (core.LogPage, error) {
	s.mu.Lock()
	s.reads++
	s.mu.Unlock()
	return s.Store.Log(ctx, after, limit)
}

// Sequence gives the events of batches their positions in the event log. It records when it began
// and ended.
func (s *timedStore) Sequence(ctx context.Context) ([]core.Placed, error) {
	begun := time.Now()
	placed, err := s.Store.Sequence(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun, s.ended = begun, time.Now()
	s.calls++
	return placed, err
}

// Apply stores a batch and records how long that takes.
func (s *timedStore) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	start := time.Now()
	outcomes, err := s.Store.Apply(ctx, b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, time.Since(start))
	return outcomes, err
}

// take returns figures since its previous call: the durations of the batches, the number of calls
// of Sequence, and the number of reads of the log.
func (s *timedStore) take() (took []time.Duration, calls, reads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	took, calls, reads = s.took, s.calls, s.reads
	s.took, s.calls, s.reads = nil, 0, 0
	return took, calls, reads
}

// eventKey identifies an event by its thread and its number in the thread.
type eventKey struct {
	thread string
	number uint64
}

// timingBus is a bus that measures how long events wait for their positions in the event log.
type timingBus struct {
	local.Bus
	store *timedStore

	mu        sync.Mutex // guards the fields below
	committed map[eventKey]time.Time
	early     map[eventKey]bool // events that were handed on from the log before Publish was called
	waited    []time.Duration
	before    []time.Duration // the first part of waited: until the call of Sequence begins
	call      []time.Duration // the second part of waited: until this call ends
	after     []time.Duration // the last part of waited: from then until the feed hands the event on
}

// Publish implements core.Bus. It records the time, because it is called right after the
// commit.
func (b *timingBus) Publish(hs []*core.Happening) {
	now := time.Now()
	b.mu.Lock()
	for _, h := range hs {
		if key := (eventKey{h.Thread, h.Number}); b.early[key] {
			delete(b.early, key)
		} else {
			b.committed[key] = now
		}
	}
	b.mu.Unlock()
	b.Bus.Publish(hs)
}

// placed is called with events that have their positions in the event log now. It records how long
// they waited for these.
func (b *timingBus) placed(hs []*core.Happening) {
	now := time.Now()
	b.store.mu.Lock()
	begun, ended := b.store.begun, b.store.ended
	b.store.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range hs {
		key := eventKey{h.Thread, h.Number}
		if at, ok := b.committed[key]; ok {
			b.waited = append(b.waited, now.Sub(at))
			// the call of Sequence may have begun before the commit and still have found the batch
			if begun.Before(at) {
				begun = at
			}
			b.before, b.call, b.after = append(b.before, begun.Sub(at)), append(b.call, ended.Sub(begun)), append(b.after, now.Sub(ended))
			delete(b.committed, key)
		} else {
			b.early[key] = true
		}
	}
}

// idle reports whether all committed events have their positions.
func (b *timingBus) idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.committed) == 0
}

// take returns how long events waited since its previous call, and the three parts of these times.
func (b *timingBus) take() (waited, before, call, after []time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	waited, before, call, after = b.waited, b.before, b.call, b.after
	b.waited, b.before, b.call, b.after = nil, nil, nil, nil
	return waited, before, call, after
}

// TestSequencingFigures prints how long events wait for their positions in the event log. It does
// not fail if a figure exceeds its limit, because the figures depend on the machine.
func TestSequencingFigures(t *testing.T) {
	if os.Getenv("TEST_FIGURES") == "" {
		t.Skip("set TEST_FIGURES=1 to measure: it takes half a minute")
	}
	address := database(t)
	if address == "" {
		return
	}
	for _, m := range (sequencing{database: address, senders: []int{1, 64}, rounds: rounds(5), span: 2 * time.Second, out: os.Stdout}).run(t) {
		fmt.Println("bar missed:", m)
	}
}

// TestSequencingRuns measures for a short time how long events wait for their positions in the
// event log. It checks that a line is printed for each number of senders.
func TestSequencingRuns(t *testing.T) {
	if os.Getenv("TEST_POSTGRES_URL") == "" {
		t.Skip("set TEST_POSTGRES_URL to measure positions: scripts/postgres -- go test ./internal/bench")
	}
	var out strings.Builder
	sequencing{database: database(t), senders: []int{1, 3}, rounds: 1, span: 200 * time.Millisecond, out: &out}.run(t)
	for _, want := range []string{"\n       1 |", "\n       3 |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}
