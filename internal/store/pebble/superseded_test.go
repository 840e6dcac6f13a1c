package pebble

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestADamagedVersionStopsNoOtherThread damages a superseded version of one thread. The users of
// other threads must still be erased, and the walk of Sweep over all threads must delete the
// versions of other threads that nobody may read.
func TestADamagedVersionStopsNoOtherThread(t *testing.T) {
	ctx := t.Context()
	s := mustOpen(t, "store", vfs.NewMem())
	defer mustClose(t, s)
	var now atomic.Int64
	now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
	open := func() *core.Service {
		svc, err := core.New(ctx, s, new(local.Bus), core.Options{Now: func() time.Time { return time.UnixMilli(now.Add(20)) }})
		if err != nil {
			t.Fatal(err)
		}
		return svc
	}
	svc := open()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// Make a superseded version in each thread. Bob may read it after he has left, but nobody may
	// after Bob is added again.
	var threads, owners []string
	for range 5 {
		ann, err := svc.CreateUser(ctx)
		must(err)
		bob, err := svc.CreateUser(ctx)
		must(err)
		asBob := []core.NewParticipant{{User: communication.ParseRawID(bob.ID)}}
		p, _, err := svc.CreateThread(ctx, ann.ID, core.CreateThread{Topic: "topic", Participants: asBob})
		must(err)
		id, err := svc.SendMessage(ctx, ann.ID, p.ID, core.SendMessage{Kind: core.Text, Content: "one"})
		must(err)
		must(svc.RemoveParticipant(ctx, ann.ID, p.ID, communication.ParseRawID(bob.ID)))
		edited := "edited"
		must(svc.UpdateMessage(ctx, ann.ID, p.ID, id, core.UpdateMessage{Content: &edited}))
		_, err = svc.AddParticipants(ctx, ann.ID, p.ID, asBob)
		must(err)
		threads, owners = append(threads, p.ID), append(owners, ann.ID)
	}
	svc.Close() // the closed service loses its list of versions that nobody may read any more, so only the walk over all threads can find them
	listed, err := s.SupersededThreads(ctx, "", 10)
	if err != nil || len(listed) != 5 {
		t.Fatalf("threads with superseded versions: %v, %v", listed, err)
	}
	bad := listed[2]
	page, err := s.Superseded(ctx, core.SupersededKey{Thread: bad}, 10)
	if err != nil || len(page) != 1 {
		t.Fatalf("superseded versions: %+v, %v", page, err)
	}
	b := s.db.NewBatch()
	must(b.Set(superseded.key(nil, &page[0]), []byte{1, 0xff}, nil))
	must(s.commit(b))

	svc = open()
	defer svc.Close()
	var gone []string
	for i, thread := range threads {
		if thread != bad && thread != listed[4] { // keep the owner of listed[4], so that only the walk over all threads can delete the version of that thread
			must(svc.DeleteUser(ctx, owners[i]))
			gone = append(gone, owners[i])
		}
	}
	now.Add(core.DefaultGrace.Milliseconds())
	var errs []string
	for range 20 {
		if _, err := svc.Sweep(ctx); err != nil {
			errs = append(errs, err.Error())
		}
	}
	users, err := s.Users(ctx, gone)
	must(err)
	for _, u := range users {
		if u.State != core.UserDeleted {
			t.Errorf("user %s is not erased: %+v", u.ID, u)
		}
	}
	left, err := s.SupersededThreads(context.Background(), "", 10)
	if err != nil || fmt.Sprint(left) != fmt.Sprint([]string{bad}) {
		t.Errorf("threads with superseded versions: %v, %v; want %s alone", left, err, bad)
	}
	if len(errs) != 1 || !strings.Contains(errs[0], bad) {
		t.Errorf("errors of the sweeps: %q; want one, about thread %s", errs, bad)
	}
}

// TestSpansReadNoTexts cuts the text off the row of a superseded version. The function spans reads
// no text, so it must return the same as before. If the row lacks a number that spans needs, spans
// must fail.
func TestSpansReadNoTexts(t *testing.T) {
	s := mustOpen(t, "store", vfs.NewMem())
	defer mustClose(t, s)
	const a, id = "19:a@thread.v2", 1_700_000_000_000
	b := s.db.NewBatch()
	for at := range uint64(3) {
		r := core.ThreadSuperseded{Thread: a, Superseded: core.Superseded{Until: 300 + at, Message: core.Message{ID: id, Sequence: 1 + at, Content: strings.Repeat("text ", 100)}}}
		value := superseded.schema.Encode(nil, &r)
		b.Set(superseded.key(nil, &r), value[:len(value)-100], nil)
	}
	if err := s.commit(b); err != nil {
		t.Fatal(err)
	}
	got, found, err := spans(s.db, a, id)
	if want := []core.Span{{Sequence: 1, Until: 300}, {Sequence: 2, Until: 301}, {Sequence: 3, Until: 302}}; err != nil || !found || !slices.Equal(got, want) {
		t.Errorf("spans %v, %t, %v; want %v", got, found, err, want)
	}
	b = s.db.NewBatch()
	b.Set(superseded.key(nil, &core.ThreadSuperseded{Thread: a, Superseded: core.Superseded{Message: core.Message{ID: id, Sequence: 2}}}), []byte{1, 0x80}, nil)
	if err := s.commit(b); err != nil {
		t.Fatal(err)
	}
	if got, _, err := spans(s.db, a, id); !errors.Is(err, row.ErrDamaged) {
		t.Errorf("spans of a damaged version: %v, %v; want ErrDamaged", got, err)
	}
}

// TestVersionsForOthersCostAPageNothing reads the newest messages of a thread for a member who left
// after them. Much older messages have versions that only other members may read; the page must not
// read these versions.
func TestVersionsForOthersCostAPageNothing(t *testing.T) {
	s := mustOpen(t, "store", vfs.NewMem())
	defer mustClose(t, s)
	const reader = "8:left"
	fillThreads(t, s, 1, 100)
	b := s.db.NewBatch()
	members.put(&writer{batch: b}, &core.ThreadMember{Thread: threadID(0), Member: core.Member{
		User: reader, Intervals: []core.Interval{{From: 1, To: 100}}, Left: &core.Left{On: math.MaxInt64, Sequence: 100},
	}})
	for i := range uint64(40) {
		putSuperseded(b, threadID(0), 1_700_000_000_000+int64(i), 1+i, 90, false, true)
	}
	if err := s.commit(b); err != nil {
		t.Fatal(err)
	}
	snap := s.durable.acquire()
	defer snap.release()
	m, _, err := members.get(snap, core.ThreadMember{Thread: threadID(0), Member: core.Member{User: reader}})
	if err != nil {
		t.Fatal(err)
	}
	v := versions{r: snap, member: &m.Member, thread: threadID(0)}
	defer func() {
		if err := v.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := v.open(101); err != nil {
		t.Fatal(err)
	}
	for floor := uint64(100); floor > 50; floor-- {
		if err := v.find(floor); err != nil || v.at != 0 {
			t.Fatalf("a version above sequence %d: %d, %v", floor, v.at, err)
		}
	}
	if at := number(v.it.Key()); !v.ok || at != 40 {
		t.Errorf("the index is read down to sequence %d, want 40", at)
	}
	if err := v.find(0); err != nil || v.ok || v.at != 0 {
		t.Errorf("the versions of others are at %d, %t, %v", v.at, v.ok, err)
	}
}
