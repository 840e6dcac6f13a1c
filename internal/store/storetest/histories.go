package storetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/core"
)

// model is a simple implementation of a store, to which an engine is compared. It does not use
// core.Assign, because then it would have the same bugs as the engine.
type model struct {
	threads map[string]*modelThread
	users   map[string]core.User
	log     []string // for each position of the event log, the thread id of the event
}

type modelThread struct {
	revision uint64
	topic    string
	created  int64
	days     int32             // number of days of the retention policy
	messages []modelMessage    // in the order of sequences
	versions []modelVersion    // superseded messages
	last     uint64            // the greatest sequence number
	left     map[string]uint64 // for each user who has left, the greatest sequence number of the thread at that time
	members  map[string]bool   // all members; false if the member has left
	receipts map[string]int64
	deleted  int64 // time of deletion, or 0
	events   int
	sent     map[string]bool // idempotency tokens that were used, by caller and token
	requests []modelRequest
	answer   string // the topic of the first create, if it had a token
	lastID   int64
}

type modelMessage struct {
	id, at, version int64
	sequence        uint64
	content         string
	deleted         bool
	fingerprint     core.Fingerprint
}

// modelRequest is a request with a fingerprint that has added a message at the given time.
type modelRequest struct {
	at          int64
	fingerprint core.Fingerprint
}

// modelVersion is a superseded version of a message.
type modelVersion struct {
	modelMessage
	until uint64
}

// message returns a message of the model as a core.Message, from which a change can be made.
func (m modelMessage) message() core.Message {
	return core.Message{ID: m.id, Version: m.version, Sequence: m.sequence, CreatedOn: m.at, Kind: core.Text, Content: m.content, Fingerprint: m.fingerprint}
}

func testHistories(t *testing.T, e Engine) {
	rapid.Check(t, func(rt *rapid.T) {
		s := e.Open(t)
		m := &model{threads: map[string]*modelThread{}, users: map[string]core.User{}}
		at := start
		for range rapid.IntRange(1, 25).Draw(rt, "batches") {
			at = m.run(rt, s, at, 1)
			if rapid.IntRange(0, 9).Draw(rt, "reopen") == 0 {
				s = e.Reopen(t, s)
			}
			if rapid.IntRange(0, 4).Draw(rt, "compare") == 0 {
				m.compare(rt, s)
			}
		}
		m.compare(rt, s)
		expanded(rt, s, user(1))
		checkRows(rt, s)
		closeStore(t, s)
	})
}

// checkRows calls the engine's Check, if it has one, and fails the test on an error.
func checkRows(t rapid.TB, s core.Store) {
	t.Helper()
	if c, ok := s.(core.Checker); ok {
		if _, err := c.Check(context.Background()); err != nil {
			t.Fatalf("check: %v", err)
		}
	}
}

// run applies random batches to the store and to the model. It fails the test if the
// outcomes differ, and returns the time of the last batch.
func (m *model) run(rt *rapid.T, s core.Store, at int64, batches int) int64 {
	for range batches {
		at += int64(rapid.IntRange(0, 40_000).Draw(rt, "ms")) // crosses minutes
		n := rapid.IntRange(1, 6).Draw(rt, "changes")
		// Collect the changes of each lane, because each lane gets one batch.
		byLane := make([][]*core.Change, s.Lanes())
		for range n {
			c := m.draw(rt)
			c.Roster = m.roster(c)
			lane := core.LaneOf(c.Key, s.Lanes())
			byLane[lane] = append(byLane[lane], c)
		}
		for _, changes := range byLane {
			if len(changes) == 0 {
				continue
			}
			var want []core.Status
			for _, c := range changes {
				want = append(want, m.apply(at, c))
			}
			rs, err := applyBatch(rt, s, core.Batch{At: at, Changes: changes})
			if err != nil {
				rt.Fatalf("apply: %v", err)
			}
			for i, r := range rs {
				if r.Status != want[i] {
					rt.Fatalf("change %+v has status %d, the model says %d", changes[i], r.Status, want[i])
				}
			}
		}
	}
	return at
}

// roster returns the participants of the change's thread before the change.
func (m *model) roster(c *core.Change) (in []*core.Member) {
	th := m.threads[c.Thread]
	if th == nil {
		return nil
	}
	for _, who := range slices.Sorted(maps.Keys(th.members)) {
		if th.members[who] {
			in = append(in, &core.Member{User: who})
		}
	}
	return in
}

// draw returns a random change. It is computed from current rows, or sometimes from outdated
// ones.
func (m *model) draw(rt *rapid.T) *core.Change {
	id := thread(rapid.IntRange(1, 4).Draw(rt, "thread"))
	who := user(rapid.IntRange(1, 3).Draw(rt, "user"))
	token := rapid.SampledFrom([]string{"", "t1", "t2"}).Draw(rt, "token")
	var revision uint64
	if th := m.threads[id]; th != nil {
		revision = th.revision - uint64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(rt, "stale"))
	}
	th := m.threads[id]
	kind := rapid.IntRange(0, 14).Draw(rt, "kind")
	if th == nil || len(th.messages) == 0 {
		kind = min(kind, 9)
	}
	if th == nil {
		kind = []int{0, 1, 0, 0, 4, 5, 6, 7, 8, 9}[kind] // if the thread does not exist, draw its creation instead of a change that needs the thread
	}
	if kind == 3 && th != nil {
		if _, was := th.members[who]; was {
			kind = 9 // testLeaving tests users who return
		}
	}
	switch kind {
	case 0, 1:
		return keptFor(rapid.SampledFrom(policies).Draw(rt, "days"), create(id, token, who))
	case 2:
		return keptFor(rapid.SampledFrom(policies).Draw(rt, "days"), &core.Change{Key: id, Thread: id, Revision: revision,
			Properties: &core.Properties{Topic: fmt.Sprint("topic ", rapid.Int().Draw(rt, "topic")), CreatedBy: who, CreatedOn: th.created, DeletedOn: th.deleted}})
	case 3:
		read := m.users[who]
		read.ID = who
		read.Generation += uint64(rapid.SampledFrom([]int{0, 0, 1}).Draw(rt, "stale user"))
		return &core.Change{Key: id, Thread: id, Revision: revision, ReadUsers: []core.User{read}, Members: []core.Member{{User: who, Order: uint32(rapid.IntRange(2, 1000).Draw(rt, "order")), Intervals: []core.Interval{{}}}}}
	case 4:
		from := m.users[who]
		from.ID = who
		to := from
		to.State, to.Generation = core.UserLive, from.Generation+1
		to.CustomID = rapid.SampledFrom([]string{from.CustomID, "", "one", "two"}).Draw(rt, "custom id")
		if rapid.IntRange(0, 3).Draw(rt, "stale user") == 0 {
			from.Generation += 7
		}
		return putUser(from, to)
	case 10, 11, 12:
		msg := rapid.SampledFrom(th.messages).Draw(rt, "message").message()
		msg.Sender = who
		msg.Version -= int64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(rt, "stale message"))
		c := edit(id, revision, msg, fmt.Sprint("edited ", rapid.Int().Draw(rt, "content")))
		if kind == 12 {
			c = remove(id, revision, msg)
		}
		c.Rewrites[0].Keep = rapid.Bool().Draw(rt, "keep")
		if len(th.versions) > 0 && rapid.IntRange(0, 9).Draw(rt, "drop") == 0 {
			v := rapid.SampledFrom(th.versions).Draw(rt, "version")
			return &core.Change{Key: id, Thread: id, Revision: revision, DropSuperseded: []core.SupersededKey{{Thread: id, ID: v.id, Sequence: v.sequence}}}
		}
		return c
	case 13:
		return receipt(id, revision, who, rapid.SampledFrom(th.messages).Draw(rt, "message").id)
	case 14:
		if rapid.IntRange(0, 3).Draw(rt, "purge") == 0 {
			return &core.Change{Key: id, Thread: id, Revision: revision, Purge: true, Events: []core.Event{{Kind: core.ThreadDeleted, Actor: who}}}
		}
		if !th.members[who] {
			return send(id, revision, who, token, "instead of leaving")
		}
		m := core.Member{User: who, Order: 1, Intervals: []core.Interval{{From: 1, To: core.CloseInterval}}}
		return &core.Change{Key: id, Thread: id, Revision: revision, Members: []core.Member{m},
			Messages: []core.Message{{Kind: core.ParticipantRemoved, Initiator: who}}, Events: []core.Event{{Kind: core.ParticipantsRemoved, Actor: who}}}
	default:
		c := send(id, revision, who, token, fmt.Sprint("message ", rapid.Int().Draw(rt, "content")))
		if token == "" {
			call, command := rapid.Byte().Draw(rt, "call")%3, rapid.Byte().Draw(rt, "command")%2
			c = requested(c, call, command) // the call may come from any user, because the store ignores the sender of a fingerprint
		}
		return c
	}
}

// repeats reports whether a request at the time at repeats an earlier one: whether a request with
// the same fingerprint has added a message at most five minutes before or after it. It returns
// false if another request in this time had the same first half of the fingerprint but a different
// second half.
func (th *modelThread) repeats(at int64, f core.Fingerprint) (found bool) {
	for _, r := range th.requests {
		if max(at-r.at, r.at-at) > 5*60*1000 || !bytes.Equal(r.fingerprint[:8], f[:8]) {
			continue
		}
		if r.fingerprint != f {
			return false
		}
		found = true
	}
	return found
}

func (m *model) apply(at int64, c *core.Change) core.Status {
	th := m.threads[c.Thread]
	place := c.Caller + " " + c.SendToken
	switch {
	case th != nil && c.SendToken != "" && th.sent[place], th != nil && c.Answer != nil && th.answer != "":
		return core.Replayed
	case c.Thread != "" && (th == nil && c.Revision != 0 || th != nil && c.Revision != th.revision):
		return core.Stale
	}
	for _, read := range c.ReadUsers {
		was := m.users[read.ID]
		was.ID = read.ID
		if was != read {
			return core.Stale
		}
	}
	for _, r := range c.Rewrites {
		if i := th.find(r.ID); i < 0 || th.messages[i].version != r.ReadVersion {
			return core.Stale
		}
	}
	if th != nil && len(c.Messages) > 0 && th.repeats(at, c.Messages[0].Fingerprint) {
		return core.Replayed
	}
	for _, u := range c.PutUsers {
		for _, other := range m.users {
			if u.CustomID != "" && u.CustomID == other.CustomID && u.ID != other.ID {
				return core.Refused
			}
		}
	}
	for _, u := range c.PutUsers {
		m.users[u.ID] = u
	}
	if c.Thread == "" {
		return core.Applied
	}
	if th == nil {
		th = &modelThread{left: map[string]uint64{}, sent: map[string]bool{}, members: map[string]bool{}, receipts: map[string]int64{}}
		m.threads[c.Thread] = th
	}
	th.apply(at, c)
	if c.Receipt != nil && !th.receive(*c.Receipt) {
		return core.Applied // a receipt for an older message writes nothing and has no event
	}
	for range c.Events {
		th.events++
		m.log = append(m.log, c.Thread)
	}
	return core.Applied
}

// find returns the index of the message with this id, or -1.
func (th *modelThread) find(id int64) int {
	for i, msg := range th.messages {
		if msg.id == id {
			return i
		}
	}
	return -1
}

func (th *modelThread) receive(r core.Receipt) bool {
	if th.receipts[r.User] > r.MessageID {
		return false
	}
	th.receipts[r.User] = r.MessageID
	return true
}

func (th *modelThread) apply(at int64, c *core.Change) {
	version := func() int64 {
		th.lastID = max(th.lastID+1, at)
		return th.lastID
	}
	next := func() int64 {
		th.last++
		return version()
	}
	if c.Properties != nil || len(c.Members) > 0 || c.Purge {
		th.revision++
	}
	if c.Properties != nil {
		th.topic, th.days = c.Properties.Topic, c.Properties.RetentionDays
		if th.revision == 1 {
			th.created = at
		}
	}
	for _, p := range c.Members {
		th.members[p.User] = p.Intervals[len(p.Intervals)-1].To == 0
	}
	if c.SendToken != "" {
		th.sent[c.Caller+" "+c.SendToken] = true
	}
	for _, msg := range c.Messages {
		if !msg.Fingerprint.IsZero() {
			th.requests = append(th.requests, modelRequest{at, msg.Fingerprint})
		}
		id := next()
		th.messages = append(th.messages, modelMessage{id: id, version: id, at: at, sequence: th.last, content: msg.Content, fingerprint: msg.Fingerprint})
	}
	for _, r := range c.Rewrites {
		i := th.find(r.ID)
		msg := th.messages[i]
		th.messages = append(th.messages[:i:i], th.messages[i+1:]...)
		old := msg
		msg.version = next()
		msg.sequence, msg.content, msg.deleted = th.last, r.Content, r.How == core.Delete
		th.messages = append(th.messages, msg)
		if r.Keep {
			th.versions = append(th.versions, modelVersion{old, msg.sequence})
		}
		for i := range th.versions {
			if v := &th.versions[i]; v.id == msg.id && msg.deleted {
				v.content, v.deleted, v.version = "", true, msg.version
			}
		}
	}
	for _, k := range c.DropSuperseded {
		th.versions = slices.DeleteFunc(th.versions, func(v modelVersion) bool { return v.id == k.ID && v.sequence == k.Sequence })
	}
	for _, p := range c.Members {
		if delete(th.left, p.User); !th.members[p.User] {
			th.left[p.User] = th.last
		}
	}
	if c.Purge {
		th.messages, th.versions, th.requests, th.sent, th.receipts, th.deleted = nil, nil, nil, map[string]bool{}, map[string]int64{}, at
	}
	if c.Answer != nil {
		th.answer = c.Answer.Topic
	}
	added := 0
	for _, e := range c.Events { // the store gives an event without a message the next version
		switch e.Kind {
		case core.ThreadCreated, core.ThreadDeleted:
			if len(c.Messages) == 0 {
				version()
			}
		case core.MessageReceived, core.ThreadUpdated, core.ParticipantsAdded, core.ParticipantsRemoved:
			if added++; added > len(c.Messages) {
				version()
			}
		}
	}
}

// compare reads all rows of the store and fails the test if they differ from the model.
func (m *model) compare(rt *rapid.T, s core.Store) {
	ctx := context.Background()
	for id, want := range m.threads {
		got, err := s.Thread(ctx, id)
		if err != nil || got == nil {
			rt.Fatalf("thread %s: %v, %v", id, got, err)
		}
		if got.Revision != want.revision || got.Topic != want.topic || got.LastSequence != want.last || got.LastEvent != uint64(want.events) || got.Size() != len(want.members) || got.CreatedOn != want.created || got.DeletedOn != want.deleted || got.RetentionDays != want.days {
			rt.Fatalf("thread %s is %+v with %d members, want %+v", id, got.Head, got.Size(), want)
		}
		page, err := s.Messages(ctx, core.MessagesQuery{Thread: id, Limit: len(want.messages) + 1})
		if err != nil || len(page.Messages) != len(want.messages) {
			rt.Fatalf("thread %s lists %d messages, want %d (%v)", id, len(page.Messages), len(want.messages), err)
		}
		for i, w := range want.messages {
			g := page.Messages[len(page.Messages)-1-i]
			if g.ID != w.id || g.CreatedOn != w.at || g.Content != w.content || g.Sequence != w.sequence || g.Version != w.version || (g.DeletedOn != 0) != w.deleted || g.Fingerprint != w.fingerprint {
				rt.Fatalf("message %d of %s is %+v, want %+v", i+1, id, g, w)
			}
			if byID := message(rt, s, id, w.id); byID.Sequence != g.Sequence {
				rt.Fatalf("message %d by id: %+v", w.id, byID)
			}
		}
		for who := range want.left {
			want.compareReader(rt, s, id, who)
		}
		for who, present := range want.members {
			if m := got.Member(who); m == nil || m.Present() != present {
				rt.Fatalf("member %s of %s is %+v, the model says present: %v", who, id, m, present)
			}
		}
		rs := receipts(rt, s, id)
		if len(rs) != len(want.receipts) {
			rt.Fatalf("thread %s has receipts %+v, want %v", id, rs, want.receipts)
		}
		for _, r := range rs {
			if want.receipts[r.User] != r.MessageID {
				rt.Fatalf("receipt %+v of %s, want %v", r, id, want.receipts)
			}
		}
		if a := answer(rt, s, id); (a == nil) != (want.answer == "") || a != nil && a.Topic != want.answer {
			rt.Fatalf("answer of %s: %+v; want %q", id, a, want.answer)
		}
	}
	for id, want := range m.users {
		if got := userRow(rt, s, id); got != want {
			rt.Fatalf("user %+v; want %+v", got, want)
		}
		if got, err := s.UserByCustomID(ctx, want.CustomID); err != nil || want.CustomID != "" && got != want {
			rt.Fatalf("the user with custom id %q: %+v, %v; want %+v", want.CustomID, got, err, want)
		}
	}
	expiring, err := s.Expiring(ctx, len(m.threads)+1)
	if err != nil {
		rt.Fatalf("threads that expire: %v", err)
	}
	mustEqual(rt, "threads that expire", expiring, m.expiring())
	log := events(rt, s)
	if len(log) != len(m.log) {
		rt.Fatalf("the log has %d events, want %d", len(log), len(m.log))
	}
	for i, e := range log {
		if e.Thread != m.log[i] {
			rt.Fatalf("event %d is of %s, want %s", i, e.Thread, m.log[i])
		}
	}
}

// compareReader reads the messages of a thread for a user who has left the thread, and fails the
// test if they differ from the model.
func (th *modelThread) compareReader(rt *rapid.T, s core.Store, thread, who string) {
	last := th.left[who]
	var want []modelMessage
	for _, m := range th.messages {
		if m.sequence <= last {
			want = append(want, m)
		}
	}
	for _, v := range th.versions {
		if v.sequence <= last && last < v.until {
			want = append(want, v.modelMessage)
		}
	}
	slices.SortFunc(want, func(a, b modelMessage) int { return cmp.Compare(b.sequence, a.sequence) })
	for q := (core.MessagesQuery{Thread: thread, Reader: who, Limit: 20}); ; {
		page := messages(rt, s, q)
		for _, g := range page.Messages {
			if len(want) == 0 {
				rt.Fatalf("%s also reads %+v in %s", who, g, thread)
			}
			w := want[0]
			want = want[1:]
			if g.ID != w.id || g.Sequence != w.sequence || g.Content != w.content || g.Version != w.version || (g.DeletedOn != 0) != w.deleted {
				rt.Fatalf("%s, who has left %s after %d, reads %+v, want %+v", who, thread, last, g, w)
			}
		}
		if n := len(page.Messages); n > 0 { // read only the last message of the page by its id: each read takes time, because it may be a request to a database
			last := page.Messages[n-1:]
			mustEqual(rt, "the message by its id", messages(rt, s, core.MessagesQuery{Thread: thread, Reader: who, IDs: []int64{last[0].ID}}).Messages, last)
		}
		if q.Before = page.Next; q.Before == 0 {
			break
		}
	}
	if len(want) > 0 {
		rt.Fatalf("%s, who has left %s after %d, does not read %+v", who, thread, last, want)
	}
}

// expiring returns the threads that are not deleted and have a retention policy, in the order
// of the times at which they expire.
func (m *model) expiring() (es []core.Expiry) {
	for id, th := range m.threads {
		if th.days > 0 && th.deleted == 0 {
			es = append(es, core.Expiry{Thread: id, On: th.created + int64(th.days)*24*60*60*1000})
		}
	}
	sortExpiries(es)
	return es
}

func sortExpiries(es []core.Expiry) {
	slices.SortFunc(es, func(a, b core.Expiry) int { return cmp.Or(cmp.Compare(a.On, b.On), cmp.Compare(a.Thread, b.Thread)) })
}
