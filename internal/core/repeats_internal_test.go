package core

import (
	"fmt"
	"strings"
	"testing"
)

const requestID = "5d0b4c3e-8f5f-4f0a-9d3a-2f1f5f0c9d11"

// TestFingerprintOf checks that requests that differ in one field have different fingerprints.
func TestFingerprintOf(t *testing.T) {
	cmd := func(change func(*SendMessage)) *SendMessage {
		c := &SendMessage{Kind: Text, Content: "content", SenderDisplayName: "Ann", Metadata: map[string]string{"a": "1", "b": "2"}, RequestID: requestID}
		change(c)
		return c
	}
	first := fingerprintOf(ann, cmd(func(*SendMessage) {}))
	if first.IsZero() {
		t.Fatal("a request with an id has no fingerprint")
	}
	if got := fingerprintOf(ann, cmd(func(c *SendMessage) { c.RequestID = strings.ToUpper(requestID) })); got != first {
		t.Error("the letter case of the id matters")
	}
	if got := fingerprintOf(bob, cmd(func(*SendMessage) {})); got.call() == first.call() {
		t.Error("requests of two callers look like one call")
	}
	if got := fingerprintOf(ann, cmd(func(c *SendMessage) { c.RequestID = "6" + requestID[1:] })); got.call() == first.call() || [8]byte(got[8:]) == [8]byte(first[8:]) {
		t.Error("requests with two ids look alike")
	}
	// All of these commands are different, although the texts of some are equal when they
	// are joined.
	seen := map[Fingerprint]string{first: "the first"}
	for name, change := range map[string]func(*SendMessage){
		"another type":             func(c *SendMessage) { c.Kind = HTML },
		"another priority":         func(c *SendMessage) { c.High = true },
		"another content":          func(c *SendMessage) { c.Content = "content " },
		"a letter moved":           func(c *SendMessage) { c.Content, c.SenderDisplayName = "contentA", "nn" },
		"no name":                  func(c *SendMessage) { c.SenderDisplayName = "" },
		"another value":            func(c *SendMessage) { c.Metadata["a"] = "3" },
		"values moved":             func(c *SendMessage) { c.Metadata = map[string]string{"a": "1b", "": "2"} },
		"no metadata":              func(c *SendMessage) { c.Metadata = nil },
		"one pair":                 func(c *SendMessage) { delete(c.Metadata, "b") },
		"a content as long as two": func(c *SendMessage) { c.Content = strings.Repeat("content", 1000) },
	} {
		got := fingerprintOf(ann, cmd(change))
		if got.call() != first.call() {
			t.Errorf("%s: it looks like another call", name)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
		seen[got] = name
	}
	for name, change := range map[string]func(*SendMessage){
		"a token":          func(c *SendMessage) { c.Token = "token" },
		"no id":            func(c *SendMessage) { c.RequestID = "" },
		"another id":       func(c *SendMessage) { c.RequestID = "correlation-of-the-whole-application" },
		"braces":           func(c *SendMessage) { c.RequestID = "{" + requestID[1:35] + "}" },
		"hyphens moved":    func(c *SendMessage) { c.RequestID = "5d0b4c3e8-f5f-4f0a-9d3a-2f1f5f0c9d11" },
		"a letter too few": func(c *SendMessage) { c.RequestID = requestID[1:] },
	} {
		if got := fingerprintOf(ann, cmd(change)); !got.IsZero() {
			t.Errorf("%s: fingerprint %x, want none", name, got)
		}
	}
	if got, want := fingerprintOf(ann, cmd(func(c *SendMessage) { c.Metadata = map[string]string{} })), fingerprintOf(ann, cmd(func(c *SendMessage) { c.Metadata = nil })); got != want {
		t.Error("empty metadata is not the same as none")
	}
}

// TestNoFingerprintCostsNothing checks that making the fingerprint of a send allocates no memory,
// both without a request id and for a short message with a request id.
func TestNoFingerprintCostsNothing(t *testing.T) {
	for _, cmd := range []*SendMessage{{Kind: Text, Content: "content"}, {Kind: Text, Content: "content", RequestID: requestID}} {
		if n := testing.AllocsPerRun(100, func() { fingerprintOf(ann, cmd) }); n != 0 {
			t.Errorf("request id %q: %v allocations, want none", cmd.RequestID, n)
		}
	}
}

// batchOf returns a state for a batch that sends one message with the fingerprint to each thread.
func batchOf(heads map[string]*Head, request Fingerprint) *BatchState {
	var b Batch
	for id := range heads {
		b.Changes = append(b.Changes, &Change{Key: id, Thread: id, Messages: []Message{{Fingerprint: request}}})
	}
	s := NewBatchState(b)
	s.Heads = heads
	return s
}

// TestRecentIsBounded looks up many threads with many messages in a Recent. It checks that the
// memory stays below its bound, that threads are forgotten if they are not used for five minutes,
// and that the count of messages is right.
func TestRecentIsBounded(t *testing.T) {
	r := NewRecent()
	all := make([]RecentSend, MaxRecentSends+100)
	for i := range all {
		all[i] = RecentSend{ID: noon + int64(i), CreatedOn: noon, Fingerprint: Fingerprint{byte(i), byte(i >> 8)}}
	}
	use := func(id string, at int64, found []RecentSend) {
		t.Helper()
		head := &Head{ID: id, Revision: 1, Counters: Counters{LastSequence: uint64(len(found)), LastMessageOn: at}}
		s := batchOf(map[string]*Head{id: head}, Fingerprint{1})
		for _, q := range r.Load(s, at) {
			if q != (RecentQuery{id, 0, at - repeatWindow}) {
				t.Fatalf("query %+v", q)
			}
			r.Learn(s, q, found, at)
		}
		if len(found) > 0 && (len(s.Recent[id].sends) == 0 || len(s.Recent[id].sends) > MaxRecentSends) {
			t.Fatalf("%d sends of a thread", len(s.Recent[id].sends))
		}
		if more := r.Load(s, at); len(more) > 0 {
			t.Fatalf("a thread that was looked up is looked up again: %+v", more)
		}
		if most := maxRecent + 2*MaxRecentSends; r.size > most {
			t.Fatalf("a Recent of %d messages, want at most %d", r.size, most)
		}
	}
	for n := range 2200 {
		use(fmt.Sprint("busy ", n), noon, all)
	}
	heads := map[string]*Head{}
	for n := range 50 {
		id := fmt.Sprint("of one batch ", n)
		heads[id] = &Head{ID: id, Revision: 1, Counters: Counters{LastSequence: uint64(len(all)), LastMessageOn: noon}}
	}
	s := batchOf(heads, Fingerprint{1})
	for _, q := range r.Load(s, noon) {
		r.Learn(s, q, all, noon)
		if most := maxRecent + MaxRecentSends; r.size > most {
			t.Fatalf("within a batch, a Recent of %d messages, want at most %d", r.size, most)
		}
	}
	for id := range heads {
		if !r.threads.Contains(id) {
			t.Errorf("the thread %s of the batch is not held", id)
		}
	}
	if n := r.threads.Len(); n < 100 || n > maxRecent/MaxRecentSends {
		t.Errorf("%d busy threads are held, want 100 to %d", n, maxRecent/MaxRecentSends)
	}
	for n := range 20_000 {
		use(fmt.Sprint("quiet ", n), noon+1, nil)
	}
	use("later", noon+2+repeatWindow, nil)
	if n := r.threads.Len(); n != 1 || r.size != recentThreadSize {
		t.Errorf("after five minutes %d threads and %d messages are held, want 1 and %d", n, r.size, recentThreadSize)
	}
}

// TestRecentOfAnotherBatch uses a Recent for batches that fail, and for threads that other servers
// have changed. It checks that Load asks for the messages that the Recent lacks, and that messages
// that were not written are forgotten.
func TestRecentOfAnotherBatch(t *testing.T) {
	r := NewRecent()
	head := &Head{ID: thread1, Revision: 1, Counters: Counters{LastID: noon, LastSequence: 2, LastMessageOn: noon}}
	var last *BatchState
	apply := func(request Fingerprint) (o Outcome, queries []RecentQuery) {
		s := batchOf(map[string]*Head{thread1: head}, request)
		last = s
		queries = r.Load(s, noon)
		for _, q := range queries {
			r.Learn(s, q, nil, noon)
		}
		c := &Change{Key: thread1, Thread: thread1, Revision: 1, Messages: []Message{{Fingerprint: request}}, Events: []Event{{Kind: MessageReceived}}}
		return Assign(Batch{At: noon, Changes: []*Change{c}}, s)[0], queries
	}
	if o, q := apply(Fingerprint{1}); o.Status != Applied || len(q) != 1 || q[0].After != 0 {
		t.Fatalf("the first send: %+v after %+v", o, q)
	}
	if o, q := apply(Fingerprint{1}); o.Status != Replayed || len(q) != 0 {
		t.Errorf("its repeat: status %d after %+v", o.Status, q)
	}
	// Another server adds a message.
	head.LastSequence++
	if o, q := apply(Fingerprint{2}); o.Status != Applied || len(q) != 1 || q[0].After != 3 {
		t.Errorf("after a message of another server: %+v after %+v", o, q)
	}
	next := batchOf(map[string]*Head{thread1: head}, Fingerprint{2})
	if q := r.Expected(next, noon); len(q) != 1 || q[0].After != 5 {
		t.Errorf("expected queries %+v, want one after 5", q)
	}
	// A batch is not written, and another server adds a message with the same sequence.
	was := *head
	if o, _ := apply(Fingerprint{3}); o.Status != Applied {
		t.Fatalf("a send: %+v", o)
	}
	r.Forget(last)
	*head = was
	head.LastSequence++
	if o, q := apply(Fingerprint{3}); o.Status != Applied || len(q) != 1 || q[0].After != 0 {
		t.Errorf("after a batch that was not written: %+v after %+v", o, q)
	}
	// The store is restored to an older state.
	head.LastSequence = 1
	if o, q := apply(Fingerprint{3}); o.Status != Applied || len(q) != 1 || q[0].After != 0 {
		t.Errorf("in an older state: %+v after %+v", o, q)
	}
	// A server lost the last message, and a new message has the lost message's sequence.
	head.LastID++
	if o, q := apply(Fingerprint{3}); o.Status != Applied || len(q) != 1 || q[0].After != 0 {
		t.Errorf("after a message in place of the last one: %+v after %+v", o, q)
	}
	// The last message is too old, so Load must return no query.
	head.LastMessageOn, head.LastSequence = noon-repeatWindow-1, 50
	if o, q := apply(Fingerprint{4}); o.Status != Applied || len(q) != 0 {
		t.Errorf("after a long time: %+v after %+v", o, q)
	}
}

// TestRecentAfterWrongClock sends while the clock is an hour ahead, and then sets the clock right.
// It checks that messages with a wrong time count as too old: a later send does not count as a
// repeat of them, and later messages overwrite them.
func TestRecentAfterWrongClock(t *testing.T) {
	const ahead = noon + 60*MillisPerMinute
	r := NewRecent()
	use := func(id string, at int64) *RecentSends {
		s := batchOf(map[string]*Head{id: {ID: id, Revision: 1}}, Fingerprint{1})
		if q := r.Load(s, at); len(q) != 0 {
			t.Fatalf("queries %+v for a thread without messages", q)
		}
		return s.Recent[id]
	}
	sends := use(thread1, ahead)
	for i := range MaxRecentSends {
		sends.add(RecentSend{ahead + int64(i), ahead, Fingerprint{1}}, ahead)
	}
	if id := sends.find(Fingerprint{1}, ahead); id != ahead {
		t.Errorf("while the clock is ahead, the first try is %d, want %d", id, ahead)
	}
	if id := sends.find(Fingerprint{1}, noon); id != 0 {
		t.Errorf("after it was set right, a send an hour later is taken for the first try: %d", id)
	}
	for i := range 2 {
		sends.add(RecentSend{ahead + MaxRecentSends + int64(i), noon, Fingerprint{2}}, noon)
	}
	if id := sends.find(Fingerprint{2}, noon); id != ahead+MaxRecentSends {
		t.Errorf("the first try is %d, want %d", id, ahead+MaxRecentSends)
	}
	use("another thread", noon)
	if r.threads.Contains(thread1) {
		t.Error("a thread that was used at the wrong time is held")
	}
}

func BenchmarkFingerprint(b *testing.B) {
	for _, size := range []int{100, 4096} {
		cmd := &SendMessage{Kind: Text, Content: strings.Repeat("x", size), RequestID: requestID}
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				fingerprintOf(ann, cmd)
			}
		})
	}
}
