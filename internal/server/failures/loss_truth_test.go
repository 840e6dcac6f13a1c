//go:build unix

package failures

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// truth is the content of the store, read from the output of `confab export`
// (docs/export-format.md).
type truth struct {
	threads    map[string]*storedThread
	byPosition []*storedEvent // all events in the order of their positions; the first one has position 1
	facts      map[fact]int
	count      int // number of events
}

// storedThread is a thread in an export.
type storedThread struct {
	members  map[string]*storedMember
	messages map[int64]*storedMessage
	events   []*storedEvent // the first one has number 1
}

type storedMember struct {
	User         string
	ShareHistory int64
	JoinedOn     int64
	Intervals    [][2]uint64
}

type storedMessage struct {
	ID           int64
	CreatedOn    int64
	DeletedOn    int64
	Type         string
	Participants []struct {
		User         string
		ShareHistory int64
	}
}

type storedEvent struct {
	Position uint64
	Thread   string
	Number   uint64
	Event    string
	Message  int64
	Version  int64
	Actor    string
}

// export exports all rows of the store while the servers run, and parses the export.
func (l *loss) export(t *testing.T) *truth {
	t.Helper()
	cmd := exec.Command(l.binary, "export", "-", "--data", l.nodes[0].dir)
	cmd.Env = l.nodes[0].env // run the command with the environment of a server, which names the database if there is one
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("export: %v\n%s", err, stderr.Bytes())
	}
	tr := &truth{threads: map[string]*storedThread{}, facts: map[fact]int{}}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		if err := tr.add(lines.Bytes()); err != nil {
			t.Fatalf("export: %v in %.300s", err, lines.Bytes())
		}
	}
	for id, th := range tr.threads {
		for i, e := range th.events {
			if e == nil || e.Number != uint64(i+1) {
				t.Fatalf("thread %s has no event %d", id, i+1)
			}
			if strings.HasPrefix(e.Event, "participants") && th.messages[e.Message] == nil && !th.deleted() {
				t.Fatalf("thread %s has no message of %+v", id, *e)
			}
			tr.note(th, e)
		}
	}
	return tr
}

// add parses a line of the export and adds it to the truth.
func (tr *truth) add(line []byte) error {
	var row struct{ Kind, ID, Thread string }
	if err := json.Unmarshal(line, &struct {
		Kind   *string
		Thread *string
	}{&row.Kind, &row.Thread}); err != nil {
		return err
	}
	th := tr.threads[row.Thread]
	if th == nil && row.Thread != "" {
		th = &storedThread{members: map[string]*storedMember{}, messages: map[int64]*storedMessage{}}
		tr.threads[row.Thread] = th
	}
	switch row.Kind {
	case "member":
		var m storedMember
		if err := json.Unmarshal(line, &m); err != nil {
			return err
		}
		th.members[m.User] = &m
	case "message":
		var m storedMessage
		if err := json.Unmarshal(line, &m); err != nil {
			return err
		}
		th.messages[m.ID] = &m
	case "event":
		var e storedEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		tr.count++
		tr.byPosition = append(tr.byPosition, &e)
		if e.Position != uint64(len(tr.byPosition)) {
			return fmt.Errorf("position %d follows %d", e.Position, len(tr.byPosition)-1)
		}
		if th != nil {
			th.events = append(th.events, &e)
		}
	}
	return nil
}

// note counts an event in tr.facts, under the same key under which the writer of a change counts
// the acknowledgement of the change.
func (tr *truth) note(th *storedThread, e *storedEvent) {
	f := fact{thread: e.Thread, event: e.Event}
	switch e.Event {
	case "messageReceived", "messageEdited", "messageDeleted":
		f.about = strconv.FormatInt(e.Message, 10)
	case "participantsAdded", "participantsRemoved":
		m := th.messages[e.Message]
		if m == nil { // do not count the event of a message that the store has deleted with its thread
			return
		}
		for _, p := range m.Participants {
			f.about = p.User
		}
	}
	tr.facts[f]++
}

// deleted reports whether the thread was deleted. The store deletes the messages of such a thread
// some time later.
func (th *storedThread) deleted() bool {
	return len(th.events) > 0 && th.events[len(th.events)-1].Event == "threadDeleted"
}

// period is a range of events of a thread during which a user was a member without a break.
type period struct {
	from, to uint64 // numbers of the first and the last event of the period; to is 0 if the user is still a member
	visible  int64  // creation time of the oldest message that the user may read
	unknown  bool   // whether visible is unknown, because the thread was deleted
}

// periods returns the periods during which a user was a member of a thread.
func (th *storedThread) periods(user string) (ps []period) {
	m := th.members[user]
	if m == nil {
		return nil
	}
	times := th.split(m)
	for i, in := range times {
		p := period{from: in[0], to: in[1]}
		if i == len(times)-1 {
			p.visible = min(m.ShareHistory, m.JoinedOn)
		} else if e := th.events[in[0]-1]; e.Event == "participantsAdded" {
			join := th.messages[e.Message]
			if p.unknown = join == nil; join != nil {
				for _, who := range join.Participants {
					if who.User == user {
						p.visible = min(who.ShareHistory, join.CreatedOn)
					}
				}
			}
		} // without such an event, the user was one of the first participants and may read everything
		if th.deleted() && th.mayHide(in) {
			p.unknown = true
		}
		ps = append(ps, p)
	}
	return ps
}

// split returns the ranges of events during which the member m was in the thread. One interval in
// an export contains several of these ranges if the member was removed and added again by two
// events in a row. In a deleted thread whose messages are missing the ranges cannot be told apart.
// Then split returns the whole interval, and mayHide tells whether it may contain several ranges.
func (th *storedThread) split(m *storedMember) (all [][2]uint64) {
	for _, in := range m.Intervals {
		for n := in[0]; n < uint64(len(th.events)) && (in[1] == 0 || n < in[1]); n++ {
			if th.names(n, "participantsRemoved", m.User) && th.names(n+1, "participantsAdded", m.User) {
				all = append(all, [2]uint64{in[0], n})
				in[0] = n + 1
			}
		}
		all = append(all, in)
	}
	return all
}

// mayHide reports whether a member may have been removed and added again during an interval of
// event numbers, that is, whether the interval contains two events in a row that removed and added
// participants.
func (th *storedThread) mayHide(in [2]uint64) bool {
	for n := in[0]; n < uint64(len(th.events)) && (in[1] == 0 || n < in[1]); n++ {
		if th.events[n-1].Event == "participantsRemoved" && th.events[n].Event == "participantsAdded" {
			return true
		}
	}
	return false
}

// names reports whether event n of the thread is of the kind event and its message names the user.
func (th *storedThread) names(n uint64, event, user string) bool {
	e := th.events[n-1]
	if e.Event != event || th.messages[e.Message] == nil {
		return false
	}
	for _, p := range th.messages[e.Message].Participants {
		if p.User == user {
			return true
		}
	}
	return false
}

// judge reports whether a user must receive an event, and whether the user may receive it. The
// user may receive the event in the period in which it was written or in a later one, and each
// period limits what the user may read. So may is true if the user may read the event in one of
// these periods, and must is true only if the user may read it in all of them.
func (th *storedThread) judge(user string, e *storedEvent) (must, may bool) {
	ps := th.periods(user)
	i := slices.IndexFunc(ps, func(p period) bool { return p.from <= e.Number && (p.to == 0 || e.Number <= p.to) })
	if i < 0 {
		return false, false
	}
	must, may = true, true
	if e.Message == 0 || e.Event == "threadUpdated" || strings.HasPrefix(e.Event, "participants") {
		return must, may
	}
	created, m := e.Message, th.messages[e.Message] // for a receipt, use the id of its message, which is near the time at which the message was created
	if e.Event != "receiptReceived" {
		if m == nil {
			return false, true
		}
		created, must = m.CreatedOn, !th.deleted()
	}
	may = false
	for _, p := range ps[i:] {
		sees := created >= p.visible
		must, may = must && sees && !p.unknown, may || sees || p.unknown
	}
	if e.Event != "messageReceived" && e.Event != "messageEdited" {
		return must, may
	}
	for _, later := range th.events[e.Number:] {
		if later.Message != e.Message {
			continue
		}
		switch later.Event {
		case "messageDeleted":
			must = false
		case "messageEdited":
			for j, p := range ps[i:] {
				back := uint64(1<<63 - 1)
				if i+j+1 < len(ps) {
					back = ps[i+j+1].from
				}
				if p.to != 0 && p.to < later.Number && later.Number < back {
					must = false // the event may be missing, because a user who was not a member when the message was edited may not read the new content
				}
			}
		}
	}
	return must, may
}

// expected returns all events in the store that a reader must receive.
func (tr *truth) expected(r *reader) (all []*storedEvent) {
	for _, e := range tr.byPosition {
		th := tr.threads[e.Thread]
		if th == nil || !r.wants(e) {
			continue
		}
		if must, _ := th.judge(r.user.id, e); must {
			all = append(all, e)
		}
	}
	return all
}

// describe returns a text about the first events that a reader has not received.
func (tr *truth) describe(r *reader, missing []*storedEvent) string {
	var b strings.Builder
	for i, e := range missing {
		if i == 4 {
			break
		}
		fmt.Fprintf(&b, "\n\t%+v, periods %+v, of %d events", *e, tr.threads[e.Thread].periods(r.user.id), len(tr.threads[e.Thread].events))
	}
	b.WriteString("\n\t" + r.history(missing[0].Thread))
	return b.String()
}
