package pebble

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// TestListReadsFewKeys lists pages of 50 messages of a long thread: the newest, from
// the middle and the oldest. Each page must read at most 70 keys, by Pebble's
// statistics.
func TestListReadsFewKeys(t *testing.T) {
	messages := 30_000
	if v := os.Getenv("TEST_LIST_MESSAGES"); v != "" {
		var err error
		if messages, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.TempDir(), Options{Initial: storetest.Initial})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const thread = "19:00000000000000000000000000000001@thread.v2"
	at := int64(1_700_000_000_000)
	apply := func(changes ...*core.Change) {
		t.Helper()
		if _, err := s.Apply(context.Background(), core.Batch{At: at, Changes: changes}); err != nil {
			t.Fatal(err)
		}
		at += 1000
	}
	apply(&core.Change{Key: thread, Thread: thread, Properties: &core.Properties{Topic: "t"}})
	for sent := 0; sent < messages; sent += 1000 {
		var batch []*core.Change
		for i := range 1000 {
			batch = append(batch, &core.Change{
				Key: thread, Thread: thread, Revision: 1,
				Messages: []core.Message{{Kind: core.Text, Sender: "8:acs:a", Content: fmt.Sprint("message ", sent+i)}},
				Events:   []core.Event{{Kind: core.MessageReceived, Actor: "8:acs:a"}},
			})
		}
		apply(batch...)
	}
	for _, q := range []core.MessagesQuery{
		{Limit: 50},
		{Limit: 50, Before: uint64(messages / 2)},
		{Limit: 50, Before: 51},
		{Limit: 50, Since: at - 500_000},
		{Limit: 50, Before: uint64(messages / 2), Since: at}, // no message is new enough
	} {
		q.Thread = thread
		page, stats, err := s.messages(q)
		if err != nil {
			t.Fatal(err)
		}
		steps := 0
		for _, counts := range [][pebble.NumStatsKind]int{stats.ForwardSeekCount, stats.ReverseSeekCount, stats.ForwardStepCount, stats.ReverseStepCount} {
			steps += max(counts[pebble.InterfaceCall], counts[pebble.InternalIterCall])
		}
		keys := max(steps, int(stats.InternalStats.PointCount)) + 1 // 1 for the head
		t.Logf("%d messages, %+v: %d messages listed, %d keys read", messages, q, len(page.Messages), keys)
		if keys > 70 {
			t.Errorf("a page of %d read %d keys, want at most 70", len(page.Messages), keys)
		}
	}
}

// TestListThreadsReadsFewKeys lists the threads of a user with many threads, page by page. A page
// may read about three keys for each thread that it shows, about three for each other thread of its
// first and its last minute, and few other keys.
func TestListThreadsReadsFewKeys(t *testing.T) {
	threads := 5_000
	if v := os.Getenv("TEST_LIST_THREADS"); v != "" {
		var err error
		if threads, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.TempDir(), Options{Initial: storetest.Initial})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const user, perMinute, page = "8:acs:a", 20, 100
	at := int64(1_700_000_000_000)
	for made := 0; made < threads; {
		byLane := make([][]*core.Change, s.Lanes())
		for range perMinute {
			id := fmt.Sprintf("19:%032x@thread.v2", made)
			made++
			lane := core.LaneOf(id, s.Lanes())
			byLane[lane] = append(byLane[lane], &core.Change{
				Key: id, Thread: id, Properties: &core.Properties{Topic: "t"},
				Members:  []core.Member{{User: user, Order: 1, Intervals: []core.Interval{{}}}},
				Messages: []core.Message{{Kind: core.TopicUpdated}},
				Events:   []core.Event{{Kind: core.ThreadCreated}},
			})
		}
		for _, batch := range byLane {
			if len(batch) == 0 {
				continue
			}
			if _, err := s.Apply(context.Background(), core.Batch{At: at, Changes: batch}); err != nil {
				t.Fatal(err)
			}
		}
		at += 60_000
	}
	listed, most := 0, 0
	for q := (core.ThreadsQuery{User: user, Limit: page}); ; {
		p, keys, err := s.threads(q)
		if err != nil {
			t.Fatal(err)
		}
		listed, most = listed+len(p.Threads), max(most, keys)
		if q.Before = p.Next; q.Before == (core.ThreadsCursor{}) {
			break
		}
	}
	t.Logf("%d threads, %d a minute: a page of %d reads at most %d keys", threads, perMinute, page, most)
	if listed != threads {
		t.Errorf("%d threads listed, want %d", listed, threads)
	}
	if want := 3*page + 2*3*perMinute + 3; most > want {
		t.Errorf("a page of %d read %d keys, want at most %d", page, most, want)
	}
}

// TestExpiringPassesOverOrphans adds entries to the index of expiry times that contradict the
// heads of the threads and have earlier times than the correct entries. Expiring must skip
// them.
func TestExpiringPassesOverOrphans(t *testing.T) {
	s := mustOpen(t, "store", vfs.NewMem())
	defer mustClose(t, s)
	fillThreads(t, s, 6, 1)
	expiries, err := s.Expiring(t.Context(), 10)
	if err != nil || len(expiries) != 2 {
		t.Fatalf("threads that expire: %+v, %v", expiries, err)
	}
	b := s.db.NewBatch()
	for n := 1; n <= 100; n++ {
		b.Set(expiryKey(int64(n), threadID(90+n)), encodeEntry(nil), nil)     // an entry of a thread that does not exist
		b.Set(expiryKey(int64(n), threadID(0)), encodeEntry(nil), nil)        // an entry of a thread that does not expire
		b.Set(expiryKey(int64(n), expiries[0].Thread), encodeEntry(nil), nil) // an entry of a thread that expires at another time
	}
	b.Set(expiryKey(1, threadID(1)), encodeEntry(nil), nil)
	b.Set(headKey(nil, threadID(1)), []byte{9}, nil) // a head row that cannot be decoded: Expiring must still return its thread
	if err := s.commit(b); err != nil {
		t.Fatal(err)
	}
	want := append([]core.Expiry{{Thread: threadID(1), On: 1}}, expiries...)
	for limit := range len(want) + 2 {
		got, err := s.Expiring(t.Context(), limit)
		if err != nil || !slices.Equal(got, want[:min(limit, len(want))]) {
			t.Errorf("Expiring(%d): %+v, %v; want the first of %+v", limit, got, err, want)
		}
	}
}

// TestNewsReadsFewKeys calls News for a user in 200 threads, three of which have two new events
// each. News may read two keys for each thread; for each of the three threads it may also read
// one more key, the two new events and the event before them. If the log has only these six
// events after the position, News may read two keys for each of three threads of the list and one
// for the next, the six events, and two keys for each of the three threads of these.
func TestNewsReadsFewKeys(t *testing.T) {
	s := mustOpen(t, "store", vfs.NewMem())
	defer mustClose(t, s)
	const threads, who, other = 200, "8:acs:user", "8:acs:other"
	createThread(t, s, threadID(threads), other)
	for n := range threads {
		createThread(t, s, threadID(n), who)
	}
	before, err := s.Tip(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fresh := []int{7, 77, 177}
	for _, n := range fresh {
		mustApply(t, s, sendTo(threadID(n), who, "a"))
		mustApply(t, s, sendTo(threadID(n), who, "b"))
	}
	check := func(most int) {
		t.Helper()
		news, keys, err := s.news(t.Context(), who, before.Position, 100)
		if err != nil || len(news) != len(fresh) {
			t.Fatalf("%d threads with news, %v; want %d", len(news), err, len(fresh))
		}
		for _, n := range news {
			if n.First != 2 {
				t.Errorf("thread %s has news from event %d, want 2", n.Head.ID, n.First)
			}
		}
		if keys > most {
			t.Errorf("%d keys were read, want at most %d", keys, most)
		}
	}
	check(2*len(fresh) + 1 + 2*len(fresh) + 2*len(fresh))
	for n := range 4 * threads {
		mustApply(t, s, sendTo(threadID(threads), other, fmt.Sprint(n)))
	}
	check(2*threads + len(fresh)*(1+3))
}

// TestNewsOfOthers calls News for a user in 200 threads, after whose position the log has one
// event in each of 700 threads of another user. News must not look for the user in these 700
// threads, because the user's list is shorter.
func TestNewsOfOthers(t *testing.T) {
	s := mustOpen(t, "store", vfs.NewMem())
	defer mustClose(t, s)
	const threads, events, who, other = 200, 700, "8:acs:user", "8:acs:other"
	for n := range threads {
		createThread(t, s, threadID(n), who)
	}
	before, err := s.Tip(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range events {
		createThread(t, s, threadID(threads+n), other)
	}
	news, keys, err := s.news(t.Context(), who, before.Position, 10)
	if most := 2*threads + events; err != nil || len(news) != 0 || keys > most {
		t.Errorf("%d threads with news, %d keys were read, %v; want none, and at most %d keys", len(news), keys, err, most)
	}
}

// createThread stores a thread with one member.
func createThread(t *testing.T, s *Store, id, member string) {
	t.Helper()
	mustApply(t, s, &core.Change{
		Key: id, Thread: id, Properties: &core.Properties{Topic: "topic", CreatedBy: member},
		Members: []core.Member{{User: member, Order: 1, Intervals: []core.Interval{{}}}},
		Events:  []core.Event{{Kind: core.ThreadCreated, Actor: member}},
	})
}

// TestNewsEndsWithItsContext calls News with a canceled context, for a user in many threads
// without news. News must fail before it has read all events after the position, if these are
// few, or the whole list, if they are many.
func TestNewsEndsWithItsContext(t *testing.T) {
	s := mustOpen(t, "store", vfs.NewMem())
	defer mustClose(t, s)
	const who, other = "8:acs:user", "8:acs:other"
	for n := range checkEvery + 1 {
		createThread(t, s, threadID(n), who)
	}
	createThread(t, s, threadID(checkEvery+1), other)
	before, err := s.Tip(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	sent := 0
	for _, events := range []int{2 * checkEvery, 5 * checkEvery} {
		for ; sent < events; sent++ {
			mustApply(t, s, sendTo(threadID(checkEvery+1), other, fmt.Sprint(sent)))
		}
		if _, keys, err := s.news(ctx, who, before.Position, 10); !errors.Is(err, context.Canceled) || keys >= 5*checkEvery/2 {
			t.Errorf("%d events: news has read %d keys and returned %v, want fewer than %d keys and %v", events, keys, err, 5*checkEvery/2, context.Canceled)
		}
	}
}

// TestSupersededMessagesCostOthersNothing lists the messages of two threads, only one of which
// has a thousand superseded messages. These are shown only to members who have left. For the
// operator and for a member who is in the thread, both pages must read the same number of keys.
func TestSupersededMessagesCostOthersNothing(t *testing.T) {
	s := mustOpen(t, "store", vfs.NewMem())
	defer mustClose(t, s)
	fillThreads(t, s, 2, 100)
	const here = "8:here"
	b := s.db.NewBatch()
	for i := range uint64(1000) {
		putSuperseded(b, threadID(0), 1_700_000_000_000+int64(i%50), 1+i%99, 2+i%99, true, true)
	}
	for n := range 2 {
		members.put(&writer{batch: b}, &core.ThreadMember{Thread: threadID(n), Member: core.Member{User: here, Intervals: []core.Interval{{From: 1}}}})
	}
	if err := s.commit(b); err != nil {
		t.Fatal(err)
	}
	for _, reader := range []string{"", here} {
		var read [2]int
		for n := range 2 {
			page, stats, err := s.messages(core.MessagesQuery{Thread: threadID(n), Reader: reader, Limit: 50})
			if err != nil || len(page.Messages) != 50 {
				t.Fatalf("%d messages for %q, %v", len(page.Messages), reader, err)
			}
			for _, counts := range [][pebble.NumStatsKind]int{stats.ForwardSeekCount, stats.ReverseSeekCount, stats.ForwardStepCount, stats.ReverseStepCount} {
				read[n] += counts[pebble.InterfaceCall] + counts[pebble.InternalIterCall]
			}
		}
		if read[0] != read[1] {
			t.Errorf("a page for %q reads %d keys with superseded messages in the thread, and %d without", reader, read[0], read[1])
		}
	}
}
