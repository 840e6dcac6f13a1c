//go:build unix

package failures

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"
)

// room is a place for one thread of TestLoss. When its thread is deleted, the room gets a new
// thread.
type room struct {
	owner   int      // number of the writer who changes participants and the topic
	writers []int    // numbers of the writers who change this thread
	users   []string // ids of the users who read the thread

	mu     sync.Mutex // guards the fields below
	thread string     // id of the thread
	recent []message  // some of the acknowledged messages
}

// message is an acknowledged message that its sender has neither edited nor deleted yet.
type message struct {
	id, text string
	sender   int
}

// records has the changes that the servers acknowledged to writers, and the statuses of the
// writers' requests.
type records struct {
	mu       sync.Mutex           // guards the fields below
	acked    map[fact]int         // number of acknowledgements of each change
	texts    map[[2]string]string // first content of each message, by the ids of the thread and the message
	deleted  map[[2]string]time.Time
	outcomes map[string]map[int]int

	events int // number of events in the store after the last round
}

// fact is an acknowledged change: the thread, the kind of the change's event, and the id of the
// message or the user that was changed.
type fact struct{ thread, event, about string }

func newRecords() records {
	return records{acked: map[fact]int{}, texts: map[[2]string]string{}, deleted: map[[2]string]time.Time{}, outcomes: map[string]map[int]int{}}
}

// ack records an acknowledged change.
func (r *records) ack(thread, event, about string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acked[fact{thread, event, about}]++
}

// outcome counts the status of a request and returns the status. The argument what names the kind
// of request.
func (r *records) outcome(what string, status int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.outcomes[what] == nil {
		r.outcomes[what] = map[int]int{}
	}
	r.outcomes[what][status]++
	return status
}

// compare returns a text for each acknowledged change that is not in the store.
func (l *loss) compare(truth *truth) (problems []string) {
	l.records.mu.Lock()
	defer l.records.mu.Unlock()
	for f, times := range l.acked {
		swept := truth.threads[f.thread] != nil && truth.threads[f.thread].deleted() && strings.HasPrefix(f.event, "participants")
		if n := truth.facts[f]; n < times && !swept {
			problems = append(problems, fmt.Sprintf("%+v was acknowledged %d times and is in the store %d times", f, times, n))
		}
	}
	return problems
}

// writer is a user who changes the threads of some rooms.
type writer struct {
	*loss
	user
	number int
	rooms  []*room
	sent   int
}

// run makes random changes to the rooms until ctx is done.
func (w *writer) run(ctx context.Context) {
	for {
		w.sleep(ctx, time.Duration(50+rand.IntN(250))*time.Millisecond)
		if ctx.Err() != nil {
			return
		}
		w.act(w.rooms[rand.IntN(len(w.rooms))])
	}
}

// act makes one random change to the thread of a room.
func (w *writer) act(r *room) {
	r.mu.Lock()
	thread := r.thread
	r.mu.Unlock()
	owner := r.owner == w.number
	switch p := rand.IntN(100); {
	case p < 10:
		if m, ok := w.take(r); ok {
			w.edit(r, thread, m)
		}
	case p < 17:
		if m, ok := w.take(r); ok {
			w.remove(thread, m)
		}
	case p < 29:
		w.receipt(r, thread)
	case p < 34:
		w.outcome("typing", w.do("POST", thread, "/typing", map[string]string{}, nil))
	case p < 54 && owner:
		w.changeRoster(r, thread)
	case p < 62 && owner:
		if w.outcome("topic", w.do("PATCH", thread, "", map[string]string{"topic": fmt.Sprint("topic ", rand.IntN(1000))}, nil)) == 204 {
			w.ack(thread, "threadUpdated", "")
		}
	case p < 64 && owner:
		w.replace(r, thread)
	default:
		w.send(r, thread)
	}
}

// do sends a request about a thread to one of the servers, chosen at random, and decodes the
// response into out. It returns the status.
func (w *writer) do(method, thread, path string, body, out any) (status int) {
	n := w.nodes[rand.IntN(len(w.nodes))]
	status, answer := w.ask(n, method, "/chat/threads/"+thread+path+version, w.bearer, "", body)
	if out != nil && status/100 == 2 && json.Unmarshal(answer, out) != nil {
		return -1
	}
	return status
}

func (w *writer) send(r *room, thread string) {
	w.sent++
	text := fmt.Sprintf("%d/%d", w.number, w.sent)
	var sent struct{ ID string }
	if w.outcome("send", w.do("POST", thread, "/messages", map[string]string{"content": text, "senderDisplayName": "ü 100% \"" + text + "\""}, &sent)) != 201 {
		return
	}
	w.ack(thread, "messageReceived", sent.ID)
	w.records.mu.Lock()
	w.texts[[2]string{thread, sent.ID}] = text
	w.records.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.thread == thread {
		r.recent = append(r.recent[max(0, len(r.recent)-20):], message{sent.ID, text, w.number})
	}
}

// take removes a message of this writer from the room's list of recent messages and returns the
// message, so that each message is changed only once. It returns false if the list has no message
// of this writer.
func (w *writer) take(r *room) (message, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, m := range r.recent {
		if m.sender == w.number {
			r.recent = append(r.recent[:i:i], r.recent[i+1:]...)
			return m, true
		}
	}
	return message{}, false
}

// edited is the text that an edit appends to the content of a message.
const edited = " edited"

// edit edits a message, and then sometimes deletes it.
func (w *writer) edit(r *room, thread string, m message) {
	status := w.outcome("edit", w.do("PATCH", thread, "/messages/"+m.id, map[string]string{"content": m.text + edited}, nil))
	if status == 204 {
		w.ack(thread, "messageEdited", m.id)
	}
	if status != 0 && rand.IntN(4) == 0 {
		w.remove(thread, m)
	}
}

func (w *writer) remove(thread string, m message) {
	if w.outcome("delete", w.do("DELETE", thread, "/messages/"+m.id, nil, nil)) == 204 {
		w.ack(thread, "messageDeleted", m.id)
		w.records.mu.Lock()
		w.deleted[[2]string{thread, m.id}] = time.Now()
		w.records.mu.Unlock()
	}
}

// receipt sends a read receipt for the most recent message of a room.
func (w *writer) receipt(r *room, thread string) {
	r.mu.Lock()
	id := ""
	if len(r.recent) > 0 {
		id = r.recent[len(r.recent)-1].id
	}
	r.mu.Unlock()
	if id != "" {
		w.outcome("receipt", w.do("POST", thread, "/readReceipts", map[string]string{"chatMessageId": id}, nil))
	}
}

// changeRoster removes a random reader from a thread, or adds the reader if the reader is not a
// member. It chooses at random how much of the history the added user may see.
func (w *writer) changeRoster(r *room, thread string) {
	var page struct {
		Value []struct {
			CommunicationIdentifier struct{ RawID string }
		}
	}
	if w.do("GET", thread, "/participants", nil, &page) != 200 {
		return
	}
	who := r.users[rand.IntN(3)] // choose among only three users, so that a removed user is soon added again
	present := false
	for _, p := range page.Value {
		present = present || p.CommunicationIdentifier.RawID == who
	}
	identifier := map[string]any{"rawId": who, "communicationUser": map[string]string{"id": who}}
	if present {
		if w.outcome("remove participant", w.do("POST", thread, "/participants/:remove", identifier, nil)) == 204 {
			w.ack(thread, "participantsRemoved", who)
		}
		return
	}
	added := map[string]any{"communicationIdentifier": identifier, "displayName": "again"}
	switch rand.IntN(3) {
	case 0:
		added["shareHistoryTime"] = time.Now().Format(time.RFC3339Nano)
	case 1:
		added["shareHistoryTime"] = time.Now().Add(-time.Duration(rand.IntN(10)) * time.Second).Format(time.RFC3339Nano)
	}
	if w.outcome("add participant", w.do("POST", thread, "/participants/:add", map[string]any{"participants": []any{added}}, nil)) == 201 {
		w.ack(thread, "participantsAdded", who)
	}
}

// create creates the thread of a room.
func (w *writer) create(r *room) (status int) {
	var members []any
	add := func(id string) {
		members = append(members, map[string]any{"communicationIdentifier": map[string]any{"rawId": id, "communicationUser": map[string]string{"id": id}}, "displayName": "first"})
	}
	for _, i := range r.writers {
		add(w.writers[i].id)
	}
	for _, id := range r.users {
		add(id)
	}
	var made struct{ ChatThread struct{ ID string } }
	n := w.nodes[rand.IntN(len(w.nodes))]
	status, answer := w.ask(n, "POST", "/chat/threads"+version, w.bearer, "", map[string]any{"topic": "loss", "participants": members})
	if w.outcome("create", status) != 201 || json.Unmarshal(answer, &made) != nil {
		return status
	}
	w.ack(made.ChatThread.ID, "threadCreated", "")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.thread, r.recent = made.ChatThread.ID, nil
	return status
}

// replace creates a new thread for a room and then deletes the old one.
func (w *writer) replace(r *room, thread string) {
	if w.create(r) != 201 {
		return
	}
	if w.outcome("delete thread", w.do("DELETE", url.PathEscape(thread), "", nil, nil)) == 204 {
		w.ack(thread, "threadDeleted", "")
	}
}
