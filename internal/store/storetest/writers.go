package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

// TwoWriters tests two stores that write to the same data at the same time: one store may compute a
// change from rows that the other store has changed since. It needs Engine.Second.
func TwoWriters(t *testing.T, e Engine) {
	if e.Second == nil {
		t.Skip("this engine locks its folder: there is never a second writer")
	}
	t.Run("renames and sends", func(t *testing.T) { testRenamesAndSends(t, e) })
	t.Run("histories", func(t *testing.T) { testTwoWriterHistories(t, e) })
}

func testRenamesAndSends(t *testing.T, e Engine) {
	first := e.Open(t)
	defer closeStore(t, first)
	second := e.Second(t, first)
	defer closeStore(t, second)

	const threads, rounds = 4, 200
	for n := range threads {
		apply(t, first, start, create(thread(n), "", user(n)))
	}
	var mu sync.Mutex // guards applied
	applied := map[string]map[string]bool{}
	var wg sync.WaitGroup
	for w, s := range []core.Store{first, second} {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range rounds {
				id := thread(random.IntN(threads))
				head, err := s.Thread(context.Background(), id)
				if err != nil {
					t.Errorf("load: %v", err)
					return
				}
				c := send(id, head.Revision, user(w), "", fmt.Sprintf("%d by writer %d", i, w))
				if random.IntN(10) == 0 {
					c = &core.Change{Key: id, Thread: id, Revision: head.Revision, Properties: &head.Properties}
				}
				if rs := apply(t, s, start+int64(i), c); rs[0].Status == core.Applied && len(c.Messages) > 0 {
					mu.Lock()
					if applied[id] == nil {
						applied[id] = map[string]bool{}
					}
					applied[id][c.Messages[0].Content] = true
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for n := range threads {
		id := thread(n)
		page := messages(t, second, core.MessagesQuery{Thread: id, Limit: 2*rounds + 3})
		if got, want := len(page.Messages), len(applied[id])+2; got != want {
			t.Errorf("%s has %d messages, want %d", id, got, want)
		}
		for i, m := range page.Messages {
			if want := uint64(len(page.Messages) - i); m.Sequence != want {
				t.Errorf("%s: sequence %d in place of %d", id, m.Sequence, want)
			}
			if m.Kind == core.Text && !applied[id][m.Content] {
				t.Errorf("%s holds %q, which was not acknowledged or is there twice", id, m.Content)
			}
			delete(applied[id], m.Content)
		}
	}
}

// testTwoWriterHistories lets two stores write random changes at the same time, computed from
// rows that may be outdated. Then it replays the acknowledged changes of each thread in the
// order of their event numbers, and compares the result with the store. If the environment
// variable TEST_TWO_WRITER_HISTORIES is set, it is the number of histories, and these are
// longer.
func testTwoWriterHistories(t *testing.T, e Engine) {
	histories, operations := 3, 600
	if v := os.Getenv("TEST_TWO_WRITER_HISTORIES"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("TEST_TWO_WRITER_HISTORIES: %v", err)
		}
		histories, operations = n, 5000
	}
	total := map[core.Status]int{}
	for seed := range histories {
		h := &history{t: t, engine: e, seed: uint64(seed), threads: map[string]*threadHistory{}, generations: map[string][]uint64{}, statuses: map[core.Status]int{}}
		h.run(operations)
		if t.Failed() {
			t.Fatalf("the history with seed %d is wrong", seed)
		}
		for s, n := range h.statuses {
			total[s] += n
		}
	}
	t.Logf("%d histories: %d changes applied, %d stale, %d replayed", histories, total[core.Applied], total[core.Stale], total[core.Replayed])
	if total[core.Stale] == 0 || total[core.Replayed] == 0 {
		t.Error("the writers never met")
	}
}

// history has the acknowledged changes of two stores that write at the same time.
type history struct {
	t      *testing.T
	engine Engine
	seed   uint64

	mu          sync.Mutex // guards the fields below
	threads     map[string]*threadHistory
	generations map[string][]uint64 // for each user, the generations that were written and acknowledged
	statuses    map[core.Status]int
}

type threadHistory struct {
	applied []*core.Change
	events  uint64 // greatest event number that was acknowledged
}

// These numbers of threads and users are small, so that the writers often conflict.
const historyThreads, historyUsers = 8, 4

func (h *history) run(operations int) {
	first := h.engine.Open(h.t)
	defer closeStore(h.t, first)
	second := h.engine.Second(h.t, first)
	defer closeStore(h.t, second)
	done := make(chan struct{})
	var followed sync.WaitGroup
	followed.Go(func() { h.follow(second, done) })
	var wg sync.WaitGroup
	for i, s := range []core.Store{first, second} {
		for lane := range s.Lanes() {
			w := &historyWriter{history: h, store: s, lane: lane, seen: map[string]*core.Thread{}, messages: map[string][]core.Message{}, users: map[string]core.User{},
				random: rand.New(rand.NewPCG(h.seed, uint64(i*s.Lanes()+lane)))}
			wg.Go(func() { w.run(operations / (2 * s.Lanes())) })
		}
	}
	wg.Wait()
	close(done)
	followed.Wait()
	if h.t.Failed() {
		return
	}
	var want []core.Expiry
	for id, th := range h.threads {
		if on := h.check(second, id, th); on != 0 {
			want = append(want, core.Expiry{Thread: id, On: on})
		}
	}
	sortExpiries(want)
	for _, s := range []core.Store{first, second} {
		got, err := s.Expiring(context.Background(), historyThreads+1)
		if err != nil {
			h.t.Fatal(err)
		}
		mustEqual(h.t, "threads that expire", got, want)
	}
	h.checkUsers(first)
}

// historyWriter writes the changes of one lane, a queue, of one store. It computes changes from
// rows that it has cached. After a stale outcome it usually drops the rows from its cache and
// reads them again, but sometimes it continues with the outdated rows.
type historyWriter struct {
	*history
	store    core.Store
	lane     int
	random   *rand.Rand
	at       int64
	seen     map[string]*core.Thread
	messages map[string][]core.Message // the messages of each thread as this writer wrote them
	users    map[string]core.User
}

func (w *historyWriter) run(operations int) {
	ctx := context.Background()
	for done := 0; done < operations && !w.t.Failed(); {
		batch := core.Batch{At: start + w.at}
		w.at += w.random.Int64N(2000)
		for range 1 + w.random.IntN(12) {
			if c := w.change(); c != nil {
				batch.Changes = append(batch.Changes, c)
			}
		}
		if len(batch.Changes) == 0 {
			continue
		}
		done += len(batch.Changes)
		before := w.acknowledged(batch.Changes)
		rs, err := w.store.Apply(ctx, batch)
		if err != nil {
			w.t.Errorf("apply %d changes: %v", len(batch.Changes), err)
			return
		}
		putRows(batch.Changes, rs)
		w.note(batch.Changes, rs, before)
	}
}

// change returns a random change, or nil if the change's key belongs to another lane.
func (w *historyWriter) change() *core.Change {
	who := user(w.random.IntN(historyUsers))
	if w.random.IntN(12) == 0 {
		if core.LaneOf(who, w.store.Lanes()) != w.lane {
			return nil
		}
		from, known := w.users[who]
		if !known {
			us, err := w.store.Users(context.Background(), []string{who})
			if err != nil {
				w.t.Errorf("read %s: %v", who, err)
			}
			if from = (core.User{ID: who}); len(us) == 1 {
				from = us[0]
			}
			w.users[who] = from
		}
		to := from
		to.State, to.Generation = core.UserLive, from.Generation+1
		return putUser(from, to)
	}
	id := thread(w.random.IntN(historyThreads))
	if core.LaneOf(id, w.store.Lanes()) != w.lane {
		return nil
	}
	th := w.seen[id]
	if th == nil {
		var err error
		if th, err = w.store.Thread(context.Background(), id); err != nil {
			w.t.Errorf("load %s: %v", id, err)
		}
		if th == nil {
			return keptFor(w.days(), create(id, "key", who))
		}
		w.seen[id] = th
	}
	return w.draw(th, who)
}

func (w *historyWriter) draw(th *core.Thread, who string) *core.Change {
	id, known := th.ID, w.messages[th.ID]
	kind := w.random.IntN(20)
	if len(known) == 0 && kind < 5 {
		kind = 19
	}
	switch kind {
	case 0, 1:
		return edit(id, th.Revision, known[w.random.IntN(len(known))], fmt.Sprint("edited ", w.random.Int()))
	case 2:
		return remove(id, th.Revision, known[w.random.IntN(len(known))])
	case 3, 4:
		return receipt(id, th.Revision, who, known[w.random.IntN(len(known))].ID)
	case 5:
		return keptFor(w.days(), &core.Change{Key: id, Thread: id, Revision: th.Revision, Properties: &core.Properties{Topic: fmt.Sprint("topic ", w.random.Int()), CreatedBy: th.CreatedBy, CreatedOn: th.CreatedOn},
			Messages: []core.Message{{Kind: core.TopicUpdated}}, Events: []core.Event{{Kind: core.ThreadUpdated, Actor: who}}})
	case 6:
		if m := th.Member(who); m != nil && m.Present() {
			return leaves(th, who)
		}
		return create(id, "key", who) // if the thread exists, the store creates none and returns the stored answer
	case 7, 8:
		return withRoster(send(id, th.Revision, who, fmt.Sprint("token ", w.random.IntN(20)), fmt.Sprint("once ", w.random.Int())), th)
	default:
		return withRoster(send(id, th.Revision, who, "", fmt.Sprint("text ", w.random.Int())), th)
	}
}

// days returns a random retention policy: a number of days, or 0 for none.
func (w *historyWriter) days() int32 { return policies[w.random.IntN(len(policies))] }

// acknowledged returns the greatest event number acknowledged so far, for each thread that the
// changes belong to. The events that the changes write must have greater numbers.
func (w *historyWriter) acknowledged(changes []*core.Change) map[string]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := map[string]uint64{}
	for _, c := range changes {
		if th := w.threads[c.Thread]; th != nil {
			before[c.Thread] = th.events
		}
	}
	return before
}

func (w *historyWriter) note(changes []*core.Change, rs []core.Outcome, before map[string]uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range changes {
		w.statuses[rs[i].Status]++
		switch {
		case rs[i].Status == core.Stale && w.random.IntN(3) > 0:
			delete(w.seen, c.Thread)
			delete(w.messages, c.Thread)
			delete(w.users, c.Key)
		case rs[i].Status != core.Applied:
		case c.Thread == "":
			put := c.PutUsers[0]
			w.users[put.ID] = put
			w.generations[put.ID] = append(w.generations[put.ID], put.Generation)
		case len(c.Events) > 0: // a receipt for an older message has no events, and is not replayed
			th := w.threads[c.Thread]
			if th == nil {
				th = &threadHistory{}
				w.threads[c.Thread] = th
			}
			th.applied = append(th.applied, c)
			if c.Events[0].Number <= before[c.Thread] {
				w.t.Errorf("%s: event %d was written after event %d had been acknowledged", c.Thread, c.Events[0].Number, before[c.Thread])
			}
			th.events = max(th.events, c.Events[0].Number)
			w.remember(c)
		}
	}
}

func (w *historyWriter) remember(c *core.Change) {
	if c.Properties != nil || len(c.Members) > 0 {
		delete(w.seen, c.Thread)
	}
	w.messages[c.Thread] = append(w.messages[c.Thread], c.Messages...)
	for _, r := range c.Rewrites {
		ms := w.messages[c.Thread]
		if i := slices.IndexFunc(ms, func(m core.Message) bool { return m.ID == r.ID }); i >= 0 {
			ms[i] = r.Message
		}
	}
}
