package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// testTransfer writes random changes to a store, exports its rows, imports them into an empty
// store, and compares the results of all reads. Then it continues to write to the new store.
func testTransfer(t *testing.T, e Engine) {
	probe := e.Open(t)
	_, exports := probe.(core.Exporter)
	_, imports := probe.(core.Importer)
	closeStore(t, probe)
	if !exports || !imports {
		t.Skip("this engine does not export and import yet")
	}
	rapid.Check(t, func(rt *rapid.T) {
		from := e.Open(t)
		m := &model{threads: map[string]*modelThread{}, users: map[string]core.User{}}
		at := m.run(rt, from, start, rapid.IntRange(0, 20).Draw(rt, "batches"))

		for n := range rapid.IntRange(0, 4).Draw(rt, "audit rows") {
			apply(rt, from, at, auditing(auditRow(start-int64(n), n), refusedRow(start-int64(n), n+10, n)))
		}
		records := Records(rt, from)
		to := e.Open(t)
		if err := to.(core.Importer).Import(context.Background(), Reading(records)); err != nil {
			rt.Fatalf("import %d records: %v", len(records), err)
		}
		if rapid.Bool().Draw(rt, "reopen") {
			to = e.Reopen(t, to)
		}
		threads, users := slices.Sorted(maps.Keys(m.threads)), []string{user(1), user(2), user(3)}
		var was, is strings.Builder
		Answers(rt, from, threads, users, &was)
		Answers(rt, to, threads, users, &is)
		mustEqual(rt, "answers after the import", strings.Split(is.String(), "\n"), strings.Split(was.String(), "\n"))
		mustEqualRecords(rt, Records(rt, to), records)
		closeStore(t, from)

		m.compare(rt, to)
		m.replays(rt, to, at)
		m.run(rt, to, at, rapid.IntRange(0, 10).Draw(rt, "batches after"))
		m.compare(rt, to)
		checkRows(rt, to)
		closeStore(t, to)
	})
}

// testTransferRefusals checks that an import into a store with rows fails, and that an import
// from a source that fails leaves the store empty.
func testTransferRefusals(t *testing.T, e Engine) {
	from := e.Open(t)
	defer closeStore(t, from)
	if _, ok := from.(core.Importer); !ok {
		t.Skip("this engine does not import yet")
	}
	a, ann := thread(1), user(1)
	u := core.User{ID: ann, State: core.UserDeleting, Generation: 3, DeletedAt: start}
	apply(t, from, start, auditing(auditRow(start, 1), refusedRow(start, 2, 3)), create(a, "key", ann), send(a, 1, ann, "token", "one"), putUser(core.User{ID: ann}, u))
	records := Records(t, from)

	ctx := context.Background()
	if err := from.(core.Importer).Import(ctx, Reading(records)); !errors.Is(err, core.ErrNotEmpty) {
		t.Errorf("import into a store that holds something: %v, want %v", err, core.ErrNotEmpty)
	}
	mustEqualRecords(t, Records(t, from), records)

	// After every failed import the store must be empty.
	to := e.Open(t)
	broken := errors.New("the source is broken")
	for n := range records {
		next := Reading(records[:n])
		err := to.(core.Importer).Import(ctx, func() (core.Record, error) {
			r, err := next()
			if err == io.EOF {
				err = broken
			}
			return r, err
		})
		if !errors.Is(err, broken) {
			t.Fatalf("a source that breaks after %d records: %v, want %v", n, err, broken)
		}
	}
	if err := to.(core.Importer).Import(ctx, Reading(nil)); err == nil {
		t.Error("an import of nothing at all was accepted")
	}
	mustEqual(t, "messages after broken imports", messages(t, to, core.MessagesQuery{Thread: a, Limit: 10}), core.MessagesPage{})
	mustEqualRecords(t, Records(t, to), []core.Record{Initial})
	mustEqual(t, "audit rows after broken imports", auditRows(t, to, core.AuditQuery{Limit: 10}), []core.Audit(nil))
	to = e.Reopen(t, to)
	defer func() { closeStore(t, to) }()

	// An import must set the resource's id and cloud, and the access keys if the record has
	// some. It must not change the epoch.
	moved := core.Resource{ID: "a5ba7870-ef05-4e2b-9901-7751faa29e20", Cloud: communication.CloudGCCH, Epoch: "another"}
	moved.Keys[1] = core.AccessKeyRow{Serial: 7, Secret: []byte("a secret that came with the export")}
	if err := to.(core.Importer).Import(ctx, Reading(append([]core.Record{moved}, records[1:]...))); err != nil {
		t.Fatalf("import after broken ones: %v", err)
	}
	for _, when := range []string{"before", "after"} {
		got, err := to.Resource(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := core.Resource{ID: moved.ID, Cloud: moved.Cloud, Epoch: Initial.Epoch, Keys: [2]core.AccessKeyRow{Initial.Keys[0], moved.Keys[1]}}
		mustEqual(t, "resource "+when+" a restart", got, want)
		deleting, err := to.Deleting(ctx)
		if err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "users in deletion "+when+" a restart", deleting, []core.User{u})
		to = e.Reopen(t, to)
	}
	if err := to.(core.Importer).Import(ctx, Reading(records)); !errors.Is(err, core.ErrNotEmpty) {
		t.Errorf("a second import: %v, want %v", err, core.ErrNotEmpty)
	}
}

// replays repeats every send that had an idempotency token. Each must return the message of the
// first send, and write nothing.
func (m *model) replays(rt *rapid.T, s core.Store, at int64) {
	for _, id := range slices.Sorted(maps.Keys(m.threads)) {
		th := m.threads[id]
		for n := range 4 {
			for _, token := range []string{"t1", "t2"} {
				if !th.sent[user(n)+" "+token] {
					continue
				}
				c := send(id, th.revision, user(n), token, "again")
				if rs := apply(rt, s, at, c); rs[0].Status != core.Replayed || rs[0].MessageID == 0 {
					rt.Fatalf("token %s of %s in %s after the import: %+v", token, user(n), id, rs[0])
				}
			}
		}
	}
}

// Records returns all records that a store exports.
func Records(t rapid.TB, s core.Store) (all []core.Record) {
	t.Helper()
	err := s.(core.Exporter).Export(context.Background(), func(r core.Record) error {
		all = append(all, r)
		return nil
	})
	if err != nil {
		t.Fatalf("export: %v", err)
	}
	return all
}

// Reading returns a function that returns the records one by one, and then io.EOF, as
// core.Importer expects.
func Reading(records []core.Record) func() (core.Record, error) {
	return func() (core.Record, error) {
		if len(records) == 0 {
			return nil, io.EOF
		}
		r := records[0]
		records = records[1:]
		return r, nil
	}
}

// mustEqualRecords fails the test if two exports differ, except for the resource and the days
// of events, which depend on the engine.
func mustEqualRecords(t rapid.TB, got, want []core.Record) {
	t.Helper()
	mustEqual(t, "exported records", comparable(got), comparable(want))
}

func comparable(records []core.Record) []core.Record {
	out := slices.Clone(records)
	for i, r := range out {
		switch r := r.(type) {
		case core.Resource:
			out[i] = core.Resource{}
		case core.Event:
			r.Day = 0
			out[i] = r
		}
	}
	return out
}

// Answers writes the results of all reads of the given threads and users to out, as text. It
// leaves out the positions and days of events, which differ between engines.
func Answers(t rapid.TB, s core.Store, threads, users []string, out io.Writer) {
	t.Helper()
	a := answers{t, s, out}
	for _, id := range threads {
		a.thread(id)
	}
	for _, id := range users {
		a.user(id)
	}
	a.add("superseded messages", superseded(t, s, 97), nil)
	a.add("audit rows", auditRows(t, s, core.AuditQuery{Limit: 97}), nil)
	deleting, err := s.Deleting(context.Background())
	a.add("users in deletion", deleting, err)
	expiring, err := s.Expiring(context.Background(), 1000)
	a.add("threads that expire", expiring, err)
	for _, e := range events(t, s) {
		e.Position, e.Day, e.Check = 0, 0, 0
		a.add("an event", e, nil)
	}
}

// Checksum returns a checksum of the text that Answers writes.
func Checksum(t rapid.TB, s core.Store, threads, users []string) string {
	t.Helper()
	sum := sha256.New()
	Answers(t, s, threads, users, sum)
	return hex.EncodeToString(sum.Sum(nil))
}

// messagesPage is the number of messages that Answers reads at a time.
const messagesPage = 97

type answers struct {
	rapid.TB
	store core.Store
	out   io.Writer
}

func (a answers) add(what string, answer any, err error) {
	a.Helper()
	text, jerr := json.Marshal(answer)
	if err == nil && jerr == nil {
		_, err = fmt.Fprintf(a.out, "%s: %s\n", what, text)
	}
	if err != nil || jerr != nil {
		a.Fatalf("read %s: %v", what, errors.Join(err, jerr))
	}
}

func (a answers) thread(id string) {
	ctx := context.Background()
	th, err := a.store.Thread(ctx, id)
	var rows any
	if th != nil {
		th.Head.LastPosition = 0
		rows = struct {
			core.Head
			Members []*core.Member
		}{th.Head, th.Members()}
	}
	a.add("thread "+id, rows, err)
	a.add("the answer of "+id, answer(a, a.store, id), nil)
	rs, err := a.store.Receipts(ctx, id, "")
	a.add("receipts of "+id, []any{rs.Receipts, rs.Head.Revision}, err)
	for q := (core.MessagesQuery{Thread: id, Limit: messagesPage}); ; {
		page, err := a.store.Messages(ctx, q)
		page.Head.LastPosition = 0
		a.add("messages of "+id, page, err)
		for i, m := range page.Messages {
			if len(page.Messages) == messagesPage && i%8 > 0 {
				continue // read only every eighth message of a full page by its id, because each read is a round trip to the database
			}
			if byID := message(a, a.store, id, m.ID); byID.Sequence != m.Sequence {
				a.Fatalf("message %d of %s by its id: %+v", m.ID, id, byID)
			}
		}
		if q.Before = page.Next; q.Before == 0 {
			return
		}
	}
}

func (a answers) user(id string) {
	ctx := context.Background()
	a.add("user "+id, userRow(a, a.store, id), nil)
	for q := (core.ThreadsQuery{User: id, Limit: 97}); ; {
		page, err := a.store.Threads(ctx, q)
		a.add("threads of "+id, page, err)
		if q.Before = page.Next; q.Before == (core.ThreadsCursor{}) {
			return
		}
	}
}
