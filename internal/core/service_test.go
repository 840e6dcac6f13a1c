package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/store/storetest"
	"github.com/confab-chat/confab/sdk/communication"
)

const resourceID = "11111111-2222-4333-8444-555555555555"

// start is the time at which the clock of these tests begins.
var start = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// house is the setup of a test: a service on an embedded store in memory, with a clock that the
// test sets.
type house struct {
	*core.Service
	store core.Store
	now   atomic.Int64 // epoch milliseconds
}

// newHouse starts a service on an embedded store in memory. If wrap is not nil, the service
// uses the store that wrap returns.
func newHouse(t testing.TB, bus core.Bus, wrap func(core.Store) core.Store) *house {
	t.Helper()
	return newHouseWith(t, bus, wrap, core.Options{})
}

// newHouseWith is like newHouse, but with the given options of the service, except for the
// clock.
func newHouseWith(t testing.TB, bus core.Bus, wrap func(core.Store) core.Store, o core.Options) *house {
	t.Helper()
	engine, err := pebble.Open("store", pebble.Options{FS: pebble.NewMem(), CacheSize: 1 << 20, Initial: core.Resource{
		ID: resourceID, Epoch: "epoch", Keys: [2]core.AccessKeyRow{{Serial: 1, Secret: make([]byte, 64)}, {Serial: 1, Secret: make([]byte, 64)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	h := &house{store: engine}
	h.now.Store(start.UnixMilli())
	var store core.Store = engine
	if wrap != nil {
		store = wrap(engine)
	}
	if bus == nil {
		bus = new(local.Bus)
	}
	o.Now = func() time.Time { return time.UnixMilli(h.now.Load()) }
	h.Service, err = core.New(t.Context(), store, bus, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func (h *house) user(t testing.TB) string {
	t.Helper()
	u, err := h.CreateUser(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return u.ID
}

func (h *house) thread(t testing.TB, caller string, others ...string) string {
	t.Helper()
	cmd := core.CreateThread{Topic: "topic"}
	for _, o := range others {
		cmd.Participants = append(cmd.Participants, core.NewParticipant{User: communication.ParseRawID(o)})
	}
	made, invalid, err := h.CreateThread(context.Background(), caller, cmd)
	if err != nil || len(invalid) > 0 {
		t.Fatalf("create a thread: invalid %v, error %v", invalid, err)
	}
	return made.ID
}

func text(content string) core.SendMessage {
	return core.SendMessage{Content: content, Kind: core.Text}
}

func (h *house) send(t testing.TB, caller, thread, content string) int64 {
	t.Helper()
	id, err := h.SendMessage(context.Background(), caller, thread, text(content))
	if err != nil {
		t.Fatalf("send %q: %v", content, err)
	}
	return id
}

// contents returns the contents of the messages that the caller may see, newest first. For a
// system message it returns the kind instead of the content.
func (h *house) contents(t *testing.T, caller, thread string) []string {
	t.Helper()
	page, err := h.ListMessages(context.Background(), caller, thread, core.ListMessages{Limit: core.MaxMessagesPage})
	ms := page.Messages
	if err != nil {
		t.Fatalf("list messages: %v", err)
	}
	var out []string
	for _, m := range ms {
		if m.Sender == "" {
			m.Content = m.Kind.String()
		}
		out = append(out, m.Content)
	}
	return out
}

// behind applies a change to the store directly, as another server would, so that the service's
// caches do not have it. No other change may run at the same time.
func (h *house) behind(t testing.TB, c *core.Change) {
	t.Helper()
	rs, err := h.store.Apply(context.Background(), core.Batch{At: h.now.Load(), Changes: []*core.Change{c}})
	if err != nil || rs[0].Status != core.Applied {
		t.Fatalf("a change behind the service: %+v, %v", rs, err)
	}
}

// member writes a member's row to the store directly, without the service.
func (h *house) member(t *testing.T, thread string, m core.Member) {
	t.Helper()
	th, err := h.store.Thread(context.Background(), thread)
	if err != nil {
		t.Fatal(err)
	}
	h.behind(t, &core.Change{Key: thread, Thread: thread, Revision: th.Revision, Members: []core.Member{m}})
}

// joined returns the intervals of a member who joins by a change: Assign sets From to the number of
// the change's event, and To stays 0. The function left returns the intervals of a member who left
// with event 1; Assign does not change them.
func joined() []core.Interval { return []core.Interval{{}} }
func left() []core.Interval   { return []core.Interval{{From: 1, To: 1}} }

func wantError(t *testing.T, what string, err error, code core.Code, message string) {
	t.Helper()
	var e *core.Error
	if !errors.As(err, &e) || e.Code != code || !strings.HasPrefix(e.Message, message) {
		t.Errorf("%s: got error %v, want code %s and message %q", what, err, code, message)
	}
}

const (
	noPermission = "The initiator doesn't have the permission to perform the requested operation."
	noThread     = "The specified thread id was not found."
	noMessage    = "The specified message id was not found."
	busy         = "The server is currently unable to handle the request."
	notOwned     = "Provided identity doesn't belong to the resource."
)

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestOneConversation(t *testing.T) {
	h := newHouse(t, nil, nil)
	ctx := t.Context()
	ann, bob, unknown := h.user(t), h.user(t), communication.JoinUserID(resourceID, "00000000-0000-0000-0000-000000000009")
	at := start.UnixMilli()
	made, invalid, err := h.CreateThread(ctx, ann, core.CreateThread{Topic: "lunch", RetentionDays: 40, Metadata: map[string]string{"k": "v"}, Participants: []core.NewParticipant{
		{User: communication.ParseRawID(bob), DisplayName: "Bob"}, {User: communication.ParseRawID(unknown)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := core.ThreadProperties{ID: made.ID, Properties: core.Properties{Topic: "lunch", CreatedBy: ann, CreatedOn: at, RetentionDays: 40, Metadata: map[string]string{"k": "v"}}}
	equal(t, "new thread", made, want)
	equal(t, "invalid participants", invalid, []core.InvalidParticipant{{User: unknown, Code: "404", Message: "Not found"}})
	got, err := h.Thread(ctx, bob, made.ID)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "thread", got, want)

	h.now.Add(1000)
	id, err := h.SendMessage(ctx, bob, made.ID, core.SendMessage{Content: "<i>hi</i>", Kind: core.HTML, SenderDisplayName: "Bob", Metadata: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	wantMessage := core.Message{ID: at + 1000, Version: at + 1000, Sequence: 3, CreatedOn: at + 1000, Kind: core.HTML, Sender: bob,
		SenderDisplayName: "Bob", Content: "<i>hi</i>", Metadata: map[string]string{"a": "b"}}
	m, err := h.Message(ctx, ann, made.ID, id)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "message", m, wantMessage)
	page, err := h.ListMessages(ctx, ann, made.ID, core.ListMessages{Limit: 10})
	ms := page.Messages
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "messages", ms, []core.Message{wantMessage,
		{ID: at + 1, Version: at + 1, Sequence: 2, CreatedOn: at, Kind: core.TopicUpdated, Initiator: ann, Content: "lunch"},
		{ID: at, Version: at, Sequence: 1, CreatedOn: at, Kind: core.ParticipantAdded, Initiator: ann, Participants: []core.MessageParticipant{{User: ann}, {User: bob, DisplayName: "Bob"}}},
	})
	for _, c := range []struct {
		name string
		list core.ListMessages
		want []uint64
	}{
		{"limit", core.ListMessages{Limit: 1}, []uint64{3}},
		{"before", core.ListMessages{Limit: 5, Before: 3}, []uint64{2, 1}},
		{"before and limit", core.ListMessages{Limit: 1, Before: 3}, []uint64{2}},
		{"since", core.ListMessages{Limit: 5, Since: at + 1}, []uint64{3}},
		{"since, before the first", core.ListMessages{Limit: 5, Since: at - 1}, []uint64{3, 2, 1}},
		{"since, after the last", core.ListMessages{Limit: 5, Since: at + 1001}, nil},
	} {
		page, err := h.ListMessages(ctx, ann, made.ID, c.list)
		ms := page.Messages
		var got []uint64
		for _, m := range ms {
			got = append(got, m.Sequence)
		}
		if !cmp.Equal(got, c.want) || err != nil {
			t.Errorf("%s: sequences %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	h := newHouse(t, nil, nil)
	ctx := t.Context()
	ann, eve := h.user(t), h.user(t)
	thread, nowhere := h.thread(t, ann), "19:00000000000000000000000000000000@thread.v2"
	first := h.send(t, ann, thread, "one")
	for _, c := range []struct {
		name           string
		caller, thread string
		code           core.Code
		message        string
	}{
		{"no such thread", ann, nowhere, core.NotFound, noThread},
		{"stranger", eve, thread, core.Forbidden, noPermission},
		{"stranger from elsewhere", "8:acs:x", thread, core.Forbidden, noPermission},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := h.Thread(ctx, c.caller, c.thread)
			wantError(t, "get thread", err, c.code, c.message)
			_, err = h.SendMessage(ctx, c.caller, c.thread, text("never"))
			wantError(t, "send", err, c.code, c.message)
			_, err = h.ListMessages(ctx, c.caller, c.thread, core.ListMessages{Limit: 10})
			wantError(t, "list", err, c.code, c.message)
			_, err = h.Message(ctx, c.caller, c.thread, first)
			wantError(t, "get message", err, c.code, c.message)
			_, err = h.Message(ctx, c.caller, c.thread, first+99)
			wantError(t, "get a message that is not there", err, c.code, c.message)
		})
	}
	_, err := h.Message(ctx, ann, thread, first+1)
	wantError(t, "no such message", err, core.NotFound, noMessage)
	_, err = h.SendMessage(ctx, ann, thread, core.SendMessage{Kind: core.Text})
	wantError(t, "empty send", err, core.BadRequest, "The content field is required.")
	_, _, err = h.CreateThread(ctx, ann, core.CreateThread{})
	wantError(t, "empty create", err, core.BadRequest, "The topic field is required.")
	equal(t, "messages", h.contents(t, ann, thread), []string{"one", "topicUpdated", "participantAdded"})
}

func TestStaleHead(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t, nil, nil)
	ann, bob, eve := h.user(t), h.user(t), h.user(t)
	thread := h.thread(t, ann, bob)
	first := h.send(t, bob, thread, "one") // from here on the head row is in the cache

	// Bob is removed in the store while he is still in the service's cache. The service must not
	// let him write or read.
	h.member(t, thread, core.Member{User: bob, Order: 2, JoinedOn: h.now.Load(), Intervals: left()})
	_, err := h.SendMessage(ctx, bob, thread, text("never"))
	wantError(t, "send by one who was removed", err, core.Forbidden, noPermission)
	equal(t, "messages", h.contents(t, ann, thread), []string{"one", "topicUpdated", "participantAdded"})

	// Eve is added in the store while she is missing in the service's cache. The service must read
	// the store before it refuses her.
	h.member(t, thread, core.Member{User: eve, Order: 3, Intervals: joined()})
	h.send(t, eve, thread, "two")
	h.member(t, thread, core.Member{User: bob, Order: 2, Intervals: joined()})
	equal(t, "messages of one who was added", h.contents(t, bob, thread), []string{"two", "one", "topicUpdated", "participantAdded"})

	// Check the same for reads. Before each change of the store, read once so that the head row is
	// in the cache.
	_ = h.contents(t, ann, thread)
	h.member(t, thread, core.Member{User: bob, Order: 2, JoinedOn: 1, Intervals: left()})
	_, err = h.ListMessages(ctx, bob, thread, core.ListMessages{Limit: 10})
	wantError(t, "list by one who was removed", err, core.Forbidden, noPermission)
	_ = h.contents(t, ann, thread)
	h.member(t, thread, core.Member{User: eve, Order: 3, JoinedOn: 1, Intervals: left()})
	_, err = h.Message(ctx, eve, thread, first)
	wantError(t, "get by one who was removed", err, core.Forbidden, noPermission)
	_ = h.contents(t, ann, thread)
	h.member(t, thread, core.Member{User: bob, Order: 2, Intervals: joined()})
	if m, err := h.Message(ctx, bob, thread, first); err != nil || m.Content != "one" {
		t.Errorf("get by one who was added: %+v, %v", m, err)
	}
}

// TestHistoryIsHidden checks that a member sees only messages since the member's share-history
// time, even if the thread's head row was in the cache before the member was added.
func TestHistoryIsHidden(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t, nil, nil)
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann)
	var ids []int64
	for i := range 4 {
		h.now.Add(1000)
		ids = append(ids, h.send(t, ann, thread, fmt.Sprint(i)))
	}
	h.now.Add(1000)
	for _, c := range []struct {
		share int64
		want  []string
	}{
		{0, []string{"3", "2", "1", "0", "topicUpdated", "participantAdded"}},
		{ids[1], []string{"3", "2", "1"}},
		{ids[1] + 1, []string{"3", "2"}},
		{ids[3] + 1, nil},
		{h.now.Load(), nil},
	} {
		_ = h.contents(t, ann, thread)
		h.member(t, thread, core.Member{User: bob, Order: 2, ShareHistory: c.share, Intervals: joined()})
		equal(t, fmt.Sprintf("messages shared from %d", c.share), h.contents(t, bob, thread), c.want)
		seen := strings.Join(c.want, " ")
		for i, id := range ids {
			_, err := h.Message(ctx, bob, thread, id)
			if strings.Contains(seen, fmt.Sprint(i)) {
				if err != nil {
					t.Errorf("shared from %d: message %d: %v", c.share, i, err)
				}
			} else {
				wantError(t, fmt.Sprintf("shared from %d: message %d", c.share, i), err, core.NotFound, noMessage)
			}
		}
	}
	// If the request has a start time and the member has a share-history time, the later of the
	// two applies.
	h.member(t, thread, core.Member{User: bob, Order: 2, ShareHistory: ids[1], Intervals: joined()})
	page, err := h.ListMessages(ctx, bob, thread, core.ListMessages{Limit: 10, Since: ids[0]})
	ms := page.Messages
	if err != nil || len(ms) != 3 {
		t.Errorf("%d messages since before the share-history time, %v; want 3", len(ms), err)
	}
}

// together calls f concurrently with each number from 0 to n-1, and waits until all calls have
// returned.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-gate
			f(i)
		})
	}
	close(gate)
	wg.Wait()
}

func TestConcurrentCreatesWithOneToken(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, bob := h.user(t), h.user(t)
	unknown := communication.ParseRawID(communication.JoinUserID(resourceID, "00000000-0000-0000-0000-000000000009"))
	const n = 50
	type answer struct {
		Thread  core.ThreadProperties
		Invalid []core.InvalidParticipant
	}
	var answers [n]answer
	together(n, func(i int) {
		var err error
		answers[i].Thread, answers[i].Invalid, err = h.CreateThread(t.Context(), ann, core.CreateThread{
			Topic: fmt.Sprint("topic ", i), Token: "token", Participants: []core.NewParticipant{{User: unknown}, {User: communication.ParseRawID(bob)}},
		})
		if err != nil {
			t.Error(err)
		}
	})
	for i := range answers {
		equal(t, fmt.Sprintf("answer %d", i), answers[i], answers[0])
	}
	if a := answers[0]; a.Thread.CreatedOn != start.UnixMilli() || len(a.Invalid) != 1 {
		t.Errorf("answer %+v, want it created at %d with one invalid participant", a, start.UnixMilli())
	}
	id := answers[0].Thread.ID
	equal(t, "messages", h.contents(t, bob, id), []string{"topicUpdated", "participantAdded"})
	log, err := storetest.Events(t.Context(), h.store)
	if err != nil || len(log) != 1 {
		t.Errorf("%d events, %v; want 1: one thread was created", len(log), err)
	}

	// A repeated create returns the first answer even a day later. A create by another caller with
	// the same token makes another thread.
	h.now.Add(86_400_000)
	again, invalid, err := h.CreateThread(t.Context(), ann, core.CreateThread{Topic: "another", Token: "token"})
	equal(t, "a later replay", answer{again, invalid}, answers[0])
	other, _, err2 := h.CreateThread(t.Context(), bob, core.CreateThread{Topic: "another", Token: "token"})
	if err != nil || err2 != nil || other.ID == id || other.Topic != "another" {
		t.Errorf("another caller's create with this token: %+v, %v, %v", other, err, err2)
	}
}

func TestConcurrentSendsWithOneToken(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, bob := h.user(t), h.user(t)
	thread, other := h.thread(t, ann, bob), h.thread(t, ann)
	const n = 50
	var ids [n]int64
	together(n, func(i int) {
		var err error
		cmd := text("once")
		cmd.Token = "token"
		if ids[i], err = h.SendMessage(t.Context(), ann, thread, cmd); err != nil {
			t.Error(err)
		}
	})
	for i, id := range ids {
		if id != ids[0] || id == 0 {
			t.Errorf("send %d got id %d, send 0 got %d", i, id, ids[0])
		}
	}
	equal(t, "messages", h.contents(t, bob, thread), []string{"once", "topicUpdated", "participantAdded"})

	for _, c := range []struct{ name, caller, thread, token string }{
		{"other caller", bob, thread, "token"}, {"other thread", ann, other, "token"}, {"other token", ann, thread, "token2"}, {"no token", ann, thread, ""}, {"no token again", ann, thread, ""},
	} {
		cmd := text(c.name)
		cmd.Token = c.token
		if _, err := h.SendMessage(t.Context(), c.caller, c.thread, cmd); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := h.contents(t, ann, c.thread)[0]; got != c.name {
			t.Errorf("%s: the newest message is %q", c.name, got)
		}
	}
}

func TestUsers(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t, nil, nil)
	ann, err := h.CreateUser(ctx)
	if err != nil || ann.State != core.UserLive || ann.Generation != 1 || !communication.ValidUserID(ann.ID) {
		t.Fatalf("new user %+v, %v", ann, err)
	}
	if resource, _, _ := communication.SplitUserID(ann.ID); resource != resourceID {
		t.Errorf("the new user %s is not of resource %s", ann.ID, resourceID)
	}
	if u, err := h.LiveUser(ctx, ann.ID); u != ann || err != nil {
		t.Errorf("live user %+v, %v; want %+v", u, err, ann)
	}
	if err := h.RevokeTokens(ctx, ann.ID); err != nil {
		t.Fatal(err)
	}
	ann.Generation = 2
	if u, err := h.User(ctx, ann.ID); u != ann || err != nil {
		t.Errorf("after revoking %+v, %v; want %+v", u, err, ann)
	}
	if err := h.DeleteUser(ctx, ann.ID); err != nil {
		t.Fatal(err)
	}
	ann.State, ann.DeletedAt = core.UserDeleting, start.UnixMilli()
	if u, err := h.User(ctx, ann.ID); u != ann || err != nil {
		t.Errorf("after deleting %+v, %v; want %+v", u, err, ann)
	}
	unknown := communication.JoinUserID(resourceID, "00000000-0000-0000-0000-000000000009")
	for range 2 { // the second call must give the right result too, whatever the first call has cached
		if u, err := h.User(ctx, unknown); u != (core.User{ID: unknown}) || err != nil {
			t.Errorf("unknown user: %+v, %v", u, err)
		}
	}
	for name, id := range map[string]string{
		"deleted": ann.ID, "unknown": unknown, "malformed": "8:acs:x", "empty": "",
		"other resource": communication.JoinUserID("99999999-2222-4333-8444-555555555555", "00000000-0000-0000-0000-000000000009"),
		"other cloud":    strings.Replace(unknown, "8:acs:", "8:gcch-acs:", 1),
	} {
		_, err := h.LiveUser(ctx, id)
		wantError(t, name+": look up", err, core.IdentityNotOwned, notOwned)
		wantError(t, name+": revoke", h.RevokeTokens(ctx, id), core.IdentityNotOwned, notOwned)
		wantError(t, name+": delete", h.DeleteUser(ctx, id), core.IdentityNotOwned, notOwned)
	}
	// A user that was deleted in the store, but not in the service's cache, cannot be added to
	// a thread.
	bob, eve := h.user(t), h.user(t)
	if _, err := h.User(ctx, eve); err != nil { // cached from here on
		t.Fatal(err)
	}
	h.behind(t, &core.Change{Key: eve, ReadUsers: []core.User{{ID: eve, State: core.UserLive, Generation: 1}},
		PutUsers: []core.User{{ID: eve, State: core.UserDeleted, Generation: 1}}})
	_, invalid, err := h.CreateThread(ctx, bob, core.CreateThread{Topic: "t", Participants: []core.NewParticipant{{User: communication.ParseRawID(eve)}}})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "invalid participants", invalid, []core.InvalidParticipant{{User: eve, Code: "404", Message: "Not found"}})
}

// TestRevokedIsSeenAtOnce reads a user from many goroutines while the user's tokens are revoked. It
// checks that a read that begins after a revocation has returned sees the generation that the
// revocation has set.
func TestRevokedIsSeenAtOnce(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	var least atomic.Uint64 // generation whose revoke has returned
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				want := least.Load()
				u, err := h.User(ctx, ann)
				if err != nil || u.Generation < want {
					t.Errorf("generation %d, %v; a revoke to %d has returned", u.Generation, err, want)
					return
				}
				h.Forget(u) // remove the user from the cache, so that the next read asks the store
			}
		})
	}
	for i := range uint64(300) {
		if err := h.RevokeTokens(ctx, ann); err != nil {
			t.Error(err)
			break
		}
		least.Store(i + 2)
	}
	if err := h.DeleteUser(ctx, ann); err != nil {
		t.Error(err)
	}
	close(stop)
	readers.Wait()
	if u, err := h.User(ctx, ann); err != nil || u.State != core.UserDeleting || u.Generation != 301 {
		t.Errorf("in the end %+v, %v; want it deleted at generation 301", u, err)
	}
}

// slowReads is a store that can delay the answer to a read of a user's row after the row was
// read.
type slowReads struct {
	core.Store
	held atomic.Pointer[chan struct{}]
}

func (s *slowReads) Users(ctx context.Context, ids []string) ([]core.User, error) {
	us, err := s.Store.Users(ctx, ids)
	if gate := s.held.Swap(nil); gate != nil {
		*gate <- struct{}{} // it has read
		<-*gate
	}
	return us, err
}

// TestSlowReaderCachesNoOldRow lets a read of a user's row begin before a revocation of the user's
// tokens and return after it. It checks that the old row is not cached.
func TestSlowReaderCachesNoOldRow(t *testing.T) {
	ctx := t.Context()
	var slow *slowReads
	h := newHouse(t, nil, func(s core.Store) core.Store {
		slow = &slowReads{Store: s}
		return slow
	})
	ann := h.user(t)
	gate := make(chan struct{})
	slow.held.Store(&gate)
	read := make(chan core.User)
	go func() {
		u, _ := h.User(context.Background(), ann)
		read <- u
	}()
	<-gate
	if err := h.RevokeTokens(ctx, ann); err != nil {
		t.Fatal(err)
	}
	gate <- struct{}{}
	if u := <-read; u.Generation != 1 {
		t.Errorf("the slow reader has generation %d, want 1: it read before the revoke", u.Generation)
	}
	if u, err := h.User(ctx, ann); err != nil || u.Generation != 2 {
		t.Errorf("the next reader has generation %d, %v; want 2", u.Generation, err)
	}
}

// TestWriterCachesNoRow checks that a revocation of tokens does not cache the user row that it has
// written. Of two concurrent revocations, the first to commit may return last. If it cached its
// row, the row would be outdated, and revoked tokens would be valid. The test makes the second
// revocation directly in the store.
func TestWriterCachesNoRow(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	if err := h.RevokeTokens(t.Context(), ann); err != nil {
		t.Fatal(err)
	}
	second := core.User{ID: ann, State: core.UserLive, Generation: 2}
	third := core.User{ID: ann, State: core.UserLive, Generation: 3}
	h.behind(t, &core.Change{Key: ann, ReadUsers: []core.User{second}, PutUsers: []core.User{third}})
	if u, err := h.User(t.Context(), ann); u != third || err != nil {
		t.Errorf("got %+v, %v; want %+v", u, err, third)
	}
}

func TestConcurrentRevokesAllCount(t *testing.T) {
	h := newHouse(t, nil, nil)
	for range 20 {
		ann := h.user(t)
		var done atomic.Uint64
		together(8, func(int) {
			if err := h.RevokeTokens(t.Context(), ann); err != nil {
				t.Errorf("a revoke among others: %v", err)
				return
			}
			done.Add(1)
		})
		// The next read must return the row of the second revocation, from the store.
		u, err := h.User(t.Context(), ann)
		if err != nil || u.Generation != 1+done.Load() || done.Load() == 0 {
			t.Errorf("generation %d, %v, after %d revokes", u.Generation, err, done.Load())
		}
	}
}

func TestConcurrentSendersKeepOrder(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	const senders, each = 8, 20
	together(senders, func(i int) {
		var last int64
		for j := range each {
			id, err := h.SendMessage(t.Context(), ann, thread, text(fmt.Sprint(i, " ", j)))
			if err != nil || id <= last {
				t.Errorf("sender %d: id %d after %d, %v", i, id, last, err)
				return
			}
			last = id
		}
	})
	page, err := h.ListMessages(t.Context(), ann, thread, core.ListMessages{Limit: core.MaxMessagesPage})
	ms := page.Messages
	if err != nil || len(ms) != senders*each+2 {
		t.Fatalf("%d messages, %v; want %d", len(ms), err, senders*each+2)
	}
	next := map[string]int{}
	for i := len(ms) - 1; i >= 0; i-- {
		if want := uint64(len(ms) - i); ms[i].Sequence != want {
			t.Fatalf("sequence %d, want %d", ms[i].Sequence, want)
		}
		if i < len(ms)-1 && ms[i].ID <= ms[i+1].ID {
			t.Fatalf("id %d after %d", ms[i].ID, ms[i+1].ID)
		}
		if sender, n, ok := strings.Cut(ms[i].Content, " "); ok && ms[i].Sender != "" {
			if n != fmt.Sprint(next[sender]) {
				t.Fatalf("sender %s: message %s where %d should be", sender, n, next[sender])
			}
			next[sender]++
		}
	}
}
