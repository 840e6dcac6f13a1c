package core_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/store/postgres"
	"github.com/confab-chat/confab/internal/store/storetest"
	"github.com/confab-chat/confab/sdk/communication"
)

// atOnce is the number of calls that change one thread at the same time. slowest is the time within
// which 99 percent of them must return. The goal is 2 s on two cores; the tests allow more, because
// other programs may be running.
const (
	atOnce = 200
	// keysAtOnce is the number of concurrent calls that each add one key to the metadata of a
	// thread. It is the greatest number of keys that metadata can have, so all must succeed.
	keysAtOnce = 100
	slowest    = 10 * time.Second
)

// listPage returns a page of the messages with sequences less than before. next is the value of
// before for the next page, or 0 after the last page.
func listPage(ctx context.Context, s *core.Service, caller, thread string, before uint64) (ms []core.Message, next uint64, err error) {
	page, err := s.ListMessages(ctx, caller, thread, core.ListMessages{Before: before, Limit: core.MaxMessagesPage})
	return page.Messages, page.Next, err
}

func participantsPage(ctx context.Context, s *core.Service, caller, thread string, skip int) (ms []*core.Member, more bool, err error) {
	page, err := s.ListParticipants(ctx, caller, thread, skip, 200)
	return page.Participants, page.Next > 0, err
}

func receiptsPage(ctx context.Context, s *core.Service, caller, thread string, skip int) (rs []core.Receipt, more bool, err error) {
	rs, next, err := s.ListReceipts(ctx, caller, thread, skip, 200)
	return rs, next > 0, err
}

// allMessages returns all messages of a thread that the caller may see, newest first.
func (h *house) allMessages(t *testing.T, caller, thread string) (all []core.Message) {
	t.Helper()
	for before, first := uint64(0), true; first || before != 0; first = false {
		ms, next, err := listPage(context.Background(), h.Service, caller, thread, before)
		if err != nil {
			t.Fatalf("list messages of %s: %v", thread, err)
		}
		all, before = append(all, ms...), next
	}
	return all
}

// allParticipants returns all participants of a thread, read page by page.
func (h *house) allParticipants(t *testing.T, caller, thread string) (all []*core.Member) {
	t.Helper()
	for more := true; more; {
		var ms []*core.Member
		var err error
		if ms, more, err = participantsPage(context.Background(), h.Service, caller, thread, len(all)); err != nil {
			t.Fatalf("list participants of %s: %v", thread, err)
		}
		all = append(all, ms...)
	}
	return all
}

// allReceipts returns all read receipts of a thread, read page by page.
func (h *house) allReceipts(t *testing.T, caller, thread string) (all []core.Receipt) {
	t.Helper()
	for more := true; more; {
		var rs []core.Receipt
		var err error
		if rs, more, err = receiptsPage(context.Background(), h.Service, caller, thread, len(all)); err != nil {
			t.Fatalf("list receipts of %s: %v", thread, err)
		}
		all = append(all, rs...)
	}
	return all
}

// onEngines runs f with one service on the embedded engine, with one service on
// PostgreSQL, and with two services, each with its own store and cache, on one
// PostgreSQL database.
func onEngines(t *testing.T, f func(*testing.T, []*house)) {
	initial := core.Resource{ID: resourceID, Epoch: "epoch", Keys: [2]core.AccessKeyRow{{Secret: []byte{1}}, {Secret: []byte{2}}}}
	t.Run("embedded", func(t *testing.T) {
		store, err := pebble.Open("store", pebble.Options{FS: pebble.NewMem(), CacheSize: 1 << 20, Initial: initial})
		if err != nil {
			t.Fatal(err)
		}
		f(t, []*house{newHouseOn(t, store)})
	})
	for i, name := range []string{"PostgreSQL", "two servers on PostgreSQL"} {
		t.Run(name, func(t *testing.T) {
			address := os.Getenv("TEST_POSTGRES_URL")
			if address == "" {
				t.Skip("set TEST_POSTGRES_URL to run on PostgreSQL: scripts/postgres -- go test ./internal/core")
			}
			address = freshDatabase(t, address)
			var houses []*house
			for range i + 1 {
				store, err := postgres.Open(t.Context(), address, postgres.Options{Initial: initial})
				if err != nil {
					t.Fatal(err)
				}
				houses = append(houses, newHouseOn(t, store))
			}
			f(t, houses)
		})
	}
}

// newHouseOn starts a service on a store. It closes both the service and the store at the end
// of the test.
func newHouseOn(t *testing.T, store core.Store) *house {
	t.Helper()
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	h := &house{store: store}
	h.now.Store(start.UnixMilli())
	var err error
	h.Service, err = core.New(t.Context(), store, new(local.Bus), core.Options{Now: func() time.Time { return time.UnixMilli(h.now.Load()) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// people creates n users and returns their ids.
func (h *house) people(t testing.TB, n int) []string {
	t.Helper()
	users := make([]string, n)
	together(n, func(i int) {
		u, err := h.CreateUser(context.Background())
		if err != nil {
			t.Error(err)
		}
		users[i] = u.ID
	})
	if t.Failed() {
		t.FailNow()
	}
	return users
}

// job is one of many calls that a test makes at the same time.
type job struct {
	kind string
	do   func(*core.Service) error
}

// run makes the calls of all jobs at the same time, spread over the given services, and logs
// how long each kind of call took. If a call fails, run ends the test.
func run(t *testing.T, houses []*house, jobs []job) {
	t.Helper()
	took, errs := make([]time.Duration, len(jobs)), make([]error, len(jobs))
	together(len(jobs), func(i int) {
		begin := time.Now()
		errs[i] = jobs[i].do(houses[i%len(houses)].Service)
		took[i] = time.Since(begin)
	})
	kinds, failed := map[string][]time.Duration{}, map[string]map[core.Code]int{}
	for i, j := range jobs {
		kinds[j.kind] = append(kinds[j.kind], took[i])
		if errs[i] == nil {
			continue
		}
		if failed[j.kind] == nil {
			failed[j.kind] = map[core.Code]int{}
		}
		failed[j.kind][code(errs[i])]++
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		ds := kinds[kind]
		slices.Sort(ds)
		p50, p99 := ds[len(ds)/2], ds[(len(ds)*99+99)/100-1]
		t.Logf("%d %s at once: p50 %v, p99 %v", len(ds), kind, p50.Round(100*time.Microsecond), p99.Round(100*time.Microsecond))
		if p99 > slowest {
			t.Errorf("%s: p99 is %v, want at most %v", kind, p99, slowest)
		}
		if len(failed[kind]) > 0 {
			t.Errorf("%s: of %d failed by code %v, want none", kind, len(ds), failed[kind])
		}
	}
	if len(failed) > 0 {
		t.FailNow()
	}
}

// inspect returns the thread as it is stored, with all members.
func (h *house) inspect(t *testing.T, thread string) *core.Thread {
	t.Helper()
	th, err := h.Inspect(context.Background(), thread)
	if err != nil {
		t.Fatal(err)
	}
	return th
}

// checkEvents checks that the thread's events are numbered without gaps up to the last
// number in the thread's head row, and that each kind occurs as often as in want.
func (h *house) checkEvents(t *testing.T, thread string, want map[core.EventKind]int) {
	t.Helper()
	kinds, next := map[core.EventKind]int{}, uint64(1)
	log, err := storetest.Events(context.Background(), h.store)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range log {
		if e.Thread != thread {
			continue
		}
		if e.Number != next {
			t.Fatalf("event %d follows event %d", e.Number, next-1)
		}
		next++
		kinds[e.Kind]++
	}
	equal(t, "events by kind", kinds, want)
}

// TestManyAddAtOnce adds different users to one thread at the same time and checks that each
// becomes a participant exactly once.
func TestManyAddAtOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		h := houses[0]
		ann := h.user(t)
		thread := h.thread(t, ann)
		users := h.people(t, atOnce)
		var jobs []job
		for _, user := range users {
			jobs = append(jobs, job{"additions", func(s *core.Service) error {
				bad, err := s.AddParticipants(context.Background(), ann, thread, []core.NewParticipant{{User: communication.ParseRawID(user)}})
				if len(bad) > 0 {
					err = fmt.Errorf("refused: %v", bad)
				}
				return err
			}})
		}
		run(t, houses, jobs)
		want := map[string]int{ann: 1}
		for _, user := range users {
			want[user] = 1
		}
		for _, h := range houses {
			got := map[string]int{}
			for _, m := range h.allParticipants(t, ann, thread) {
				got[m.User]++
			}
			equal(t, "participants", got, want)
		}
		told := map[string]int{ann: 1} // by the create
		for _, m := range h.allMessages(t, ann, thread) {
			if m.Sequence <= 2 {
				continue
			}
			if m.Kind != core.ParticipantAdded || len(m.Participants) != 1 {
				t.Errorf("message %+v, want one of one addition", m)
				continue
			}
			told[m.Participants[0].User]++
		}
		equal(t, "additions that messages tell of", told, want)
		h.checkEvents(t, thread, map[core.EventKind]int{core.ThreadCreated: 1, core.ParticipantsAdded: atOnce})
	})
}

// TestManyPatchAtOnce changes one thread's metadata with many concurrent calls, each of which sets
// a different key. It checks that no key is lost.
func TestManyPatchAtOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		h := houses[0]
		ann := h.user(t)
		thread := h.thread(t, ann)
		before := h.inspect(t, thread).Revision
		want := map[string]string{}
		var jobs []job
		for i := range keysAtOnce {
			key, value := fmt.Sprint("key", i), fmt.Sprint("value", i)
			want[key] = value
			jobs = append(jobs, job{"metadata patches", func(s *core.Service) error {
				return s.UpdateThread(context.Background(), ann, thread, core.UpdateThread{Metadata: map[string]*string{key: &value}})
			}})
		}
		run(t, houses, jobs)
		for _, h := range houses {
			p, err := h.Thread(context.Background(), ann, thread)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "metadata", p.Metadata, want)
		}
		if got := h.inspect(t, thread).Revision - before; got != keysAtOnce {
			t.Errorf("the revision moved %d times, want %d", got, keysAtOnce)
		}
		h.checkEvents(t, thread, map[core.EventKind]int{core.ThreadCreated: 1, core.ThreadUpdated: keysAtOnce})
	})
}

// TestManyEditAtOnce edits one message with many concurrent calls, and checks that there is one
// order of the edits that explains every answer. Each edit adds a key to the message's metadata, so
// a read shows after which edits it was made.
func TestManyEditAtOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		h := houses[0]
		ann := h.user(t)
		thread := h.thread(t, ann)
		r := record{thread: thread, caller: ann, begin: time.Now()}
		var message int64
		r.add(h.Service, threadOp{kind: "send", who: "ann", label: "m", text: "first"}, func() (err error) {
			message, err = h.SendMessage(context.Background(), ann, thread, core.SendMessage{Kind: core.Text, Content: "first", SenderDisplayName: "m"})
			return err
		})
		before := h.inspect(t, thread)
		var jobs []job
		for i := range keysAtOnce {
			op := threadOp{kind: "edit", who: "ann", label: "m", text: fmt.Sprint("edit", i)}
			jobs = append(jobs, job{"edits of one message", func(s *core.Service) error {
				return r.add(s, op, func() error {
					return s.UpdateMessage(context.Background(), ann, thread, message, core.UpdateMessage{Content: &op.text, Metadata: map[string]*string{op.text: &op.text}})
				})
			}})
		}
		run(t, houses, jobs)
		for _, h := range houses {
			r.read(h.Service)
		}
		after := h.inspect(t, thread)
		if sequences, events := after.LastSequence-before.LastSequence, after.LastEvent-before.LastEvent; sequences != keysAtOnce || events != keysAtOnce {
			t.Errorf("%d sequences and %d events were given, want %d of each", sequences, events, keysAtOnce)
		}
		m, err := h.Message(context.Background(), ann, thread, message)
		if err != nil {
			t.Fatal(err)
		}
		if m.Sequence != after.LastSequence || m.Version != after.LastID || m.Metadata[m.Content] != m.Content || len(m.Metadata) != keysAtOnce {
			t.Errorf("after all edits: content %q, %d keys, sequence %d, version %d; want the content of an edit, %d keys, sequence %d, version %d",
				m.Content, len(m.Metadata), m.Sequence, m.Version, keysAtOnce, after.LastSequence, after.LastID)
		}
		if n := len(h.allMessages(t, ann, thread)); n != 3 {
			t.Errorf("%d messages are listed, want 3", n)
		}
		h.checkEvents(t, thread, map[core.EventKind]int{core.ThreadCreated: 1, core.MessageReceived: 1, core.MessageEdited: keysAtOnce})
		r.check(t, "ann", func(op *placedOp) {
			if op.kind == "send" {
				op.from, op.to = before.LastSequence, before.LastSequence
				return
			}
			op.from, op.to = before.LastSequence+1, after.LastSequence
			for _, read := range r.reads {
				switch top := read[0]; {
				case top.Content == op.text:
					op.from, op.to = top.Sequence, top.Sequence
					return
				case top.Metadata[op.text] != "": // the page shows the message after a later edit, so this edit came before
					op.to = min(op.to, top.Sequence-1)
				default:
					op.from = max(op.from, top.Sequence+1)
				}
			}
		})
	})
}

// TestSendsBesideRosterChanges sends messages to a thread while users are added and removed. It
// checks the participants, messages and events, and checks that there is one order of all
// operations that explains every answer.
func TestSendsBesideRosterChanges(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		h := houses[0]
		ann := h.user(t)
		before, joining := h.people(t, atOnce/2), h.people(t, atOnce/2)
		names := map[string]string{ann: "ann"}
		cmd := core.CreateThread{Topic: "topic"}
		for i, user := range before {
			names[user] = fmt.Sprint("old", i)
			cmd.Participants = append(cmd.Participants, core.NewParticipant{User: communication.ParseRawID(user), DisplayName: names[user]})
		}
		for i, user := range joining {
			names[user] = fmt.Sprint("new", i)
		}
		made, _, err := h.CreateThread(context.Background(), ann, cmd)
		if err != nil {
			t.Fatal(err)
		}
		thread := made.ID
		r := record{thread: thread, caller: ann, begin: time.Now()}
		sent := make([]int64, atOnce)
		var jobs []job
		for i := range atOnce {
			op := threadOp{kind: "send", who: "ann", label: fmt.Sprint("m", i), text: fmt.Sprint("text", i)}
			jobs = append(jobs, job{"sends", func(s *core.Service) error {
				return r.add(s, op, func() (err error) {
					sent[i], err = s.SendMessage(context.Background(), ann, thread, core.SendMessage{Kind: core.Text, Content: op.text, SenderDisplayName: op.label})
					return err
				})
			}})
			if user := before[i/2]; i%2 == 0 {
				jobs = append(jobs, job{"removals", func(s *core.Service) error {
					return r.add(s, threadOp{kind: "remove", who: "ann", whom: names[user]}, func() error {
						return s.RemoveParticipant(context.Background(), ann, thread, communication.ParseRawID(user))
					})
				}})
			}
			if user := joining[i/2]; i%2 == 1 {
				jobs = append(jobs, job{"additions", func(s *core.Service) error {
					return r.add(s, threadOp{kind: "add", who: "ann", whom: names[user]}, func() error {
						_, err := s.AddParticipants(context.Background(), ann, thread, []core.NewParticipant{{User: communication.ParseRawID(user), DisplayName: names[user]}})
						return err
					})
				}})
			}
		}
		run(t, houses, jobs)
		for _, h := range houses {
			r.read(h.Service)
		}

		want := map[string]int{ann: 1}
		for _, user := range joining {
			want[user] = 1
		}
		got := map[string]int{}
		for _, m := range h.allParticipants(t, ann, thread) {
			got[m.User]++
		}
		equal(t, "participants", got, want)
		// The sequence of each message, by the line of text that stands for the message in the
		// model.
		places := map[string]uint64{}
		ms := h.allMessages(t, ann, thread)
		for i, m := range ms {
			if m.Sequence != uint64(len(ms)-i) {
				t.Fatalf("message %d from the top has sequence %d of %d", i, m.Sequence, len(ms))
			}
			if i > 0 && m.ID >= ms[i-1].ID {
				t.Errorf("sequence %d has id %d and the next one %d", m.Sequence, m.ID, ms[i-1].ID)
			}
			if line := told(ms[i : i+1]); line != "" {
				if places[line] != 0 {
					t.Errorf("%q is at sequences %d and %d", line, m.Sequence, places[line])
				}
				places[line] = m.Sequence
				var n int
				if _, err := fmt.Sscanf(m.Content, "text%d", &n); err == nil && sent[n] != m.ID {
					t.Errorf("%q has id %d, and its sender was told %d", m.Content, m.ID, sent[n])
				}
			}
		}
		if len(places) != 2*atOnce {
			t.Errorf("%d messages are listed, want %d", len(places), 2*atOnce)
		}
		h.checkEvents(t, thread, map[core.EventKind]int{core.ThreadCreated: 1, core.MessageReceived: atOnce, core.ParticipantsAdded: atOnce / 2, core.ParticipantsRemoved: atOnce / 2})
		var members []string
		for _, user := range append(before, ann) {
			members = append(members, names[user])
		}
		slices.Sort(members)
		r.check(t, strings.Join(members, ","), func(op *placedOp) {
			line := map[string]string{"send": op.label + " " + op.text + "\n", "add": "+" + op.whom + " \n", "remove": "-" + op.whom + " \n"}[op.kind]
			op.from, op.to = places[line], places[line]
		})
	})
}

// record holds the operations that clients carried out on a thread at the same time,
// and the pages that readers read meanwhile.
type record struct {
	thread, caller string
	begin          time.Time

	mu    sync.Mutex // guards what follows
	ops   []porcupine.Operation
	reads [][]core.Message // each element is the newest page of messages that one read returned
}

// add carries out an operation by calling do, and records it with its result. After
// every fourth operation it also reads the thread.
func (r *record) add(s *core.Service, op threadOp, do func() error) error {
	call := time.Since(r.begin).Nanoseconds()
	err := do()
	back := time.Since(r.begin).Nanoseconds()
	r.mu.Lock()
	n := len(r.ops)
	r.ops = append(r.ops, porcupine.Operation{ClientId: n, Input: placedOp{threadOp: op}, Output: threadOut{refusal: code(err)}, Call: call, Return: back})
	r.mu.Unlock()
	if n%4 == 3 {
		r.read(s)
	}
	return err
}

// read reads the newest page of messages and records the result.
func (r *record) read(s *core.Service) {
	call := time.Since(r.begin).Nanoseconds()
	ms, _, err := listPage(context.Background(), s, r.caller, r.thread, 0)
	back := time.Since(r.begin).Nanoseconds()
	r.mu.Lock()
	defer r.mu.Unlock()
	op := placedOp{threadOp: threadOp{kind: "read", who: "ann"}}
	if len(ms) > 0 {
		op.from, op.to = ms[0].Sequence, ms[0].Sequence
		r.reads = append(r.reads, ms)
	}
	r.ops = append(r.ops, porcupine.Operation{ClientId: len(r.ops), Input: op, Output: threadOut{refusal: code(err), messages: told(ms)}, Call: call, Return: back})
}

// placedOp is an operation and the range of sequence numbers that its message can have. For a
// read, the range is the sequence number of the newest message that it returned.
//
// The ranges give the checker (porcupine) most of the order. Without them it would try hundreds
// of operations in every order.
type placedOp struct {
	threadOp
	from, to uint64
}

// placedState is the state of the model of a thread, together with the sequence number of the
// newest message and the number of reads so far that returned this message as the newest.
type placedState struct {
	threadState
	sequence uint64
	reads    int
}

// check fails the test unless porcupine finds an order of all recorded operations in
// which every answer is right. place sets the range of sequence numbers of an operation
// that is not a read.
func (r *record) check(t *testing.T, members string, place func(*placedOp)) {
	t.Helper()
	readsAt := map[uint64]int{}
	for i, op := range r.ops {
		placed := op.Input.(placedOp)
		if placed.kind == "read" {
			readsAt[placed.to]++
		} else {
			place(&placed)
		}
		r.ops[i].Input = placed
	}
	created := placedOp{threadOp: threadOp{kind: "create", whom: members, text: "topic"}}
	ops := append([]porcupine.Operation{{ClientId: len(r.ops), Input: created, Output: threadOut{}, Call: -2, Return: -1}}, r.ops...)
	model := porcupine.Model{
		Init: func() any { return placedState{} },
		Step: func(state, input, output any) (bool, any) {
			s, op, got := state.(placedState), input.(placedOp), output.(threadOut)
			switch {
			case op.kind == "create":
				return true, placedState{threadState: threadState{members: op.whom, topic: op.text}, sequence: 2}
			case op.kind == "read" && op.to != s.sequence:
				return false, state
			case op.kind == "read":
				out, _ := s.step(op.threadOp)
				s.reads++
				return got.refusal == "" && got.messages == newest(out.messages), s
			case s.sequence+1 < op.from, s.sequence+1 > op.to, s.reads < readsAt[s.sequence]:
				return false, state // all reads that returned this state must come before the next change
			}
			out, next := s.step(op.threadOp)
			return out == got, placedState{threadState: next, sequence: s.sequence + 1}
		},
		Equal: func(a, b any) bool { return a == b },
	}
	begin := time.Now()
	if result := porcupine.CheckOperationsTimeout(model, ops, 20*time.Second); result != porcupine.Ok {
		slices.SortFunc(r.ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Input.(placedOp).to, b.Input.(placedOp).to) })
		for _, op := range r.ops {
			if in := op.Input.(placedOp); in.kind != "read" {
				t.Logf("%d to %d: %+v -> %+v", op.Call, op.Return, in, op.Output)
			}
		}
		t.Errorf("porcupine says %s of %d operations", result, len(ops))
		return
	}
	t.Logf("%d operations, %d reads at %d moments among them, linearizable (checked in %v)", len(ops)-1, len(r.reads), len(readsAt), time.Since(begin).Round(time.Millisecond))
}

// newest returns the first core.MaxMessagesPage lines of messages. The text messages has one line
// for each message, newest first.
func newest(messages string) string {
	lines := strings.SplitAfterN(messages, "\n", core.MaxMessagesPage+1)
	return strings.Join(lines[:min(len(lines), core.MaxMessagesPage)], "")
}
