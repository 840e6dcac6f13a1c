package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
	"github.com/confab-chat/confab/internal/store/storetest"
)

func threadID(n int) string { return fmt.Sprintf("19:%032x@thread.v2", n) }

// fillThreads creates threads, each with this number of messages, and with idempotency tokens,
// receipts and events. Every third thread expires after 30 days.
func fillThreads(t *testing.T, s *Store, threads, messages int) {
	t.Helper()
	for n := range threads {
		id, who := threadID(n), fmt.Sprintf("8:acs:user-%d", n%3)
		c := &core.Change{
			Key: id, Thread: id, Properties: &core.Properties{Topic: "topic", CreatedBy: who}, Answer: &core.CreateAnswer{Topic: "topic"},
			Members: []core.Member{{User: who, Order: 1, Intervals: []core.Interval{{}}}},
			Events:  []core.Event{{Kind: core.ThreadCreated, Actor: who}},
		}
		if n%3 == 2 {
			c.Properties.RetentionDays = 30
		}
		mustApply(t, s, c)
		for i := range messages {
			c := sendTo(id, who, fmt.Sprint(i))
			c.Roster = []*core.Member{{User: who}}
			mustApply(t, s, c)
		}
		if messages > 0 {
			// A thread that gets its first message after its creation has an extra list entry
			// with minute 0, because Assign takes that minute for new entries. Delete it:
			// outside of this test, a thread gets its first message when it is created.
			b := s.db.NewBatch()
			b.Delete(lists.key(nil, &core.ListMove{User: who, Thread: id}), nil)
			if err := s.commit(b); err != nil {
				t.Fatal(err)
			}
		}
		mustApply(t, s, &core.Change{Key: id, Thread: id, Revision: 1, Receipt: &core.Receipt{User: who, MessageID: 1}})
		mustApply(t, s, &core.Change{Key: who + "/" + id, PutUsers: []core.User{{ID: who + id, State: core.UserLive, Generation: 1}}})
	}
}

func sendTo(id, who, token string) *core.Change {
	return &core.Change{
		Key: id, Thread: id, Revision: 1, SendToken: token, Caller: who,
		Messages: []core.Message{{Kind: core.Text, Sender: who, Content: "message " + token}},
		Events:   []core.Event{{Kind: core.MessageReceived, Actor: who}},
	}
}

func mustApply(t *testing.T, s *Store, c *core.Change) {
	t.Helper()
	rs, err := s.Apply(context.Background(), core.Batch{At: 1_700_000_000_000, Changes: []*core.Change{c}})
	if err != nil || rs[0].Status != core.Applied {
		t.Errorf("apply: %+v, %v", rs, err)
		return
	}
	*c = *rs[0].Change // the applied change, with its ids and sequences
}

func mustOpen(t *testing.T, dir string, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(dir, Options{FS: fs, Initial: storetest.Initial, CacheSize: 1 << 20})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func mustClose(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestExportIsOneDurableMoment exports a store while other goroutines write to it. All exported
// records must be durable before the first one is returned. The heads, which count a thread's
// messages, must agree with the exported messages.
func TestExportIsOneDurableMoment(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "store", mem)
	fillThreads(t, s, 4, 3)
	for round := range 3 {
		var wg sync.WaitGroup
		for writer := range 2 {
			wg.Go(func() {
				for i := range 60 {
					for n := range 4 {
						if n%2 == writer {
							mustApply(t, s, sendTo(threadID(n), "8:acs:user", fmt.Sprint(round, "/", i)))
						}
					}
				}
			})
		}
		var disk vfs.FS
		var records []core.Record
		err := s.Export(context.Background(), func(r core.Record) error {
			if disk == nil {
				disk = mem.CrashClone(vfs.CrashCloneCfg{})
			}
			records = append(records, r)
			return nil
		})
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		copied := mustOpen(t, "store", vfs.NewMem())
		if err := copied.Import(context.Background(), storetest.Reading(records)); err != nil {
			t.Fatal(err)
		}
		if _, err := copied.Check(context.Background()); err != nil {
			t.Errorf("the export is not of one moment: %v", err)
		}
		left := mustOpen(t, "store", disk)
		for _, r := range records {
			if m, ok := r.(core.ThreadMessage); ok {
				if messageByID(t, left, m.Thread, m.ID).ID != m.ID {
					t.Errorf("message %d was exported before it was durable", m.ID)
				}
			}
		}
		mustClose(t, copied)
		mustClose(t, left)
	}
	mustClose(t, s)
}

// TestBrokenOffImportIsRefused cuts the power before each record of an import. After each cut,
// Open must return core.ErrUnfinished.
func TestBrokenOffImportIsRefused(t *testing.T) {
	from := mustOpen(t, "store", vfs.NewMem())
	fillThreads(t, from, 3, 4)
	records := storetest.Records(t, from)
	mustClose(t, from)

	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "store", mem)
	next := storetest.Reading(records)
	random := rand.New(rand.NewPCG(1, 2))
	var disks []vfs.FS
	err := s.Import(context.Background(), func() (core.Record, error) {
		disks = append(disks, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random}))
		return next()
	})
	if err != nil {
		t.Fatal(err)
	}
	whole := mem.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)
	for i, disk := range disks {
		if s, err := Open("store", Options{FS: disk}); !errors.Is(err, core.ErrUnfinished) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("open after a power cut before record %d: %v, want %v with what to do", i, err, core.ErrUnfinished)
			if err == nil {
				mustClose(t, s)
			}
		}
	}
	s = mustOpen(t, "store", whole)
	defer mustClose(t, s)
	counts, err := s.Check(context.Background())
	if got, want := counts.Rows(), uint64(len(records)-1); err != nil || got != want {
		t.Errorf("%d rows after a power cut behind the import, want %d (%v)", got, want, err)
	}
}

func TestImportRefusesRowsWithoutThread(t *testing.T) {
	for _, r := range []core.Record{
		core.ThreadMember{Thread: "19:a", Member: core.Member{User: "8:a"}}, core.ThreadMessage{Thread: "19:a"}, core.ThreadAnswer{Thread: "19:a"},
		core.SentToken{SendKey: core.SendKey{Thread: "19:a"}}, core.ThreadReceipt{Thread: "19:a"}, core.Event{Thread: "19:a", Position: 2},
	} {
		s := mustOpen(t, "store", vfs.NewMem())
		if err := s.Import(context.Background(), storetest.Reading([]core.Record{storetest.Initial, r})); err == nil {
			t.Errorf("%T was imported", r)
		}
		mustClose(t, s)
	}
}

// putSuperseded adds to b the row of a superseded message, or its entry in the index, or both,
// as message and index say.
func putSuperseded(b *pebble.Batch, thread string, id int64, sequence, until uint64, message, index bool) {
	r := core.ThreadSuperseded{Thread: thread, Superseded: core.Superseded{Message: core.Message{ID: id, Sequence: sequence}, Until: until}}
	if message {
		b.Set(superseded.key(nil, &r), superseded.schema.Encode(nil, &r), nil)
	}
	if index {
		b.Set(supersededAt.key(nil, &r), supersededAt.schema.Encode(nil, &r), nil)
	}
}

// TestCheckFindsDamage deletes and adds rows so that they contradict each other. Check must
// report each contradiction.
func TestCheckFindsDamage(t *testing.T) {
	a, expires, ghost := threadID(1), threadID(2), threadID(99)
	for _, tc := range []struct {
		name   string
		damage func(b *pebble.Batch)
		says   string
	}{
		{"nothing", func(b *pebble.Batch) {}, ""},
		{"a missing message", func(b *pebble.Batch) { b.Delete(messageKey(nil, a, 2), nil) }, "no message 1700000000002 with sequence 2"},
		{"a missing last message", func(b *pebble.Batch) {
			b.DeleteRange(messageKey(nil, a, 3), messageKey(nil, a, 4), nil)
			b.DeleteRange(idKey(nil, a, 1_700_000_000_003), idKey(nil, a, 1_700_000_000_004), nil)
		}, "message 1700000000003 does not exist"},
		{"a missing id", func(b *pebble.Batch) { b.Delete(idKey(nil, a, 1_700_000_000_002), nil) }, "message 1700000000002 does not exist"},
		{"an id with another sequence", func(b *pebble.Batch) {
			b.Set(idKey(nil, a, 1_700_000_000_002), encodeNumber(nil, 1), nil)
		}, "message 1700000000002 with sequence 2, which the index of ids does not have"},
		{"a message without a thread", func(b *pebble.Batch) {
			b.Set(messageKey(nil, ghost, 1), encodeMessage(nil, &core.Message{ID: 1}), nil)
		}, "its thread has no head"},
		{"a missing head", func(b *pebble.Batch) { b.Delete(headKey(nil, a), nil) }, "its thread has no head"},
		{"a member that cannot be read", func(b *pebble.Batch) { b.Set(memberKey(nil, a, "8:x"), []byte{9}, nil) }, "format"},
		{"a missing event", func(b *pebble.Batch) {
			b.DeleteRange([]byte{kindEvent}, eventKey(nil, core.DayOf(1_700_000_000_000), threadID(0), 2), nil)
		}, "position 1 has no event"},
		{"a missing position", func(b *pebble.Batch) {
			b.Delete(positionKey(nil, core.DayOf(1_700_000_000_000), 3), nil)
		}, "position 3 is missing"},
		{"a missing expiry entry", func(b *pebble.Batch) {
			b.Delete(expiryKey(1_700_000_000_000+30*86_400_000, expires), nil)
		}, expires + " expires, and is not in the index of such threads"},
		{"an expiry entry with another time", func(b *pebble.Batch) {
			b.Delete(expiryKey(1_700_000_000_000+30*86_400_000, expires), nil)
			b.Set(expiryKey(1_700_000_000_000+90*86_400_000, expires), encodeEntry(nil), nil)
		}, expires + " expires, and is not in the index of such threads"},
		{"an expiry entry that cannot be read", func(b *pebble.Batch) {
			b.Set(expiryKey(1_700_000_000_000+30*86_400_000, expires), []byte{9}, nil)
		}, "format"},
		{"an expiry entry of a thread that does not expire", func(b *pebble.Batch) {
			b.Set(expiryKey(1_700_000_000_000+30*86_400_000, a), encodeEntry(nil), nil)
		}, a + " is in the index of threads that expire, and does not expire at 1702592000000"},
		{"an expiry entry without a thread", func(b *pebble.Batch) { b.Set(expiryKey(5, ghost), encodeEntry(nil), nil) }, ghost + " is in the index of threads that expire, and does not expire at 5"},
		{"a missing last message without a token", func(b *pebble.Batch) {
			b.Delete(messageKey(nil, a, 3), nil)
			b.Delete(idKey(nil, a, 1_700_000_000_003), nil)
			b.DeleteRange([]byte{kindSent}, []byte{kindSent + 1}, nil)
		}, a + " has no message with sequence 3: its last one has 2"},
		{"a message newer than its head", func(b *pebble.Batch) {
			b.Set(messageKey(nil, a, 4), encodeMessage(nil, &core.Message{ID: 1}), nil)
		}, "message 1 is newer than its thread's head"},
		{"a superseded message without its index", func(b *pebble.Batch) { putSuperseded(b, a, 1_700_000_000_002, 1, 2, true, false) },
			a + " has superseded message 1700000000002 with sequence 1, which the index of sequences does not have"},
		{"an index of superseded messages without one", func(b *pebble.Batch) { putSuperseded(b, a, 1_700_000_000_002, 1, 2, false, true) },
			a + " has no superseded message 1700000000002 with sequence 1, which the index of sequences has"},
		{"a superseded message without its message", func(b *pebble.Batch) { putSuperseded(b, a, 5, 1, 2, true, true) }, "message 5 does not exist"},
		{"a superseded message newer than its message", func(b *pebble.Batch) { putSuperseded(b, a, 1_700_000_000_002, 1, 3, true, true) },
			"message 1700000000002 was replaced at sequence 3, and is at 2 of 3"},
		{"a superseded message without a thread", func(b *pebble.Batch) { putSuperseded(b, ghost, 5, 1, 2, true, true) }, "its thread has no head"},
		{"a member that joined with an event that is not there", func(b *pebble.Batch) {
			b.Set(memberKey(nil, a, "8:x"), row.Member.Encode(nil, &core.Member{Intervals: []core.Interval{{From: 9}}}), nil)
		}, "the member was in the thread from event 9 to 0, of 4"},
		{"a member that left and is in the thread", func(b *pebble.Batch) {
			b.Set(memberKey(nil, a, "8:x"), row.Member.Encode(nil, &core.Member{Intervals: []core.Interval{{From: 1}}, Left: &core.Left{}}), nil)
		}, "the member was in the thread from event 1 to 0, of 4"},
		{"a member that left after a message that is not there", func(b *pebble.Batch) {
			b.Set(memberKey(nil, a, "8:x"), row.Member.Encode(nil, &core.Member{Left: &core.Left{Sequence: 4}}), nil)
		}, "the member left after message 4, of 3"},
		{"a missing entry of a list", func(b *pebble.Batch) {
			b.Delete(lists.key(nil, &core.ListMove{User: "8:acs:user-1", Thread: a, To: 1_700_000_000_000 / 60_000}), nil)
		}, "member 8:acs:user-1 of thread " + a + " does not have it in its list at minute 28333333"},
		{"an entry of a list at another minute", func(b *pebble.Batch) {
			b.Set(lists.key(nil, &core.ListMove{User: "8:acs:user-1", Thread: a, To: 5}), encodeEntry(nil), nil)
		}, "the list of user 8:acs:user-1 has thread " + a + " at minute 5"},
		{"an entry of a list without a thread", func(b *pebble.Batch) {
			b.Set(lists.key(nil, &core.ListMove{User: "8:acs:user-1", Thread: ghost, To: 5}), encodeEntry(nil), nil)
		}, "the list of user 8:acs:user-1 has thread " + ghost},
		{"an entry of a list that cannot be read", func(b *pebble.Batch) {
			b.Set(lists.key(nil, &core.ListMove{User: "8:acs:user-1", Thread: a, To: 1_700_000_000_000 / 60_000}), []byte{9}, nil)
		}, "format"},
		{"a user in deletion without an entry", func(b *pebble.Batch) {
			b.Set(users.key(nil, &core.User{ID: "8:x"}), row.User.Encode(nil, &core.User{State: core.UserDeleting}), nil)
		}, "user 8:x is in deletion, and not in the index"},
		{"an entry of a user that is not in deletion", func(b *pebble.Batch) {
			b.Set(deleting.key(nil, &core.User{ID: "8:x"}), encodeEntry(nil), nil)
		}, "user 8:x is in the index of users in deletion, and not in deletion"},
		{"an entry of a user in deletion that cannot be read", func(b *pebble.Batch) {
			b.Set(deleting.key(nil, &core.User{ID: "8:x"}), []byte{9}, nil)
		}, "format"},
		{"an event without a thread", func(b *pebble.Batch) {
			b.Set(events.key(nil, &core.Event{Day: 1, Thread: ghost, Number: 1}), row.Event.Encode(nil, &core.Event{}), nil)
		}, "its thread has no head"},
		{"an event that its head does not count", func(b *pebble.Batch) {
			b.Set(events.key(nil, &core.Event{Day: 1, Thread: a, Number: 5}), row.Event.Encode(nil, &core.Event{}), nil)
		}, "its thread's head says that there are 4 events"},
		{"a gap between events", func(b *pebble.Batch) {
			b.Delete(events.key(nil, &core.Event{Day: core.DayOf(1_700_000_000_000), Thread: a, Number: 3}), nil)
		}, "the event before it has number 2"},
		{"a missing last event", func(b *pebble.Batch) {
			b.Delete(events.key(nil, &core.Event{Day: core.DayOf(1_700_000_000_000), Thread: a, Number: 4}), nil)
		}, a + " has no event 4, at position 8: its last one is 3"},
		{"a missing event of a user", func(b *pebble.Batch) {
			b.Set(positions.key(nil, &core.Event{Day: 1 << 20, Position: 13}), row.Position.Encode(nil, &core.Event{Number: 13}), nil)
		}, "position 13 has no event"},
		{"an event of a user without a position", func(b *pebble.Batch) {
			b.Set(events.key(nil, &core.Event{Day: 1, Number: 13}), row.Event.Encode(nil, &core.Event{Position: 13}), nil)
		}, "event 13 of thread \"\" on day 1 is not at its position 13"},
		{"a last event at another position", func(b *pebble.Batch) {
			b.Set(events.key(nil, &core.Event{Day: core.DayOf(1_700_000_000_000), Thread: a, Number: 4}), row.Event.Encode(nil, &core.Event{Position: 7}), nil)
		}, "it has position 7, and its thread's head says 8"},
		{"an event whose message does not exist", func(b *pebble.Batch) {
			b.Set(events.key(nil, &core.Event{Day: core.DayOf(1_700_000_000_000), Thread: a, Number: 4}), row.Event.Encode(nil, &core.Event{Position: 8, MessageID: 5}), nil)
		}, "message 5 does not exist"},
		{"a receipt for a message that does not exist yet", func(b *pebble.Batch) {
			b.Set(receipts.key(nil, &core.ThreadReceipt{Thread: a, Receipt: core.Receipt{User: "8:x"}}), row.Receipt.Encode(nil, &core.Receipt{MessageID: 1 << 50}), nil)
		}, "is newer than its thread's head"},
		{"an endpoint that is ahead of the log", func(b *pebble.Batch) {
			b.Set(endpoints.key(nil, &core.Endpoint{User: "8:x", ID: "e"}), row.Endpoint.Encode(nil, &core.Endpoint{At: core.Cursor{Epoch: storetest.Initial.Epoch, Position: 13}}), nil)
		}, "the client has answered the event at position 13, and the last one is at 12"},
		{"an endpoint that cannot be read", func(b *pebble.Batch) {
			b.Set(endpoints.key(nil, &core.Endpoint{User: "8:x", ID: "e"}), []byte{9}, nil)
		}, "format"},
		{"a key without the fields of its kind", func(b *pebble.Batch) { b.Set([]byte("m"+a+"\x00\x01"), encodeMessage(nil, &core.Message{ID: 1}), nil) }, "form of its kind"},
		{"a key of no kind", func(b *pebble.Batch) { b.Set([]byte("q"), nil, nil) }, "no kind of row has this letter"},
		{"no resource", func(b *pebble.Batch) { b.Delete(metaKey(metaResource), nil) }, "the row of the resource's id is missing"},
		{"no epoch", func(b *pebble.Batch) { b.Delete(metaKey(metaEpoch), nil) }, "the row of the epoch is missing"},
		{"no access key", func(b *pebble.Batch) { b.Delete(keyKey(1), nil) }, "the row of access key 2 is missing"},
		{"no schema", func(b *pebble.Batch) { b.Delete(metaKey(metaSchema), nil) }, "the row of the schema is missing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := mustOpen(t, "store", vfs.NewMem())
			defer mustClose(t, s)
			fillThreads(t, s, 3, 3)
			b := s.db.NewBatch()
			tc.damage(b)
			if err := s.commit(b); err != nil {
				t.Fatal(err)
			}
			counts, err := s.Check(context.Background())
			switch {
			case tc.says == "" && (err != nil || counts != core.Counts{Users: 3, Threads: 3, Members: 3, Messages: 9, Answers: 3, Tokens: 9, Receipts: 3, Events: 12}):
				t.Errorf("counts %+v, %v", counts, err)
			case tc.says != "" && (!errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tc.says)):
				t.Errorf("error %v, want one that says %q", err, tc.says)
			}
		})
	}
}

// TestExportNumbersPositionsAnew exports an event log whose first days were trimmed. The
// exported events must have positions from 1 on.
func TestExportNumbersPositionsAnew(t *testing.T) {
	s := mustOpen(t, "store", vfs.NewMem())
	fillThreads(t, s, 2, 2) // the events of the two threads have the positions 1 to 3 and 4 to 6
	day := core.DayOf(1_700_000_000_000)
	b := s.db.NewBatch()
	b.DeleteRange(positionKey(nil, day, 0), positionKey(nil, day, 5), nil)
	b.Set(metaKey(metaFloor), row.Floor.Encode(nil, &core.Cursor{Position: 4}), nil)
	if err := s.commit(b); err != nil {
		t.Fatal(err)
	}
	heads, events := map[string]uint64{}, []uint64(nil)
	for _, r := range storetest.Records(t, s) {
		switch r := r.(type) {
		case core.Head:
			heads[r.ID] = r.LastPosition
		case core.Event:
			events = append(events, r.Position)
		}
	}
	if heads[threadID(0)] != 0 || heads[threadID(1)] != 2 || fmt.Sprint(events) != "[1 2]" {
		t.Errorf("heads have positions %v, events %v; want 0 for the thread without events, 2 for the other, and 1 2", heads, events)
	}
	mustClose(t, s)
}

// TestCheckpoint copies a store and then writes to it. The copy must have exactly the rows from
// before, and reading the copy must change none of its files.
func TestCheckpoint(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, filepath.Join(dir, "store"), nil)
	fillThreads(t, s, 3, 3)
	backup := filepath.Join(dir, "backup")
	want := storetest.Records(t, s)
	if err := s.Checkpoint(backup); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(backup); !errors.Is(err, os.ErrExist) {
		t.Errorf("a checkpoint over another: %v", err)
	}
	mustApply(t, s, sendTo(threadID(0), "8:acs:user", "later"))
	mustClose(t, s)

	files := filesOf(t, backup)
	s, err := Open(backup, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := storetest.Records(t, s); !reflect.DeepEqual(got, want) {
		t.Errorf("the copy has %d records, want %d, or they differ", len(got), len(want))
	}
	if _, err := s.Check(t.Context()); err != nil {
		t.Errorf("check the copy: %v", err)
	}
	mustClose(t, s)
	if diff := cmp.Diff(files, filesOf(t, backup)); diff != "" {
		t.Errorf("reading changed the files (-was +is):\n%s", diff)
	}
	missing := filepath.Join(dir, "missing")
	if _, err := Open(missing, Options{ReadOnly: true}); err == nil {
		t.Error("a store that does not exist was opened")
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reading made a folder: %v", err)
	}

	s = mustOpen(t, backup, nil)
	if err := s.SetEpoch("later"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = mustOpen(t, backup, nil)
	if r, err := s.Resource(t.Context()); err != nil || r.Epoch != "later" {
		t.Errorf("resource %+v, %v; want epoch later", r, err)
	}
	mustClose(t, s)
}

// filesOf returns the names and contents of the files in a folder.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return files
}

// TestTransferStops cancels the context of an export and of an import. Both must end
// soon.
func TestTransferStops(t *testing.T) {
	s := mustOpen(t, "store", vfs.NewMem())
	defer mustClose(t, s)
	ctx, stop := context.WithCancel(context.Background())
	n := 0
	err := s.Import(ctx, func() (core.Record, error) {
		if n++; n == 1 {
			return storetest.Initial, nil
		}
		stop()
		return core.User{ID: fmt.Sprintf("8:%09d", n), State: core.UserLive}, nil
	})
	if !errors.Is(err, context.Canceled) || n > 2*checkEvery {
		t.Errorf("a canceled import: %v after %d records", err, n)
	}
	n = 0
	err = s.Import(context.Background(), func() (core.Record, error) {
		switch n++; {
		case n == 1:
			return storetest.Initial, nil
		case n > 3*checkEvery:
			return nil, io.EOF
		}
		return core.User{ID: fmt.Sprintf("8:%09d", n), State: core.UserLive}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n = 0
	err = s.Export(ctx, func(core.Record) error { n++; return nil })
	if !errors.Is(err, context.Canceled) || n > checkEvery {
		t.Errorf("a canceled export: %v after %d records", err, n)
	}
}
