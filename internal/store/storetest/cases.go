package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

func testEmpty(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	ctx := context.Background()
	if got, err := s.Thread(ctx, thread(1)); got != nil || err != nil {
		t.Errorf("a thread that is not there: %v, %v; want nil, nil", got, err)
	}
	if m := message(t, s, thread(1), 5); m.ID != 0 {
		t.Errorf("a message of no thread: %v", m)
	}
	if v, err := s.View(ctx, thread(1), user(1)); v.Member != nil || v.Head.Revision != 0 || err != nil {
		t.Errorf("a view of no thread: %+v, %v", v, err)
	}
	if ids, err := s.ThreadsOf(ctx, user(1), "", 10); len(ids) != 0 || err != nil {
		t.Errorf("threads of nobody: %v, %v", ids, err)
	}
	mustEqual(t, "messages of no thread", messages(t, s, core.MessagesQuery{Thread: thread(1), Limit: 10}), core.MessagesPage{})
	mustEqual(t, "no events", events(t, s), []core.Event(nil))
	if us, err := s.Users(ctx, []string{user(1)}); len(us) != 0 || err != nil {
		t.Errorf("a user that does not exist: %+v, %v", us, err)
	}
	if us, err := s.ListUsers(ctx, "", 10); len(us) != 0 || err != nil {
		t.Errorf("all users of an empty store: %+v, %v", us, err)
	}
	if rs := apply(t, s, start); len(rs) != 0 {
		t.Errorf("an empty batch has results: %v", rs)
	}
}

func testResource(t *testing.T, e Engine) {
	s := e.Open(t)
	r, err := s.Resource(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "resource of a new store", r, Initial)
	key := core.AccessKeyRow{Serial: 2, Secret: []byte("another key, a little longer than 32 bytes")}
	set := func(k, want core.AccessKeyRow) {
		t.Helper()
		got, err := s.SetKey(context.Background(), 1, k)
		if err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "stored key", got, want)
	}
	set(key, key)
	// A key whose serial does not follow the stored one must not be written.
	for _, serial := range []uint64{1, 2, 4} {
		set(core.AccessKeyRow{Serial: serial, Secret: []byte("a key of a server that lost, longer than 32 bytes")}, key)
	}
	// If several servers replace the same key at the same time, the key of one of them must be
	// stored, and all must get that key.
	var rows [8]core.AccessKeyRow
	var wg sync.WaitGroup
	for i := range rows {
		wg.Go(func() {
			var err error
			if rows[i], err = s.SetKey(context.Background(), 1, core.AccessKeyRow{Serial: 3, Secret: fmt.Appendf(nil, "the key of server %d, longer than 32 bytes", i)}); err != nil {
				t.Errorf("set a key: %v", err)
			}
		})
	}
	wg.Wait()
	key = rows[0]
	for i := range rows {
		mustEqual(t, "key stored by several servers", rows[i], key)
	}
	if key.Serial != 3 {
		t.Errorf("the stored key has serial %d, want 3", key.Serial)
	}
	s = e.Reopen(t, s)
	defer closeStore(t, s)
	if r, err = s.Resource(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := Initial
	want.Keys[1] = key
	mustEqual(t, "resource after a key was set and the store opened again", r, want)
}

// testInBatchOrder applies one batch of changes that depend on each other. Each change must see
// the effects of the changes before it.
func testInBatchOrder(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	a, ann, bob := thread(1), user(1), user(2)
	rename := &core.Change{Key: a, Thread: a, Revision: 1, Properties: &core.Properties{Topic: "renamed", CreatedBy: ann, CreatedOn: start}}
	again := &core.Change{Key: a, Thread: a, Revision: 1, Properties: &core.Properties{Topic: "never", CreatedBy: ann}}
	first := send(a, 1, ann, "token", "one")
	rs := apply(t, s, start,
		create(a, "key", ann, bob),               // change 0 makes revision 1
		create(a, "key", ann, bob),               // change 1 creates the same thread again, with the same token
		first,                                    // change 2 sends with a token
		send(a, 1, ann, "token", "not this"),     // change 3 repeats change 2, so its content is ignored
		send(a, 1, bob, "token", "two"),          // change 4 does not repeat change 2, because another caller sends the token
		rename,                                   // change 5 makes revision 2
		again,                                    // change 6 was decided on revision 1
		send(a, 1, ann, "", "stale"),             // change 7 was decided on revision 1 too
		send(a, 2, ann, "", "three"),             // change 8 was decided on revision 2
		send(thread(2), 1, ann, "", "no thread"), // change 9 names a thread that does not exist
	)
	mustEqual(t, "statuses", statuses(rs), []core.Status{
		core.Applied, core.Replayed, core.Applied, core.Replayed, core.Applied, core.Applied, core.Stale, core.Stale, core.Applied, core.Stale,
	})
	if rs[1].Answer == nil || rs[1].Answer.CreatedOn != start || len(rs[1].Answer.Invalid) != 1 {
		t.Errorf("the replayed create got %+v", rs[1].Answer)
	}
	if rs[3].MessageID != first.Messages[0].ID || rs[3].MessageID == 0 {
		t.Errorf("the replayed send got id %d, want %d", rs[3].MessageID, first.Messages[0].ID)
	}
	page := messages(t, s, core.MessagesQuery{Thread: a, Limit: 10})
	var contents []string
	for i, m := range page.Messages {
		contents = append(contents, m.Content)
		if m.Sequence != uint64(len(page.Messages)-i) {
			t.Errorf("message %d has sequence %d", i, m.Sequence)
		}
	}
	mustEqual(t, "messages, newest first", contents, []string{"three", "two", "one", "topic of " + a, ""})
	if page.Head.Revision != 2 {
		t.Errorf("revision %d, want 2", page.Head.Revision)
	}
	// The stored answer to the creation of a thread must not change when the topic changes.
	if rs := apply(t, s, start+1, create(a, "key", ann)); rs[0].Status != core.Replayed || rs[0].Answer.Topic != "topic of "+a {
		t.Errorf("a later replay of the create: %+v", rs[0])
	}
	if rs := apply(t, s, start+1, send(a, 2, ann, "token", "x")); rs[0].Status != core.Replayed || rs[0].MessageID != first.Messages[0].ID {
		t.Errorf("a later replay of the send: %+v", rs[0])
	}
}

// testPreconditions applies changes that were computed from current, outdated and missing rows. It
// checks that exactly the changes from outdated rows are refused as stale.
func testPreconditions(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	a, ann, eve := thread(1), user(1), user(2)
	live := core.User{ID: eve, State: core.UserLive, Generation: 1}
	revoked := core.User{ID: eve, State: core.UserLive, Generation: 2}
	deleted := core.User{ID: eve, State: core.UserDeleted, Generation: 2, DeletedAt: start}
	reads := func(c *core.Change, users ...core.User) *core.Change {
		c.ReadUsers = users
		return c
	}
	adds := func(revision uint64, read core.User) *core.Change {
		return &core.Change{Key: a, Thread: a, Revision: revision, ReadUsers: []core.User{read},
			Members: []core.Member{{User: eve, Order: 2, Intervals: []core.Interval{{}}}}}
	}
	for _, step := range []struct {
		what   string
		change *core.Change
		want   core.Status
	}{
		{"a user who must not exist and does not", putUser(core.User{ID: eve}, live), core.Applied},
		{"a user who must not exist and does", putUser(core.User{ID: eve}, live), core.Stale},
		{"a create that read the live row", reads(create(a, "", ann), live), core.Applied},
		{"a second thread with the same id", create(a, "", ann), core.Stale},
		{"revoking what was read", putUser(live, revoked), core.Applied},
		{"revoking what has changed", putUser(live, revoked), core.Stale},
		{"adding a user whose row has changed", adds(1, live), core.Stale},
		{"adding with a stale head", adds(0, revoked), core.Stale},
		{"adding with both fresh", adds(1, revoked), core.Applied},
		{"deleting", putUser(revoked, deleted), core.Applied},
		{"a create that read the row before the deletion", reads(create(thread(2), "", ann), revoked), core.Stale},
		{"a create that read it after", reads(create(thread(2), "", ann), deleted), core.Applied},
		{"a send at the old revision", send(a, 1, ann, "", "x"), core.Stale},
		{"a send at the new one", send(a, 2, ann, "", "x"), core.Applied},
	} {
		if rs := apply(t, s, start, step.change); rs[0].Status != step.want {
			t.Errorf("%s: status %d, want %d", step.what, rs[0].Status, step.want)
		}
	}
	if got := userRow(t, s, eve); got != deleted {
		t.Errorf("user row %+v; want %+v", got, deleted)
	}
	// The second change was computed from the user's row before the first change of the same
	// batch deleted the user. It must be stale.
	u := core.User{ID: user(3), State: core.UserLive, Generation: 1}
	apply(t, s, start, putUser(core.User{ID: u.ID}, u))
	gone := u
	gone.State = core.UserDeleted
	mustEqual(t, "two changes of one row in a batch",
		statuses(apply(t, s, start, putUser(u, gone), putUser(u, gone))), []core.Status{core.Applied, core.Stale})
}

// testRowsSurvive writes every field of every kind of row and reads it, before and after a
// restart.
func testRowsSurvive(t *testing.T, e Engine) {
	s := e.Open(t)
	a, ann, bob := thread(1), user(1), user(2)
	c := create(a, "key", ann, bob)
	c.Properties.Metadata, c.Properties.RetentionDays = map[string]string{"k": "v", "a": "\x00\xff"}, 60
	c.Members[1].DisplayName, c.Members[1].ShareHistory, c.Members[1].Metadata = "Bob \U0001F600", start-5, map[string]string{"role": "guest"}
	c.Members[0].RoleIDs, c.Members[1].RoleIDs = []string{"host"}, []string{"a b", "\U0001F600"}
	m := send(a, 1, bob, "t", "<b>hällo</b>\n")
	m.Messages[0].Kind, m.Messages[0].High = core.HTML, true
	rs := apply(t, s, start, c, m)
	created, sent := c.Events[0].Position, m.Events[0].Position
	if created == 0 || sent <= created { // the engines choose different values
		t.Errorf("positions %d and %d do not rise from 1", created, sent)
	}
	wantHead := core.Head{ID: a, Revision: 1, Properties: *c.Properties, Counters: core.Counters{
		LastID: start + 2, LastSequence: 3, LastEvent: 2, LastPosition: sent, LastMessageOn: start,
	}}
	wantHead.CreatedOn = start
	mustEqual(t, "properties in the result", *rs[0].Change.Properties, wantHead.Properties)
	members := []core.Member{c.Members[0], c.Members[1]}
	for i := range members {
		members[i].JoinedOn, members[i].Intervals = start, []core.Interval{{From: 1}}
	}
	for _, when := range []string{"before", "after"} {
		got, err := s.Thread(context.Background(), a)
		if err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "thread "+when+" the restart", got, core.NewThread(wantHead, members))
		page := messages(t, s, core.MessagesQuery{Thread: a, Limit: 10})
		want := []core.Message{m.Messages[0], c.Messages[1], c.Messages[0]}
		mustEqual(t, "messages "+when+" the restart", page, core.MessagesPage{View: core.View{Head: wantHead}, Messages: want})
		for _, w := range want {
			mustEqual(t, "message by id "+when+" the restart", message(t, s, a, w.ID), w)
		}
		for _, m := range members {
			v, err := s.View(context.Background(), a, m.User)
			if err != nil {
				t.Fatal(err)
			}
			mustEqual(t, "view "+when+" the restart", v, core.View{Head: wantHead, Member: &m})
		}
		mustEqual(t, "answer "+when+" the restart", answer(t, s, a), c.Answer)
		s = e.Reopen(t, s)
	}
	if rs := apply(t, s, start, send(a, 1, bob, "t", "again")); rs[0].Status != core.Replayed || rs[0].MessageID != start+2 {
		t.Errorf("a send token after restarts: %+v", rs[0])
	}
	closeStore(t, s)
}

func testPaging(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	a, ann := thread(1), user(1)
	apply(t, s, start, create(a, "", ann), create(thread(2), "", ann))
	const n = 25
	for i := range n {
		apply(t, s, start+int64(10*i), send(a, 1, ann, "", "x"), send(thread(2), 1, ann, "", "other thread"))
	}
	var all []uint64
	for before, pages := uint64(0), 0; ; pages++ {
		page := messages(t, s, core.MessagesQuery{Thread: a, Before: before, Limit: 4})
		for _, m := range page.Messages {
			all = append(all, m.Sequence)
		}
		if before = page.Next; before == 0 {
			break
		}
		// Add a message between two pages. It must not shift the later pages.
		apply(t, s, start+1000, send(a, 1, ann, "", "later"))
	}
	if len(all) != n+2 {
		t.Errorf("paging gave %d messages, want %d", len(all), n+2)
	}
	for i, seq := range all {
		if want := uint64(n + 2 - i); seq != want {
			t.Fatalf("place %d has sequence %d, want %d", i, seq, want)
		}
	}
	since := messages(t, s, core.MessagesQuery{Thread: a, Before: n + 3, Since: start + 200, Limit: 100})
	if got := len(since.Messages); got != 5 {
		t.Errorf("since the 20th send: %d messages, want 5", got)
	}
}

// testPageBytes reads messages of 1,000 bytes in pages of 2,500 bytes, and a message that is
// larger than a page.
func testPageBytes(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	a, ann := thread(1), user(1)
	apply(t, s, start, create(a, "", ann))
	var want []string
	for i := range 9 {
		content := fmt.Sprint(i, strings.Repeat("é", 495))
		if i == 4 {
			content = fmt.Sprint(i, strings.Repeat("x", 9000))
		}
		want = append([]string{content}, want...)
		apply(t, s, start, send(a, 1, ann, "", content))
	}
	want = append(want, "topic of "+a, "")
	for _, limit := range []int{1, 2, 3, 200} {
		var got []string
		for q := (core.MessagesQuery{Thread: a, Limit: limit, Bytes: 2500}); ; {
			page := messages(t, s, q)
			bytes := 0
			for _, m := range page.Messages {
				got = append(got, m.Content)
				bytes += len(m.Content)
			}
			if n := len(page.Messages); n > limit || n == 0 && page.Next != 0 || n > 1 && bytes > 2500 || n < 2 && limit > 1 && page.Next != 0 && bytes < 2000 {
				t.Fatalf("a page of %d messages with %d bytes, next %d", n, bytes, page.Next)
			}
			if q.Before = page.Next; q.Before == 0 {
				break
			}
		}
		mustEqual(t, fmt.Sprint("all messages, in pages of ", limit), got, want)
	}
	if page := messages(t, s, core.MessagesQuery{Thread: a, Limit: 200}); len(page.Messages) != len(want) || page.Next != 0 {
		t.Errorf("without a bound a page has %d messages, next %d; want all %d", len(page.Messages), page.Next, len(want))
	}
}

// testReader lists a thread's messages as each member and as a user who was never in the
// thread. Each must get exactly the messages that it may read.
func testReader(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	a, ann, bob, eve := thread(1), user(1), user(2), user(3)
	first := create(a, "", ann, bob)
	first.Members[1].ShareHistory = start + 100 // Bob joined at start, so he sees all messages since start
	one, two, three := send(a, 1, ann, "", "one"), send(a, 1, ann, "", "two"), send(a, 2, ann, "", "three")
	apply(t, s, start, first, one)
	apply(t, s, start+50, two)
	late := core.Member{User: eve, Order: 3, ShareHistory: start + 70, Intervals: []core.Interval{{}}}
	apply(t, s, start+60, &core.Change{Key: a, Thread: a, Revision: 1, Members: []core.Member{late},
		Messages: []core.Message{{Kind: core.ParticipantAdded}}, Events: []core.Event{{Kind: core.ParticipantsAdded}}})
	apply(t, s, start+70, leaves(load(t, s, a), bob))
	three.Revision = 3
	apply(t, s, start+80, three, edit(a, 3, one.Messages[0], "one, edited"))
	contents := func(q core.MessagesQuery) (got []string) {
		q.Thread = a
		page := messages(t, s, q)
		if (page.Member == nil) != (q.Reader == "" || q.Reader == user(9)) || page.Member != nil && page.Member.User != q.Reader || page.Head.Revision != 3 {
			t.Errorf("the view of %q is %+v", q.Reader, page.View)
		}
		for _, m := range page.Messages {
			if m.Kind == core.Text {
				got = append(got, m.Content)
			}
		}
		return got
	}
	ids := []int64{one.Messages[0].ID, two.Messages[0].ID, three.Messages[0].ID, 5}
	for _, tc := range []struct {
		who  string
		want []string // newest first
	}{
		{"", []string{"one, edited", "three", "two"}},
		{ann, []string{"one, edited", "three", "two"}},
		{bob, []string{"two"}},   // Bob left before the third message and before the edit
		{eve, []string{"three"}}, // Eve joined at 60, after the first two messages were created
		{user(9), nil},           // never in the thread
	} {
		mustEqual(t, "page of "+tc.who, contents(core.MessagesQuery{Reader: tc.who, Limit: 100}), tc.want)
		got := contents(core.MessagesQuery{Reader: tc.who, IDs: ids})
		slices.Sort(got)
		want := slices.Clone(tc.want)
		slices.Sort(want)
		mustEqual(t, "by id, of "+tc.who, got, want)
	}
	mustEqual(t, "page of bob, from above its end", contents(core.MessagesQuery{Reader: bob, Before: 100, Limit: 100}), []string{"two"})
	mustEqual(t, "page of bob, since the second", contents(core.MessagesQuery{Reader: bob, Since: start + 51, Limit: 100}), []string(nil))
	page, err := s.Receipts(context.Background(), a, bob)
	if err != nil || page.Member == nil || page.Head.Revision != 3 {
		t.Errorf("receipts for bob: %+v, %v", page, err)
	}
}

// testPositions writes events of several threads and days. It reads the event log page by page,
// before and after a restart, and checks the order and the positions of the events.
func testPositions(t *testing.T, e Engine) {
	s := e.Open(t)
	ann := user(1)
	apply(t, s, start, create(thread(1), "", ann), create(thread(2), "", ann), create(thread(3), "", ann))
	for i := range 30 {
		if i == 15 {
			s = e.Reopen(t, s)
		}
		at := start + int64(i)*100 // some events are after midnight
		apply(t, s, at, send(thread(1+i%3), 1, ann, "", "x"))
	}
	defer closeStore(t, s)
	byThread := map[string]uint64{}
	var last uint64
	var n int
	var days = map[uint32]int{}
	if _, err := s.Sequence(context.Background()); err != nil {
		t.Fatal(err)
	}
	end, err := s.Tip(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for at := (core.Cursor{Epoch: end.Epoch}); ; {
		page, err := s.Log(context.Background(), at, 7)
		if err != nil || page.Gap != 0 || page.Tip != end.Position {
			t.Fatalf("the log after %+v: %+v, %v; its end is %+v", at, page, err, end)
		}
		for _, ev := range page.Events {
			if ev.Position != last+1 {
				t.Fatalf("position %d after %d", ev.Position, last)
			}
			last = ev.Position
			if byThread[ev.Thread]++; ev.Number != byThread[ev.Thread] {
				t.Fatalf("event number %d of %s, want %d", ev.Number, ev.Thread, byThread[ev.Thread])
			}
			days[ev.Day]++
			n++
		}
		at = page.Next
		if len(page.Events) == 0 {
			mustEqual(t, "the cursor at the end", at, end)
			break
		}
	}
	if n != 33 || len(days) != 2 {
		t.Errorf("%d events on %d days, want 33 on 2", n, len(days))
	}
}

// testClock sets the clock back by two days. Ids, sequences and positions must still increase,
// and the log must stay in order.
func testClock(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	a, ann := thread(1), user(1)
	apply(t, s, start+2000, create(a, "", ann))
	early := start - 2*86_400_000
	c := send(a, 1, ann, "", "early")
	apply(t, s, early, c)
	if m := c.Messages[0]; m.ID != start+2002 || m.CreatedOn != early {
		t.Errorf("id %d created on %d; want id %d, which runs ahead, and the true time %d", m.ID, m.CreatedOn, start+2002, early)
	}
	if es := events(t, s); len(es) != 2 || es[1].MessageID != start+2002 {
		t.Errorf("events after the step: %+v", es)
	}
}

// Gate blocks the syncs of a store while it is shut.
type Gate struct {
	// Shutting and Opening are called when the gate shuts and opens, unless they are nil. They
	// are for an engine whose syncs happen in another process, as in PostgreSQL.
	Shutting, Opening func()

	mu     sync.Mutex
	closed chan struct{} // not nil while the gate is closed
	held   chan struct{} // receives an element when a sync waits at the closed gate
}

// Shut makes later syncs wait. The returned channel receives a value when a sync begins to
// wait.
func (g *Gate) Shut() (held <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.held = make(chan struct{}), make(chan struct{}, 1)
	if g.Shutting != nil {
		g.Shutting()
	}
	return g.held
}

// Open lets waiting syncs and all later ones continue.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
		if g.Opening != nil {
			g.Opening()
		}
	}
}

// Pass waits while the gate is shut. An engine's file system calls it before each sync.
func (g *Gate) Pass() {
	g.mu.Lock()
	closed, held := g.closed, g.held
	g.mu.Unlock()
	if closed == nil {
		return
	}
	select {
	case held <- struct{}{}:
	default:
	}
	<-closed
}

// view holds the results of all read methods of a store for some threads and one user.
type view struct {
	Resource   core.Resource
	User       core.User
	Custom     core.User // UserByCustomID
	Deleting   []core.User
	Expiring   []core.Expiry
	Events     []core.Event
	IDs        []string // ThreadsOf
	Threads    []*core.Thread
	Views      []core.View
	Messages   []core.MessagesPage
	Message    []core.Message
	Receipts   [][]core.Receipt
	Audit      []core.Audit
	List, Ones []core.ThreadEntry // the user's list, read in one page and in pages of one entry
	Expanded   []core.ThreadEntry // the user's list with last messages and unread counts
}

// customID is the custom id that look looks up.
const customID = "custom id"

// look calls every read method of core.Store and returns the results. Call new read methods
// here too.
func look(t *testing.T, s core.Store, who string, threads []string, at int64) (v view) {
	t.Helper()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	v.Resource, err = s.Resource(ctx)
	must(err)
	v.User = userRow(t, s, who)
	v.Custom, err = s.UserByCustomID(ctx, customID)
	must(err)
	v.Deleting, err = s.Deleting(ctx)
	must(err)
	v.Expiring, err = s.Expiring(ctx, 100)
	must(err)
	v.Events = events(t, s)
	v.IDs, err = s.ThreadsOf(ctx, who, "", 100)
	must(err)
	for _, id := range threads {
		th, err := s.Thread(ctx, id)
		must(err)
		view, err := s.View(ctx, id, who)
		must(err)
		v.Threads, v.Views, v.Receipts = append(v.Threads, th), append(v.Views, view), append(v.Receipts, receipts(t, s, id))
		v.Message = append(v.Message, message(t, s, id, at))
		v.Messages = append(v.Messages, messages(t, s, core.MessagesQuery{Thread: id, Limit: 10}))
	}
	v.Audit = auditRows(t, s, core.AuditQuery{Limit: 100})
	v.List = listOf(t, s, who, 100)
	v.Ones = listOf(t, s, who, 1)
	v.Expanded = expanded(t, s, who)
	return v
}

// listOf returns all threads in the list of the user who, read in pages of limit entries.
func listOf(t testing.TB, s core.Store, who string, limit int) (list []core.ThreadEntry) {
	t.Helper()
	for q := (core.ThreadsQuery{User: who, Limit: limit}); ; {
		page, err := s.Threads(context.Background(), q)
		if err != nil || len(page.Threads) > limit {
			t.Fatalf("a page of %d threads, %v", len(page.Threads), err)
		}
		list = append(list, page.Threads...)
		if q.Before = page.Next; q.Before == (core.ThreadsCursor{}) {
			return list
		}
	}
}

// testBlockedSync calls all read methods while a sync hangs. The reads must return the rows as
// they were before the batch that is not durable yet.
func testBlockedSync(t *testing.T, e Engine) {
	if e.Blockable == nil {
		t.Skip("this engine has no syncs of its own to block")
	}
	s, gate := e.Blockable(t)
	defer closeStore(t, s)
	ann := user(1)
	live := core.User{ID: ann, State: core.UserLive, Generation: 1, CustomID: customID}
	// The threads are in both lanes, the independent queues of the store. A batch of one lane
	// that waits must not affect reads of the other lane's threads.
	a, b, c, born := thread(1), "", thread(50), thread(51)
	for n := 2; b == ""; n++ {
		if core.LaneOf(thread(n), s.Lanes()) != core.LaneOf(a, s.Lanes()) || s.Lanes() == 1 {
			b = thread(n)
		}
	}
	first := send(a, 1, ann, "", "durable")
	apply(t, s, start, auditing(auditRow(start, 1)), putUser(core.User{ID: ann}, live), create(a, "", ann), create(b, "", ann), create(c, "", ann), first)
	late := start + 5*60_000 // five minutes later, so that the thread moves to another place in the lists
	threads := []string{a, b, c, born}
	before := look(t, s, ann, threads, late)
	if len(before.Ones) != 3 || before.Custom != live {
		t.Fatalf("the list has %d threads, want 3; the custom id has %+v", len(before.Ones), before.Custom)
	}
	in := func(id string) *core.Thread { return load(t, s, id) }

	held := gate.Shut()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer gate.Open() // open the gate also if the test fails: otherwise closing the store would hang
	deleting := live
	deleting.State, deleting.DeletedAt, deleting.CustomID = core.UserDeleting, late, ""
	byLane := make([][]*core.Change, s.Lanes())
	for _, c := range []*core.Change{
		withRoster(send(a, 1, ann, "", "not durable"), in(a)),
		receipt(a, 1, ann, first.Messages[0].ID),
		keptFor(30, &core.Change{Key: a, Thread: a, Revision: 1, Properties: &core.Properties{Topic: "not durable", CreatedBy: ann, CreatedOn: start}}),
		withRoster(send(b, 1, ann, "", "not durable"), in(b)),
		{Key: c, Thread: c, Revision: 1, Purge: true, Events: []core.Event{{Kind: core.ThreadDeleted, Actor: ann}}},
		create(born, "", ann),
		putUser(live, deleting),
		auditing(auditRow(late, 2), refusedRow(late, 3, 10)),
	} {
		lane := core.LaneOf(c.Key, s.Lanes())
		byLane[lane] = append(byLane[lane], c)
	}
	for _, changes := range byLane {
		if len(changes) == 0 {
			continue
		}
		wg.Go(func() {
			if _, err := s.Apply(context.Background(), core.Batch{At: late, Changes: changes}); err != nil {
				t.Errorf("apply: %v", err)
			}
		})
	}
	wg.Go(func() {
		if _, err := s.SetKey(context.Background(), 0, core.AccessKeyRow{Serial: 2, Secret: []byte("not durable, and longer than 32 bytes")}, auditRow(late, 4)); err != nil {
			t.Errorf("set a key: %v", err)
		}
	})
	<-held
	for range 100 { // read again and again: no read may see the effect of a batch that is not durable
		mustEqual(t, "all that is seen while a sync hangs", look(t, s, ann, threads, late), before)
	}
	gate.Open()
	wg.Wait()

	after := look(t, s, ann, threads, late)
	if after.Messages[0].Messages[0].Content != "not durable" || after.Threads[0].Topic != "not durable" || after.Messages[0].Head.Revision != 2 || after.Threads[2].DeletedOn != late || after.Threads[3] == nil {
		t.Errorf("once durable, the threads are %+v with %+v", after.Threads, after.Messages)
	}
	if after.Message[0].ID != late || after.User != deleting || after.Custom != (core.User{}) || len(after.Deleting) != 1 || len(after.Expiring) != 1 || len(after.Events) != len(before.Events)+5 {
		t.Errorf("once durable: message %d, user %+v, %d in deletion, %d that expire, %d events", after.Message[0].ID, after.User, len(after.Deleting), len(after.Expiring), len(after.Events))
	}
	if len(before.Audit) != 1 || len(after.Audit) != 4 {
		t.Errorf("%d audit rows before, and %d once durable, want 1 and 4", len(before.Audit), len(after.Audit))
	}
	if len(after.Receipts[0]) != 1 || after.Resource.Keys[0].Serial != 2 || len(after.List) != 4 || len(after.IDs) != 4 || len(after.Ones) != 4 {
		t.Errorf("once durable: receipts %+v, key %d, lists of %d and %d", after.Receipts[0], after.Resource.Keys[0].Serial, len(after.List), len(after.Ones))
	}
}
