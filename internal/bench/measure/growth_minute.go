package measure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/bench/load"
	"github.com/confab-chat/confab/internal/bench/seed"
)

// watched is the length of the two spans in which the answer times of other senders are compared:
// before and after the begin of a first send, which is the first message to a thread in a minute of
// the clock.
const watched = 100 * time.Millisecond

// others is the number of connections that send messages to threads of two members while a first
// send of a minute is measured. They are few, so that they do not wait for a processor.
const others = 2

// minutes measures the first message of a minute to a large thread. This message moves the thread
// in the lists of threads of all its members. Meanwhile other connections send to other threads.
func (g *growth) minutes(ctx context.Context) error {
	took, waited, before := make([][]float64, len(g.stores)), make([][]float64, len(g.stores)), make([][]float64, len(g.stores))
	for n := range g.Rounds {
		for _, i := range load.Order(n, len(g.stores)) {
			s := g.stores[i]
			for _, t := range s.world.Still[n*stillPerRound : (n+1)*stillPerRound] {
				f, err := g.firstSend(ctx, s, t)
				if err != nil {
					return fmt.Errorf("first send of a minute at %d messages: %w", s.messages, err)
				}
				took[i], waited[i], before[i] = append(took[i], f.took), append(waited[i], f.during), append(before[i], f.before)
			}
		}
	}
	for i, s := range g.stores {
		extra := make([]float64, len(waited[i]))
		for j := range extra {
			extra[j] = max(0, waited[i][j]-before[i][j])
		}
		g.report.Minutes = append(g.report.Minutes, GrownMinute{
			Messages: s.messages, Members: g.o.Members, Samples: len(extra),
			Took: load.Median(took[i]), Before: load.Median(before[i]), During: load.Median(waited[i]), Extra: load.Median(extra),
		})
	}
	return nil
}

// firstSend has times in milliseconds: how long the first message of a minute to a thread took, and
// the longest time that another connection waited for an answer before and after the begin of that
// send.
type firstSend struct{ took, before, during float64 }

// waits records the longest times that other connections waited for an answer, before and during
// the first message of a minute to a large thread.
type waits struct {
	mu    sync.Mutex // guards the fields below
	first time.Time  // when the measured send, the first of a minute, began; zero before that
	// true when the span after the measured send is over, so that later requests are ignored
	ended          bool
	before, during time.Duration
	answers        int // before
}

// note records how long a request of another connection took. A request counts as during the
// measured send if it ends after that send has begun.
func (w *waits) note(began, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch took := now.Sub(began); {
	case w.ended && began.After(w.first.Add(watched)):
	case w.first.IsZero():
		w.before, w.answers = max(w.before, took), w.answers+1
	default:
		w.during = max(w.during, took)
	}
}

func (g *growth) firstSend(ctx context.Context, s *grown, t seed.Thread) (f firstSend, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := load.Dial(ctx, s.server)
	if err != nil {
		return f, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	// Read the list of members once before the measurement, as any earlier request would have done,
	// so that reading it is not measured.
	if err := answers(conn, http.StatusOK, get(s.server, t.Bearers[0], "/chat/threads/"+t.ID+"/participants?maxPageSize=1&"+apiVersion)); err != nil {
		return f, err
	}
	var rooms load.World
	for _, room := range s.world.Rooms {
		rooms.Threads = append(rooms.Threads, room.Thread)
	}
	sends := load.NewSends(s.server, rooms, g.Size, others).Load()
	w := &waits{}
	failed := make(chan error, others)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel() // before the wait
	for i := range others {
		running.Go(func() { failed <- w.send(ctx, s.server, sends, i) })
	}
	pause := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case err := <-failed:
			return err
		}
	}
	if err := pause(watched); err != nil { // connections and caches
		return f, err
	}
	w.mu.Lock()
	w.before = 0
	w.mu.Unlock()
	if err := pause(watched); err != nil {
		return f, err
	}
	began := time.Now()
	w.mu.Lock()
	w.first = began
	w.mu.Unlock()
	if err := answers(conn, http.StatusCreated, post(s.server, t.Bearers[0], "/chat/threads/"+t.ID+"/messages", `{"content":"the first of a minute","type":"text"}`)); err != nil {
		return f, err
	}
	took := time.Since(began)
	if err := pause(max(0, watched-took)); err != nil {
		return f, err
	}
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	cancel()
	running.Wait()
	if w.answers == 0 {
		return f, errors.New("the others got no answer")
	}
	return firstSend{milliseconds(took), milliseconds(w.before), milliseconds(w.during)}, nil
}

// send sends messages until ctx is done, and records how long each answer took. It returns nil when
// ctx is done.
func (w *waits) send(ctx context.Context, s *load.Server, l load.Load, connection int) error {
	conn, err := load.Dial(ctx, s)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	for n := 0; ctx.Err() == nil; n++ {
		request := l.Request(nil, connection, n)
		began := time.Now()
		status, body, err := conn.Do(request)
		if err == nil && status != l.Status {
			err = fmt.Errorf("status %d, want %d: %s", status, l.Status, body)
		}
		if err == nil {
			w.note(began, time.Now())
			err = l.Answered(connection, n, body)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// answers sends a request. It fails if the response does not have the given status.
func answers(conn *load.Conn, status int, request string) error {
	got, body, err := conn.Do([]byte(request))
	if err == nil && got != status {
		err = fmt.Errorf("status %d, want %d: %s", got, status, body)
	}
	return err
}
