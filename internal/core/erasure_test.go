package core_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// private is a text that occurs in everything that the erased user bob has written (messages, names
// and metadata) and nowhere else.
const private = "bob's own"

// betweenPages is a store that calls a function after the first page of a user's list of
// threads was read.
type betweenPages struct {
	core.Store
	once *sync.Once // nil: not yet
	run  func()
}

func (b *betweenPages) Threads(ctx context.Context, q core.ThreadsQuery) (core.ThreadsPage, error) {
	page, err := b.Store.Threads(ctx, q)
	if b.once != nil {
		b.once.Do(b.run)
	}
	return page, err
}

func (b *betweenPages) ThreadsOf(ctx context.Context, user, after string, limit int) ([]string, error) {
	ids, err := b.Store.ThreadsOf(ctx, user, after, limit)
	if b.once != nil {
		b.once.Do(b.run)
	}
	return ids, err
}

// TestErasureMeetsThreadsThatMove sends a message to each of a user's threads after the erasure has
// read the first page of the user's list of threads. Each message moves its thread to the top of
// the list. The test checks that the erasure still finds all threads.
func TestErasureMeetsThreadsThatMove(t *testing.T) {
	var between *betweenPages
	h := newHouse(t, nil, func(s core.Store) core.Store {
		between = &betweenPages{Store: s}
		return between
	})
	ann, bob := h.user(t), h.user(t)
	var threads []string
	for range 150 { // more than one page
		thread := h.thread(t, ann, bob)
		h.send(t, bob, thread, private)
		threads = append(threads, thread)
	}
	if err := h.DeleteUser(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	h.pass(core.DefaultGrace + time.Hour)
	moved := false
	between.run = func() {
		moved = true
		for _, thread := range threads {
			h.send(t, ann, thread, "moves it to the front")
		}
	}
	between.once = new(sync.Once)
	h.erase(t, bob)
	if !moved {
		t.Fatal("the erasure walks through the user's threads by a method that this test does not meet")
	}
	readable := 0
	for _, thread := range threads {
		for _, m := range h.allMessages(t, ann, thread) {
			if m.Content == private {
				readable++
			}
		}
	}
	if readable > 0 {
		t.Errorf("the user counts as deleted, and its words are readable in %d of %d threads", readable, len(threads))
	}
}

// erase calls Sweep until the deleted user's data is erased.
func (h *house) erase(t *testing.T, user string) {
	t.Helper()
	for range 1000 {
		next, err := h.Sweep(context.Background())
		if err != nil {
			t.Errorf("sweep: %v", err)
		}
		us, uerr := h.store.Users(context.Background(), []string{user})
		if uerr != nil || len(us) != 1 {
			t.Fatalf("read the user: %+v, %v", us, uerr)
		}
		u := us[0]
		if u.State == core.UserDeleted {
			return
		}
		if err == nil && next.UnixMilli() > h.now.Load() {
			t.Fatalf("the user is %+v, and the sweep waits until %v", u, next)
		}
	}
	t.Fatal("the user is not deleted after 1000 sweeps")
}

// TestErasureUnderLoad erases a user who is in three hundred threads while other users send to
// these threads. It checks that no data of the erased user is left and that no message of the
// other users is lost.
func TestErasureUnderLoad(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		h := houses[0]
		e := erasure{ann: h.user(t), bob: h.user(t), eve: h.user(t), threads: make([]string, 300)}
		together(len(e.threads), func(i int) {
			if err := e.fill(h.Service, i); err != nil {
				t.Error(err)
			}
		})
		if t.Failed() {
			t.FailNow()
		}
		if err := h.DeleteUser(t.Context(), e.bob); err != nil {
			t.Fatal(err)
		}
		for _, h := range houses {
			h.pass(core.DefaultGrace)
		}
		sent := e.sendDuring(t, houses, func() { h.erase(t, e.bob) })
		e.check(t, h, sent)
	})
}

// erasure holds a user bob, who will be erased, and his threads. The users ann and eve are also
// in the threads.
type erasure struct {
	ann, bob, eve string
	threads       []string
}

// Each of these four functions reports whether the thread with index i is of one kind: bob is alone
// in it, it was deleted, bob has left it, or bob has left it and was added again.
func (e *erasure) alone(i int) bool   { return i%30 == 0 }
func (e *erasure) deleted(i int) bool { return i%30 == 1 }
func (e *erasure) left(i int) bool    { return i%6 == 2 }
func (e *erasure) back(i int) bool    { return i%6 == 3 } // left and was added again

// fill creates the thread with index i. It has three messages, a receipt, a name and
// metadata of bob, and a message and a receipt of ann.
func (e *erasure) fill(s *core.Service, i int) error {
	ctx, metadata := context.Background(), map[string]string{"key": private}
	person := func(user, name string) core.NewParticipant {
		return core.NewParticipant{User: communication.ParseRawID(user), DisplayName: name, Metadata: map[string]string{"key": name}}
	}
	creator, cmd := e.ann, core.CreateThread{Topic: "topic", Participants: []core.NewParticipant{person(e.bob, private)}}
	if i%2 == 0 {
		creator = e.bob
	}
	if !e.alone(i) {
		cmd.Participants = append(cmd.Participants, person(e.ann, "Ann"), person(e.eve, "Eve"))
	}
	made, _, err := s.CreateThread(ctx, creator, cmd)
	if err != nil {
		return err
	}
	thread := made.ID
	e.threads[i] = thread
	var ids []int64
	for range 3 {
		id, err := s.SendMessage(ctx, e.bob, thread, core.SendMessage{Kind: core.Text, Content: private, SenderDisplayName: private, Metadata: metadata})
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	edited := private + ", edited"
	if err := s.UpdateMessage(ctx, e.bob, thread, ids[1], core.UpdateMessage{Content: &edited}); err != nil {
		return err
	}
	if err := s.DeleteMessage(ctx, e.bob, thread, ids[2]); err != nil { // the deleted message keeps its sender's name
		return err
	}
	if err := s.SendReceipt(ctx, e.bob, thread, ids[0]); err != nil || e.alone(i) {
		return err
	}
	id, err := s.SendMessage(ctx, e.ann, thread, core.SendMessage{Kind: core.Text, Content: "ann's own", SenderDisplayName: "Ann", Metadata: map[string]string{"key": "Ann"}})
	if err != nil {
		return err
	}
	if err := s.SendReceipt(ctx, e.ann, thread, id); err != nil {
		return err
	}
	if e.left(i) || e.back(i) {
		if err := s.RemoveParticipant(ctx, e.ann, thread, communication.ParseRawID(e.bob)); err != nil {
			return err
		}
	}
	if e.back(i) {
		if _, err := s.AddParticipants(ctx, e.ann, thread, []core.NewParticipant{person(e.bob, private)}); err != nil {
			return err
		}
	}
	if e.deleted(i) {
		return s.DeleteThread(ctx, e.ann, thread)
	}
	return nil
}

// sendDuring lets ann and eve send messages through every service in houses while f runs. It
// returns the contents of these messages by thread.
func (e *erasure) sendDuring(t *testing.T, houses []*house, f func()) (sent map[string][]string) {
	t.Helper()
	sent = map[string][]string{}
	var mu sync.Mutex // guards sent
	var senders sync.WaitGroup
	done := make(chan struct{})
	stop := sync.OnceFunc(func() {
		close(done)
		senders.Wait()
	})
	t.Cleanup(stop)
	const each = 2 // goroutines that send through each service
	for n := range each * len(houses) {
		h, sender := houses[n%len(houses)], []string{e.ann, e.eve}[n/len(houses)]
		senders.Go(func() {
			for k := n; ; k += each * len(houses) {
				select {
				case <-done:
					return
				default:
				}
				i := k % len(e.threads)
				if e.alone(i) || e.deleted(i) {
					continue
				}
				content := fmt.Sprint("sent meanwhile ", k)
				if _, err := h.SendMessage(context.Background(), sender, e.threads[i], text(content)); err != nil {
					t.Errorf("a send while a user is erased: %v", err)
					return
				}
				mu.Lock()
				sent[e.threads[i]] = append(sent[e.threads[i]], content)
				mu.Unlock()
			}
		})
	}
	begin := time.Now()
	f()
	took := time.Since(begin)
	stop()
	n := 0
	for _, contents := range sent {
		n += len(contents)
	}
	t.Logf("the user of %d threads was erased in %v; others sent %d messages meanwhile", len(e.threads), took.Round(time.Millisecond), n)
	if n == 0 {
		t.Error("nobody sent a message while the user was erased")
	}
	return sent
}

// check fails the test if a thread still has data of bob, or lacks data of another user.
func (e *erasure) check(t *testing.T, h *house, sent map[string][]string) {
	t.Helper()
	left, wrong := map[string]int{}, map[string]int{}
	count := func(counts map[string]int, what string, yes bool) {
		if yes {
			counts[what]++
		}
	}
	for i, thread := range e.threads {
		th := h.inspect(t, thread)
		bob := th.Member(e.bob)
		count(left, "member rows", bob == nil || bob.DisplayName != "" || len(bob.Metadata) > 0 || bob.Present() && th.DeletedOn == 0)
		if e.alone(i) || e.deleted(i) {
			count(left, "threads in which it was alone", th.DeletedOn == 0)
			continue
		}
		found, own := map[string]int{}, 0
		for _, m := range h.allMessages(t, e.ann, thread) {
			count(left, "messages", strings.Contains(fmt.Sprintf("%+v", m), private) || m.Sender == e.bob && m.DeletedOn == 0)
			if strings.HasPrefix(m.Content, "sent meanwhile ") {
				found[m.Content]++
			}
			if m.Content == "ann's own" && m.SenderDisplayName == "Ann" && m.Metadata["key"] == "Ann" && m.Sender == e.ann {
				own++
			}
		}
		want := map[string]int{}
		for _, content := range sent[thread] {
			want[content] = 1
		}
		count(wrong, "threads without a message of before", own != 1)
		count(wrong, "threads without a message that was sent meanwhile", !maps.Equal(found, want))
		receipts := map[string]int{}
		for _, r := range h.allReceipts(t, e.ann, thread) {
			receipts[r.User]++
		}
		count(left, "receipts", receipts[e.bob] > 0)
		count(wrong, "threads without a receipt", receipts[e.ann] != 1)
		roster := map[string]string{}
		for _, m := range h.allParticipants(t, e.ann, thread) {
			roster[m.User] = m.DisplayName + m.Metadata["key"]
		}
		count(left, "places in rosters", roster[e.bob] != "")
		count(wrong, "rosters", roster[e.ann] != "AnnAnn" || roster[e.eve] != "EveEve")
	}
	if len(left) > 0 {
		t.Errorf("of the erased user are left, in %d threads: %v", len(e.threads), left)
	}
	if len(wrong) > 0 {
		t.Errorf("what others have is harmed, in %d threads: %v", len(e.threads), wrong)
	}
}

// hooked is a store that calls one function after each read of messages and another after each
// batch.
type hooked struct {
	core.Store
	read    func(core.MessagesQuery)
	applied func(core.Batch)
}

func (s *hooked) Messages(ctx context.Context, q core.MessagesQuery) (core.MessagesPage, error) {
	page, err := s.Store.Messages(ctx, q)
	s.read(q)
	return page, err
}

func (s *hooked) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	outcomes, err := s.Store.Apply(ctx, b)
	s.applied(b)
	return outcomes, err
}

// TestTwoErasuresOfOneMessage erases, on two servers at the same time, two users that one system
// message names. The first server reads the message to remove bob's name, then the second one
// removes eve's name, then the first one writes the message. The test checks that the message has
// neither name afterwards.
func TestTwoErasuresOfOneMessage(t *testing.T) {
	h := newHouse(t, nil, nil)
	server := func(read func(core.MessagesQuery), applied func(core.Batch)) *house {
		on := &house{store: h.store}
		var err error
		on.Service, err = core.New(t.Context(), &hooked{h.store, read, applied}, new(local.Bus),
			core.Options{Now: func() time.Time { return time.UnixMilli(on.now.Load()) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(on.Close)
		return on
	}
	ann, eve := h.user(t), h.user(t)
	// With a later clock, bob's id is greater than eve's, so a sweep erases eve before bob.
	h.now.Add(1)
	bob := h.user(t)
	thread := h.thread(t, ann)
	if bad, err := h.AddParticipants(t.Context(), ann, thread, []core.NewParticipant{
		{User: communication.ParseRawID(bob), DisplayName: "Bob"},
		{User: communication.ParseRawID(eve), DisplayName: "Eve"},
	}); err != nil || len(bad) > 0 {
		t.Fatalf("add: %v, %v", bad, err)
	}
	var begun, read, written sync.Once
	hasRead, mayWrite, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	first := server(func(q core.MessagesQuery) {
		if q.IDs != nil {
			read.Do(func() { close(hasRead); <-mayWrite })
		}
	}, func(core.Batch) {})
	second := server(func(core.MessagesQuery) {
		begun.Do(func() { // the erasure has removed eve from the thread, but the message still names her
			go func() {
				defer close(done)
				first.erase(t, bob)
			}()
			<-hasRead
		})
	}, func(b core.Batch) {
		if slices.ContainsFunc(b.Changes, func(c *core.Change) bool { return len(c.Rewrites) > 0 }) {
			written.Do(func() { close(mayWrite); <-done })
		}
	})
	remove := func(on *house, user string, at time.Duration) {
		on.now.Store(start.Add(at).UnixMilli())
		if err := on.DeleteUser(t.Context(), user); err != nil {
			t.Fatal(err)
		}
		on.now.Store(start.Add(at + core.DefaultGrace).UnixMilli())
	}
	remove(first, bob, 0)
	remove(second, eve, time.Second) // eve's grace is not over when the first server sweeps, so it does not erase her
	second.erase(t, eve)
	page, err := h.store.Messages(t.Context(), core.MessagesQuery{Thread: thread, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range page.Messages {
		for _, p := range m.Participants {
			if p.DisplayName != "" {
				t.Errorf("message %d of kind %v still names %s", m.ID, m.Kind, p.DisplayName)
			}
		}
	}
}
