package bench

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/internal/bench/load"
	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/sdk/communication"
)

const messageSize = 128 // bytes of content

// contents are texts of messages made of ordinary words, which compress about as well as real
// messages.
var contents = func() (all [256]string) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range all {
		all[i] = load.Text(random, messageSize)
	}
	return all
}()

// stand is an embedded store for measurements without HTTP, with one user and some threads of
// that user.
type stand struct {
	store   *pebble.Store
	core    *core.Service
	threads []string
	user    string
}

func newStand(ctx context.Context, dir string, threads, members int) (*stand, error) {
	store, err := pebble.Open(dir, pebble.Options{Initial: core.Resource{
		ID: "11111111-2222-4333-8444-555555555555", Keys: [2]core.AccessKeyRow{{Secret: make([]byte, 64)}, {Secret: make([]byte, 64)}},
	}})
	if err != nil {
		return nil, err
	}
	st := &stand{store: store}
	if st.core, err = core.New(ctx, store, new(local.Bus), core.Options{}); err != nil {
		return nil, err
	}
	var users []core.NewParticipant
	for range members {
		u, err := st.core.CreateUser(ctx)
		if err != nil {
			return nil, err
		}
		users = append(users, core.NewParticipant{User: communication.ParseRawID(u.ID)})
	}
	st.user = users[0].User.RawID()
	for i := range threads {
		t, _, err := st.core.CreateThread(ctx, st.user, core.CreateThread{Topic: fmt.Sprint("thread ", i), Participants: users})
		if err != nil {
			return nil, err
		}
		st.threads = append(st.threads, t.ID)
	}
	return st, nil
}

func (st *stand) close() error {
	st.core.Close()
	return st.store.Close()
}

// send sends the nth message to one of the store's threads.
func (st *stand) send(ctx context.Context, n int) error {
	m := core.SendMessage{Kind: core.Text, Content: contents[n%len(contents)]}
	_, err := st.core.SendMessage(ctx, st.user, st.threads[n%len(st.threads)], m)
	return err
}

// run sends messages to all threads from concurrent senders for the time span. It returns the
// number of messages that were stored per second, and how long a send took.
func (st *stand) run(ctx context.Context, senders int, span time.Duration) (rate float64, wait Latency, err error) {
	var failure atomic.Pointer[error]
	rate, wait = repeat(senders, span, func(sender, n int) bool {
		err := st.send(ctx, sender*7919+n)
		if err != nil {
			failure.Store(&err)
		}
		return err == nil
	})
	if err := failure.Load(); err != nil {
		return 0, Latency{}, *err
	}
	return rate, wait, nil
}

// repeat calls the function do from the given number of goroutines for the time span. It passes the
// index of the goroutine and the number of the call in that goroutine. A goroutine ends early if do
// returns false. repeat returns the number of calls per second and how long they took; both are 0
// if no call began within the span.
func repeat(goroutines int, span time.Duration, do func(index, n int) bool) (rate float64, l Latency) {
	var wg sync.WaitGroup
	took := make([][]time.Duration, goroutines)
	start := time.Now()
	end := start.Add(span)
	for i := range goroutines {
		wg.Go(func() {
			for n := 0; ; n++ {
				t := time.Now()
				if t.After(end) || !do(i, n) {
					return
				}
				took[i] = append(took[i], time.Since(t))
			}
		})
	}
	wg.Wait()
	all := slices.Concat(took...)
	if len(all) == 0 {
		return 0, Latency{}
	}
	rate = float64(len(all)) / time.Since(start).Seconds()
	return rate, Latency{quantile(all, 0.5), quantile(all, 0.99)}
}

// quantile returns the q-quantile of xs, such as the median for a q of 0.5. It sorts xs, which must
// not be empty.
func quantile[T cmp.Ordered](xs []T, q float64) T {
	slices.Sort(xs)
	return xs[min(int(q*float64(len(xs))), len(xs)-1)]
}

// footprint sends n messages and compacts the store. It returns two figures in bytes per message,
// from Pebble's metrics: written is what the store writes to the disk, and kept is what remains in
// the tables.
func (st *stand) footprint(ctx context.Context, n int) (written, kept float64, err error) {
	if err := st.store.Compact(ctx); err != nil {
		return 0, 0, err
	}
	before := st.store.Stats()
	if err := st.fill(ctx, n); err != nil {
		return 0, 0, err
	}
	if err := st.store.Compact(ctx); err != nil {
		return 0, 0, err
	}
	after := st.store.Stats()
	return float64(after.Written-before.Written) / float64(n), float64(after.Tables-before.Tables) / float64(n), nil
}

// Fill creates a store in dir and stores n messages in it. It leaves the store open, so
// that a test can kill the process.
func Fill(ctx context.Context, dir string, n int) error {
	st, err := newStand(ctx, dir, 1000, 10)
	if err != nil {
		return err
	}
	return st.fill(ctx, n)
}

// fill sends n messages from 256 concurrent senders.
func (st *stand) fill(ctx context.Context, n int) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	var failure atomic.Pointer[error]
	for range 256 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n) && failure.Load() == nil; i = next.Add(1) {
				if err := st.send(ctx, int(i)); err != nil {
					failure.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := failure.Load(); err != nil {
		return *err
	}
	return nil
}
