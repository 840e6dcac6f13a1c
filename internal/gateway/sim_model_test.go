package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
)

// model knows all changes that the simulation's store has applied. From them it computes which
// events a reader must get, may get, and must not get. Step n is the state after n changes. The
// model does not use core.Member, because that is the code under test.
type model struct {
	steps   int
	times   []time.Time // of the steps, from 1
	threads map[string]*modelThread
	gone    map[string]int // the step of the simulation at which each deleted user was deleted, by user id
	trimmed uint64         // the position in the event log up to which the log was trimmed
	renewed int            // how often the epoch of the log was renewed
}

// modelThread is the history of a thread in the model that the simulation checks against.
type modelThread struct {
	events   []*modelEvent // by number, from 1
	members  map[string][]modelMember
	messages map[int64][]modelMessage
	topics   []modelTopic
	gone     map[string]int // the map in model.gone: the steps of the simulation at which users were deleted
	purged   int            // the step of the simulation at which the thread was deleted; 0 if it was not deleted
}

// modelEvent is an event, with the message and the members that it had when it was committed.
type modelEvent struct {
	core.Event
	step     int
	content  string // of its message
	members  string // the members who joined or left with the event
	position uint64 // the event's position in the log; 0 while it has none
}

// modelMember is the state of a member from one step on, until the member's next modelMember.
type modelMember struct {
	step int
	from []uint64 // the numbers of the events with which the member joined the thread
	// numbers of the events with which the member left the thread; one fewer than in from while it
	// is a member
	to        []uint64
	left      int // the step of the simulation at which the member left the thread; 0 while it is in the thread
	leftTopic string
	sees      int64 // from which time on, in epoch milliseconds, the member may read messages
}

// modelMessage is the state of a message from one step on, until the message's next
// modelMessage.
type modelMessage struct {
	step    int
	created int64
	sender  string
	content string
	deleted bool
}

type modelTopic struct {
	step  int
	topic string
}

// apply records a change that the store has applied.
func (m *model) apply(c *core.Change, at int64) {
	m.steps++
	m.times = append(m.times, time.Now())
	for _, u := range c.PutUsers {
		if u.State != core.UserLive && m.gone[u.ID] == 0 {
			m.gone[u.ID] = m.steps
		}
	}
	if c.Thread == "" {
		return
	}
	t := m.threads[c.Thread]
	if t == nil {
		t = &modelThread{members: map[string][]modelMember{}, messages: map[int64][]modelMessage{}, gone: m.gone}
		m.threads[c.Thread] = t
	}
	if c.Properties != nil {
		t.topics = append(t.topics, modelTopic{m.steps, c.Properties.Topic})
	}
	last := uint64(len(t.events) + len(c.Events))
	var changed []string
	for _, msg := range c.Messages {
		t.messages[msg.ID] = append(t.messages[msg.ID], modelMessage{m.steps, at, msg.Sender, msg.Content, false})
		for _, p := range msg.Participants {
			changed = append(changed, p.User)
			now := modelMember{}
			if was := t.members[p.User]; len(was) > 0 {
				now = was[len(was)-1]
			}
			now.step = m.steps
			if msg.Kind == core.ParticipantAdded {
				now.from, now.left, now.sees = append(slices.Clone(now.from), last), 0, min(at, p.ShareHistory)
			} else {
				now.to, now.left, now.leftTopic = append(slices.Clone(now.to), last), m.steps, t.topicAt(m.steps)
			}
			t.members[p.User] = append(t.members[p.User], now)
		}
	}
	for _, w := range c.Rewrites {
		if w.How != core.InPlace {
			was := t.messages[w.ID]
			t.messages[w.ID] = append(was, modelMessage{m.steps, was[0].created, was[0].sender, w.Content, w.How == core.Delete})
		}
	}
	slices.Sort(changed)
	for _, e := range c.Events {
		me := &modelEvent{Event: e, step: m.steps, position: e.Position}
		if states := t.messages[e.MessageID]; len(states) > 0 {
			me.content = states[len(states)-1].content
		}
		if e.Kind.ChangesMembers() {
			me.members = strings.Join(changed, " ")
		}
		t.events = append(t.events, me)
	}
	if c.Purge {
		t.purged = m.steps
	}
}

// place records an event's position in the log, which the event gets after its commit.
func (m *model) place(e core.Event) {
	if t := m.threads[e.Thread]; t != nil {
		t.events[e.Number-1].position = e.Position
	}
}

// at returns the number of the last step before the time when.
func (m *model) at(when time.Time) int {
	n, _ := slices.BinarySearchFunc(m.times, when, func(a, b time.Time) int { return a.Compare(b) })
	return n
}

func (t *modelThread) topicAt(step int) (topic string) {
	for _, s := range t.topics {
		if s.step <= step {
			topic = s.topic
		}
	}
	return topic
}

// memberAt returns the state of a user's membership at a step, or nil if it was never a member
// by then.
func (t *modelThread) memberAt(user string, step int) (m *modelMember) {
	states := t.members[user]
	for i := range states {
		if states[i].step <= step {
			m = &states[i]
		}
	}
	return m
}

// messageAt returns the state of a message at a step, or nil if the message does not exist at that
// step.
func (t *modelThread) messageAt(id int64, step int) (m *modelMessage) {
	if t.purged != 0 && t.purged <= step {
		return nil
	}
	states := t.messages[id]
	for i := range states {
		if states[i].step <= step {
			m = &states[i]
		}
	}
	return m
}

// in reports whether the member was in the thread at the event with the given number.
func (m *modelMember) in(number uint64) bool {
	for i, from := range m.from {
		if from <= number && (i == len(m.to) || number <= m.to[i]) {
			return true
		}
	}
	return false
}

// read returns the message with this id as the member m may read it at a step, or nil if it may not
// read the message. A member who has left gets the message as it was when the member left, without
// its text if the message was deleted afterwards. unsure is true if the message's sender was
// deleted, because then the message may be erased or not.
func (t *modelThread) read(m *modelMember, id int64, step int) (msg *modelMessage, unsure bool) {
	now := t.messageAt(id, step)
	if now == nil || now.created < m.sees {
		return nil, false
	}
	if m.left == 0 || now.step <= m.left {
		return now, false
	}
	gone := t.gone[now.sender]
	unsure = gone != 0 && gone <= step
	then := t.messageAt(id, m.left)
	if then != nil && now.deleted {
		then = &modelMessage{step: then.step, created: then.created, sender: then.sender, deleted: true}
	}
	return then, unsure
}

// hears reports whether a user gets the event e if the hub reads e's message at step i and the
// user's membership at step j. unsure is true if either answer is right.
func (t *modelThread) hears(user string, e *modelEvent, i, j int) (heard, unsure bool) {
	m := t.memberAt(user, j)
	if m == nil || !m.in(e.Number) {
		return false, false
	}
	switch e.Kind {
	case core.MessageReceived, core.MessageEdited:
		msg, unsure := t.read(m, e.MessageID, i)
		return msg != nil && !msg.deleted, unsure
	case core.MessageDeleted:
		msg, unsure := t.read(m, e.MessageID, i)
		return msg != nil, unsure
	case core.ReceiptReceived:
		// A read receipt comes without its message, so the server compares the message's id, which
		// is a time, with the time from which the member may read messages. In a burst of messages
		// an id is later than the time of creation, and the member may get a receipt for a message
		// that it may not read. REST lists the receipt in any case.
		return e.MessageID >= m.sees, false
	}
	return true, false
}

// turns returns the steps between from and to at which the result of hears for the event e may
// change. It includes from.
func (t *modelThread) turns(user string, e *modelEvent, from, to int) []int {
	all := []int{from}
	for _, m := range t.members[user] {
		all = append(all, m.step)
	}
	for _, m := range t.messages[e.MessageID] {
		all = append(all, m.step, t.gone[m.sender])
	}
	all = append(all, t.purged)
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(n int) bool { return n < from || n > to })
}

// must reports whether a user gets the event e in any case: at whichever steps, up to end, the hub
// reads the message and the membership.
func (t *modelThread) must(user string, e *modelEvent, end int) bool {
	for _, i := range t.turns(user, e, e.step, end) {
		if heard, unsure := t.hears(user, e, i, i); !heard || unsure {
			return false
		}
	}
	return true
}

// received is an event or a gap that a client has received.
type received struct {
	core.Event
	gap     gateway.GapReason
	content string
	members string
	topic   string
	at      core.Cursor
	fresh   time.Time // the time after which all rows of the event were read
	steps   int       // the number of changes that were applied when the client received the event or gap
}

// wrong returns why the user must not have received the event or gap g, or "" if the user may
// receive it.
func (m *model) wrong(user string, g *received) string {
	t := m.threads[g.Thread]
	if t == nil || g.Number == 0 || g.Number > uint64(len(t.events)) {
		return "there is no such event"
	}
	e := t.events[g.Number-1]
	if g.Kind != e.Kind || g.Actor != e.Actor || g.MessageID != e.MessageID || g.Version != e.Version || g.Check != e.Check {
		return fmt.Sprintf("the event is %+v", e.Event)
	}
	if g.at.Position != e.position || g.at.Check != e.Check {
		return fmt.Sprintf("its cursor is %+v, but its position %d", g.at, e.position)
	}
	// If a thread is deleted, its messages are deleted too. After that the server cannot
	// always tell who joined or left with an event, because a member's row merges intervals
	// (core.Happening.Tell).
	forgotten := t.purged != 0 && g.MessageID != 0 && g.members == ""
	if e.Kind.ChangesMembers() && g.members != e.members && !forgotten {
		return fmt.Sprintf("it names %q, but %q have joined or left", g.members, e.members)
	}
	turns := t.turns(user, e, max(e.step, m.at(g.fresh)), g.steps)
	if len(turns) == 0 {
		return "it came before its commit"
	}
	for n, i := range turns {
		for _, j := range turns[n:] {
			if heard, _ := t.hears(user, e, i, j); heard && t.told(user, e, g, i, j) {
				return ""
			}
		}
	}
	return "the user may not get it like this: a place outside its intervals, a hidden message, or an outdated text"
}

// told reports whether the texts of g, which a client has received, are right: equal to those of
// the event e at step i, as the user may see them with its membership of step j.
func (t *modelThread) told(user string, e *modelEvent, g *received, i, j int) bool {
	m := t.memberAt(user, j)
	switch e.Kind {
	case core.MessageReceived, core.MessageEdited, core.MessageDeleted:
		msg, _ := t.read(m, e.MessageID, i)
		return g.content == msg.content
	case core.ThreadUpdated:
		if e.MessageID != 0 {
			return g.topic == e.content || t.messageAt(e.MessageID, i) == nil
		}
		fallthrough
	case core.ThreadCreated:
		if m.left != 0 {
			return g.topic == m.leftTopic
		}
		return slices.ContainsFunc(t.topics, func(s modelTopic) bool { return s.topic == g.topic })
	}
	return true
}

// check returns one text for each fault in log, the list of everything that a client has received.
// start is the client's cursor when it first connected, and end its cursor after the last entry of
// log. If only is not empty, the client has asked for the events of this thread only.
func (m *model) check(user, only string, start core.Cursor, log []received, end core.Cursor) (faults []string) {
	fault := func(g *received, format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s of %s number %d, position %d, text %q: ", g.Kind, g.Thread, g.Number, g.at.Position, g.content)+fmt.Sprintf(format, args...))
	}
	type key struct {
		thread string
		number uint64
	}
	seen, last := map[key]bool{}, map[string]uint64{}
	var excused [][2]uint64
	at, gaps := start, 0
	for i := range log {
		g := &log[i]
		switch {
		case g.gap != 0:
			switch {
			case g.gap == gateway.GapTrimmed && at.Position < m.trimmed:
			case g.gap == gateway.GapEpoch && gaps < m.renewed:
				gaps++
			default:
				faults = append(faults, fmt.Sprintf("gap %s from %d to %d", g.gap, at.Position, g.at.Position))
			}
			excused = append(excused, [2]uint64{at.Position, g.at.Position})
		case g.Kind == 0: // a heartbeat
			if g.at.Position < at.Position {
				faults = append(faults, fmt.Sprintf("a heartbeat moves the cursor from %d back to %d", at.Position, g.at.Position))
			}
		case only != "" && g.Thread != only:
			fault(g, "the client has not asked for this thread")
		default:
			k := key{g.Thread, g.Number}
			if g.at.Position <= at.Position {
				fault(g, "it comes after position %d", at.Position)
			}
			if seen[k] {
				fault(g, "it came twice")
			}
			if g.Number <= last[g.Thread] {
				fault(g, "it comes after number %d", last[g.Thread])
			}
			if why := m.wrong(user, g); why != "" {
				fault(g, "%s", why)
			}
			seen[k], last[g.Thread] = true, g.Number
		}
		at = g.at
	}
	for id, t := range m.threads {
		if only != "" && id != only {
			continue
		}
		for _, e := range t.events {
			missed := e.position > start.Position && e.position <= end.Position && !seen[key{id, e.Number}] && t.must(user, e, m.steps)
			if missed && !slices.ContainsFunc(excused, func(x [2]uint64) bool { return x[0] < e.position && e.position <= x[1] }) {
				fault(&received{Event: e.Event, content: e.content, at: core.Cursor{Position: e.position}}, "it did not come")
			}
		}
	}
	return faults
}
