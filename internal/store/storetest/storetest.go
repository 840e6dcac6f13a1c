// Package storetest has a test suite for engines: it tests that an engine keeps the promises of
// core.Store.
//
// The tests of each engine call Run. If a bug is found in one engine, a case is added here.
package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/core"
)

// Engine has the functions with which the suite opens stores of the engine under test.
type Engine struct {
	// Open returns an empty store. The suite closes it.
	Open func(t *testing.T) core.Store

	// Reopen closes a store that Open returned, and opens its data again.
	Reopen func(t *testing.T, s core.Store) core.Store

	// Second opens the data of a store that is still open, as another process would. It is nil
	// if the engine does not allow that; tests that need it are then skipped.
	Second func(t *testing.T, s core.Store) core.Store

	// Blockable returns an empty store and a gate that can block the store's syncs to disk. It
	// is nil if the engine has no such gate; tests that need it are then skipped.
	Blockable func(t *testing.T) (core.Store, *Gate)

	// ThreadRows returns the number of rows of lists, heads and members that Store.Threads reads
	// for a query that does not expand the entries.
	ThreadRows func(t *testing.T, s core.Store, q core.ThreadsQuery) int
}

// Initial is the resource of the stores that Engine.Open returns.
var Initial = core.Resource{
	ID: "11111111-2222-4333-8444-555555555555", Epoch: "epoch",
	Keys: [2]core.AccessKeyRow{{Serial: 1, Secret: make([]byte, 64)}, {Serial: 1, Secret: make([]byte, 64)}},
}

// Run runs all tests of the suite on an engine, each as a subtest.
func Run(t *testing.T, e Engine) {
	t.Run("empty", func(t *testing.T) { testEmpty(t, e) })
	t.Run("resource", func(t *testing.T) { testResource(t, e) })
	t.Run("in-batch order", func(t *testing.T) { testInBatchOrder(t, e) })
	t.Run("preconditions", func(t *testing.T) { testPreconditions(t, e) })
	t.Run("rows survive", func(t *testing.T) { testRowsSurvive(t, e) })
	t.Run("paging", func(t *testing.T) { testPaging(t, e) })
	t.Run("pages in bytes", func(t *testing.T) { testPageBytes(t, e) })
	t.Run("readers", func(t *testing.T) { testReader(t, e) })
	t.Run("decisions", func(t *testing.T) { testDecisions(t, e) })
	t.Run("decisions are durable", func(t *testing.T) { testDecisionsAreDurable(t, e) })
	t.Run("since", func(t *testing.T) { testSince(t, e) })
	t.Run("rewrites", func(t *testing.T) { testRewrites(t, e) })
	t.Run("superseded messages", func(t *testing.T) { testSuperseded(t, e) })
	t.Run("superseded messages in a batch", func(t *testing.T) { testSupersededInBatch(t, e) })
	t.Run("superseded messages by thread", func(t *testing.T) { testSupersededThreads(t, e) })
	t.Run("too many superseded messages", func(t *testing.T) { testSupersededBound(t, e) })
	t.Run("repeated sends", func(t *testing.T) { testRepeats(t, e) })
	t.Run("repeated sends of an edited message", func(t *testing.T) { testRepeatsOfEdited(t, e) })
	t.Run("repeated sends in a busy thread", func(t *testing.T) { testRepeatsInBusyThread(t, e) })
	t.Run("repeated sends on two servers", func(t *testing.T) { testRepeatsOnTwo(t, e) })
	t.Run("receipts", func(t *testing.T) { testReceipts(t, e) })
	t.Run("leaving and coming back", func(t *testing.T) { testLeaving(t, e) })
	t.Run("purge", func(t *testing.T) { testPurge(t, e) })
	t.Run("list of threads", func(t *testing.T) { testThreads(t, e) })
	t.Run("list of threads of crowded minutes", func(t *testing.T) { testCrowdedMinutes(t, e) })
	t.Run("lists of many participants", func(t *testing.T) { testRelist(t, e) })
	t.Run("random lists of many participants", func(t *testing.T) { testRelistHistories(t, e) })
	t.Run("expanded list of threads", func(t *testing.T) { testExpand(t, e) })
	t.Run("bounds of an expanded list of threads", func(t *testing.T) { testExpandBounds(t, e) })
	t.Run("users in deletion", func(t *testing.T) { testDeleting(t, e) })
	t.Run("list of users", func(t *testing.T) { testUserList(t, e) })
	t.Run("custom ids", func(t *testing.T) { testCustomIDs(t, e) })
	t.Run("custom ids in an export", func(t *testing.T) { testCustomIDTransfer(t, e) })
	t.Run("custom ids of several writers", func(t *testing.T) { testCustomIDWriters(t, e) })
	t.Run("threads that expire", func(t *testing.T) { testExpiring(t, e) })
	t.Run("positions", func(t *testing.T) { testPositions(t, e) })
	t.Run("events", func(t *testing.T) { testEvents(t, e) })
	t.Run("log backwards", func(t *testing.T) { testLogBefore(t, e) })
	t.Run("list of heads", func(t *testing.T) { testListHeads(t, e) })
	t.Run("cursors", func(t *testing.T) { testCursors(t, e) })
	t.Run("trim", func(t *testing.T) { testTrim(t, e) })
	t.Run("news", func(t *testing.T) { testNews(t, e) })
	t.Run("news of many threads", func(t *testing.T) { testNewsOfManyThreads(t, e) })
	t.Run("events of a thread", func(t *testing.T) { testThreadDays(t, e) })
	t.Run("tell", func(t *testing.T) { testTell(t, e) })
	t.Run("tell who was in a new thread", func(t *testing.T) { testTellCreated(t, e) })
	t.Run("endpoints", func(t *testing.T) { testEndpoints(t, e) })
	t.Run("shared endpoints", func(t *testing.T) { testSharedEndpoints(t, e) })
	t.Run("writers of endpoints", func(t *testing.T) { testEndpointWriters(t, e) })
	t.Run("audit rows", func(t *testing.T) { testAudit(t, e) })
	t.Run("audit rows that a filter skips", func(t *testing.T) { testAuditLook(t, e) })
	t.Run("old audit rows", func(t *testing.T) { testAuditTrim(t, e) })
	t.Run("audit rows in a batch", func(t *testing.T) { testAuditInBatch(t, e) })
	t.Run("audit rows of two servers", func(t *testing.T) { testAuditOnTwo(t, e) })
	t.Run("clock steps back", func(t *testing.T) { testClock(t, e) })
	t.Run("blocked sync", func(t *testing.T) { testBlockedSync(t, e) })
	t.Run("random histories", func(t *testing.T) { testHistories(t, e) })
	t.Run("export and import", func(t *testing.T) { testTransfer(t, e) })
	t.Run("imports that are refused", func(t *testing.T) { testTransferRefusals(t, e) })
	t.Run("two writers", func(t *testing.T) { TwoWriters(t, e) })
}

// start is the time of the first batches in epoch milliseconds. It is a second before
// midnight UTC, so that the day of the event log changes during a test.
const start = int64(20_000)*86_400_000 - 1000

func user(n int) string {
	return fmt.Sprintf("8:acs:%s_00000000-0000-0000-0000-%012d", Initial.ID, n)
}

func thread(n int) string { return fmt.Sprintf("19:%032x@thread.v2", n) }

// create returns the change that creates a thread with the given users. If token is not "", the
// change also stores an answer for repeats of the creation.
func create(id, token string, users ...string) *core.Change {
	c := &core.Change{
		Key: id, Thread: id,
		Properties: &core.Properties{Topic: "topic of " + id, CreatedBy: users[0]},
		Messages: []core.Message{
			{Kind: core.ParticipantAdded, Initiator: users[0], Participants: []core.MessageParticipant{{User: users[0], DisplayName: "Ann"}}},
			{Kind: core.TopicUpdated, Initiator: users[0], Content: "topic of " + id},
		},
		Events: []core.Event{{Kind: core.ThreadCreated, Actor: users[0]}},
	}
	for i, u := range users {
		c.Members = append(c.Members, core.Member{User: u, Order: uint32(i + 1), Intervals: []core.Interval{{}}})
	}
	if token != "" {
		c.Answer = &core.CreateAnswer{Topic: c.Properties.Topic, CreatedBy: users[0], Invalid: []core.InvalidParticipant{{User: token, Code: "404", Message: "Not found"}}}
	}
	return c
}

// policies are the retention policies, in days, that random tests use; 0 means none.
var policies = []int32{0, 30, 90}

// keptFor sets the retention policy of the thread in change c, in days, and returns c.
func keptFor(days int32, c *core.Change) *core.Change {
	c.Properties.RetentionDays = days
	return c
}

// send returns the change that adds a text message to a thread. revision is the thread's
// revision from which the change is computed.
func send(id string, revision uint64, sender, token, content string) *core.Change {
	return &core.Change{
		Key: id, Thread: id, Revision: revision, SendToken: token, Caller: sender,
		Messages: []core.Message{{Kind: core.Text, Sender: sender, Content: content, SenderDisplayName: "Ann", Metadata: map[string]string{"b": "2", "a": "1"}}},
		Events:   []core.Event{{Kind: core.MessageReceived, Actor: sender}},
	}
}

// putUser returns the change that replaces a user's row: from is the present row, to is the new
// one.
func putUser(from, to core.User) *core.Change {
	return &core.Change{Key: to.ID, ReadUsers: []core.User{from}, PutUsers: []core.User{to}}
}

// apply applies the changes and returns their outcomes in the same order. The changes of each
// lane, a queue of the store, are one batch. It fails the test if Store.Apply modifies a
// change. Then it replaces each applied change by the copy that has the assigned numbers.
func apply(t rapid.TB, s core.Store, at int64, changes ...*core.Change) []core.Outcome {
	t.Helper()
	outcomes := make([]core.Outcome, len(changes))
	for lane := range s.Lanes() {
		var batch []*core.Change
		var places []int
		for i, c := range changes {
			if core.LaneOf(c.Key, s.Lanes()) == lane {
				batch, places = append(batch, c), append(places, i)
			}
		}
		if len(batch) == 0 {
			continue
		}
		os, err := applyBatch(t, s, core.Batch{At: at, Check: uint32(at), Changes: batch})
		if err != nil {
			t.Fatalf("apply %d changes: %v", len(batch), err)
		}
		for i, o := range os {
			outcomes[places[i]] = o
		}
	}
	return outcomes
}

// applyBatch applies a batch with changes of one lane, and returns the outcomes or the error of
// Store.Apply. Like apply, it fails the test if Store.Apply modifies a change.
func applyBatch(t rapid.TB, s core.Store, b core.Batch) ([]core.Outcome, error) {
	t.Helper()
	before := make([]*core.Change, len(b.Changes))
	for i, c := range b.Changes {
		before[i] = cloneChange(c)
	}
	outcomes, err := s.Apply(context.Background(), b)
	ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Decide" }, cmp.Ignore())
	if diff := cmp.Diff(before, b.Changes, ignore); diff != "" {
		t.Fatalf("Apply altered its changes (-before +after):\n%s", diff)
	}
	putRows(b.Changes, outcomes)
	return outcomes, err
}

// putRows replaces each applied change by the copy in its outcome, which has the ids
// and numbers that the store assigned.
func putRows(changes []*core.Change, outcomes []core.Outcome) {
	for i, o := range outcomes {
		if o.Status == core.Applied {
			*changes[i] = *o.Change
		}
	}
}

func cloneChange(c *core.Change) *core.Change {
	n := *c
	n.Members, n.Messages, n.Rewrites, n.Events = slices.Clone(c.Members), slices.Clone(c.Messages), slices.Clone(c.Rewrites), slices.Clone(c.Events)
	for i := range n.Members {
		n.Members[i].Intervals = slices.Clone(n.Members[i].Intervals)
	}
	if c.Receipt != nil {
		r := *c.Receipt
		n.Receipt = &r
	}
	if c.Answer != nil {
		a := *c.Answer
		n.Answer = &a
	}
	return &n
}

// userRow returns the row of a user. If the user has no row, it returns a row with the state
// core.UserUnknown.
func userRow(t rapid.TB, s core.Store, id string) core.User {
	t.Helper()
	us, err := s.Users(context.Background(), []string{id})
	if err != nil || len(us) > 1 {
		t.Fatalf("read user %s: %d rows, %v", id, len(us), err)
	}
	if len(us) == 0 {
		return core.User{ID: id}
	}
	return us[0]
}

// message returns a message by its id, or the zero Message if there is none.
func message(t rapid.TB, s core.Store, thread string, id int64) core.Message {
	t.Helper()
	page, err := s.Messages(context.Background(), core.MessagesQuery{Thread: thread, IDs: []int64{id}})
	if err != nil || len(page.Messages) > 1 {
		t.Fatalf("read message %d: %d rows, %v", id, len(page.Messages), err)
	}
	if len(page.Messages) == 0 {
		return core.Message{}
	}
	return page.Messages[0]
}

func receipts(t rapid.TB, s core.Store, thread string) []core.Receipt {
	t.Helper()
	page, err := s.Receipts(context.Background(), thread, "")
	if err != nil {
		t.Fatalf("read the receipts of %s: %v", thread, err)
	}
	return page.Receipts
}

// answer returns the stored answer to the creation of a thread, or nil if none is
// stored.
func answer(t rapid.TB, s core.Store, thread string) *core.CreateAnswer {
	t.Helper()
	replay := create(thread, "key", user(1))
	replay.Decide = func(core.Rows) (*core.Change, error) { return &core.Change{}, nil } // the store calls this only if it has no stored answer; it writes nothing
	return apply(t, s, start, replay)[0].Answer
}

func statuses(rs []core.Outcome) []core.Status {
	out := make([]core.Status, len(rs))
	for i, r := range rs {
		out[i] = r.Status
	}
	return out
}

func messages(t rapid.TB, s core.Store, q core.MessagesQuery) core.MessagesPage {
	t.Helper()
	page, err := s.Messages(context.Background(), q)
	if err != nil {
		t.Fatalf("list messages %+v: %v", q, err)
	}
	return page
}

// events returns all events of the log.
func events(t rapid.TB, s core.Store) []core.Event {
	t.Helper()
	es, err := Events(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	return es
}

// Events gives positions to all committed events and returns the whole log. It fails if the
// beginning of the log was trimmed.
func Events(ctx context.Context, s core.Store) (es []core.Event, err error) {
	if _, err := s.Sequence(ctx); err != nil {
		return nil, fmt.Errorf("give positions: %w", err)
	}
	end, err := s.Tip(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the end of the log: %w", err)
	}
	for at := (core.Cursor{Epoch: end.Epoch}); ; {
		page, err := s.Log(ctx, at, 1000)
		if err != nil || page.Gap != 0 {
			return nil, fmt.Errorf("read the log after %d: gap %q, %w", at.Position, page.Gap, err)
		}
		if len(page.Events) == 0 {
			return es, nil
		}
		es, at = append(es, page.Events...), page.Next
	}
}

func closeStore(t testing.TB, s core.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close the store: %v", err)
	}
}

func mustEqual(t rapid.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(core.Thread{}, core.Roster{})); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}
