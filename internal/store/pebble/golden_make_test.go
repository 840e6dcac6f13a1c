package pebble

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/transfer"
	"github.com/confab-chat/confab/sdk/communication"
)

// This file makes the golden stores: stores of each schema, kept in testdata, that later
// versions must be able to open. It compiles with the code of schema 10 and later ones;
// testdata/store-schema2/README.md says how to run it in an older revision.

var goldenOut = flag.String("golden-out", "", "a folder into which TestMakeGoldenStore also writes store.tar.gz and export.jsonl")

// goldenMidnight is the midnight in the middle of the history of a golden store, which has
// events of the day before and of the day after. Tests of later versions open golden stores.
var goldenMidnight = time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC)

// golden fills a golden store through a core.Service with a fixed clock.
type golden struct {
	*core.Service
	t   *testing.T
	now time.Time
}

// ok ends the test if err is not nil. Otherwise it moves the clock forward by 1.5
// seconds.
func (g *golden) ok(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
	g.now = g.now.Add(1500 * time.Millisecond)
}

func (g *golden) user() string {
	g.t.Helper()
	u, err := g.CreateUser(context.Background())
	g.ok(err)
	return u.ID
}

// named returns a new user with a custom id, to whom a token was issued.
func (g *golden) named(customID string) string {
	g.t.Helper()
	u, err := g.UserByCustomID(context.Background(), customID)
	g.ok(err)
	g.TokenIssued(context.Background(), u.ID)
	return u.ID
}

func (g *golden) thread(caller string, cmd core.CreateThread) string {
	g.t.Helper()
	p, _, err := g.CreateThread(context.Background(), caller, cmd)
	g.ok(err)
	return p.ID
}

func (g *golden) send(caller, thread string, cmd core.SendMessage) int64 {
	g.t.Helper()
	id, err := g.SendMessage(context.Background(), caller, thread, cmd)
	g.ok(err)
	return id
}

func (g *golden) add(caller, thread string, p core.NewParticipant) {
	g.t.Helper()
	_, err := g.AddParticipants(context.Background(), caller, thread, []core.NewParticipant{p})
	g.ok(err)
}

// audit returns an audit row with a fixed key.
func (g *golden) audit(n uint64, operation, target string) core.Audit {
	return core.Audit{
		AuditKey: core.AuditKey{At: g.now.UnixMilli(), Number: n}, Who: "uid 1000", Kind: core.AuditSocket, Role: "operator", From: "socket",
		Operation: operation, Target: target, Outcome: core.AuditDone, Status: 200, RequestID: "GZ3T.0",
	}
}

func (g *golden) text(caller, thread, content string) int64 {
	g.t.Helper()
	return g.send(caller, thread, core.SendMessage{Kind: core.Text, Content: content})
}

// makeGolden creates a golden store, for tests of later versions, in dir. Its older rows are in
// one table of the last level of Pebble's tree, and its latest rows only in the write-ahead
// log. There is no table in the first level: Pebble would soon compact it, and the test could
// not tell that from an upgrade that rewrites rows.
func makeGolden(t *testing.T, dir string) {
	ctx := context.Background()
	s, err := Open(dir, Options{CacheSize: 1 << 20, Initial: core.Resource{
		ID: "a5ba7870-ef05-4e2b-9901-7751faa29e20", Epoch: "golden-epoch",
		Keys: [2]core.AccessKeyRow{
			{Serial: 1, Secret: []byte("the primary key of the golden store")},
			{Serial: 2, Secret: []byte("the secondary key of the golden store")},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	g := &golden{t: t, now: goldenMidnight.Add(-20 * time.Second)}
	g.Service, err = core.New(ctx, s, new(local.Bus), core.Options{
		Now: func() time.Time { return g.now }, Random: rand.NewChaCha8([32]byte{1}),
	})
	g.ok(err)
	id := communication.ParseRawID

	// Write the events of the first day, before goldenMidnight.
	ann, bob, carol, dave, eve := g.user(), g.named("the first"), g.user(), g.named("the fourth"), g.user()
	lunch := g.thread(ann, core.CreateThread{
		Topic: "lunch", Metadata: map[string]string{"b": "2", "a": "1"}, RetentionDays: 60, Token: "create-1",
		Participants: []core.NewParticipant{
			{User: id(bob), DisplayName: "Bob", Metadata: map[string]string{"role": "host"}},
			{User: id(carol), DisplayName: "Carol", ShareHistory: 1},
			{User: id(communication.JoinUserID(g.Resource().ID, "00000000-0000-0000-0000-000000000009"))},
		},
	})
	first := g.send(bob, lunch, core.SendMessage{
		Kind: core.Text, Content: "noodles? 😀\nor <soup>", SenderDisplayName: "Bob",
		Metadata: map[string]string{"tags": "food", "": "empty"}, Token: "send-1",
	})
	page := g.send(ann, lunch, core.SendMessage{Kind: core.HTML, Content: "<b>soup</b>", SenderDisplayName: "Ann", Token: "send-2"})
	g.ok(g.SendReceipt(ctx, carol, lunch, first))
	g.ok(g.RemoveParticipant(ctx, ann, lunch, id(bob)))
	g.ok(g.RemoveParticipant(ctx, carol, lunch, id(carol)))
	plans := g.thread(dave, core.CreateThread{Topic: "plans", Participants: []core.NewParticipant{
		{User: id(ann), DisplayName: "Ann"}, {User: id(dave), DisplayName: "Dave"}, {User: id(eve), DisplayName: "Eve"},
	}})
	typo := g.text(ann, plans, "moday")
	wrong := g.text(dave, plans, "a secret")
	g.text(dave, plans, "a word of Dave")
	g.ok(g.SendReceipt(ctx, dave, plans, typo))

	// Write the events of the second day, after goldenMidnight.
	g.now = goldenMidnight.Add(time.Minute)
	lost := g.thread(carol, core.CreateThread{Topic: "lost", Participants: []core.NewParticipant{{User: id(ann)}}})
	g.send(carol, lost, core.SendMessage{Kind: core.Text, Content: "to be lost", Token: "send-1"})
	monday := "monday"
	g.ok(g.UpdateMessage(ctx, ann, plans, typo, core.UpdateMessage{Content: &monday, Metadata: map[string]*string{"edited": &monday}}))
	g.ok(g.DeleteMessage(ctx, dave, plans, wrong))
	g.add(ann, lunch, core.NewParticipant{User: id(bob), DisplayName: "Bob again", ShareHistory: goldenMidnight.UnixMilli()})
	g.ok(g.SendReceipt(ctx, bob, lunch, g.text(ann, lunch, "you are back")))
	bread := "<b>bread</b>"
	g.ok(g.UpdateMessage(ctx, ann, lunch, page, core.UpdateMessage{Content: &bread})) // carol left before this edit, so she still reads the earlier text about soup
	g.ok(g.RevokeTokens(ctx, ann, g.audit(1, "end tokens", "")))
	g.ok(g.DeleteUser(ctx, dave, g.audit(2, "delete user", "")))
	refused := g.audit(3, "unknown", "GET /admin/v1/secrets")
	refused.Refused, refused.Who, refused.Kind, refused.Role, refused.From = true, "", core.AuditNobody, "", "192.0.2.1"
	refused.Outcome, refused.Status = "bad-secret", 401
	g.ok(g.Audit(ctx, refused))
	g.now = g.now.Add(time.Minute)
	_, err = g.Sweep(ctx)
	g.ok(err)
	g.ok(s.Compact(ctx))

	// Write the latest rows. They stay in the write-ahead log.
	supper, days := "supper", int32(90)
	g.ok(g.UpdateThread(ctx, ann, lunch, core.UpdateThread{Topic: &supper, Metadata: map[string]*string{"a": nil, "c": &supper}}))
	g.ok(g.UpdateThread(ctx, ann, plans, core.UpdateThread{RetentionDays: &days}))
	g.ok(g.DeleteThread(ctx, carol, lost))
	g.send(bob, lunch, core.SendMessage{Kind: core.Text, Content: "and bread", Token: "send-3"})
	g.send(bob, lunch, core.SendMessage{Kind: core.Text, Content: "and water", RequestID: "5d0b4c3e-8f5f-4f0a-9d3a-2f1f5f0c9d11"})
	g.ok(g.SendReceipt(ctx, ann, lunch, page))
	g.ok(g.DeleteUser(ctx, eve, g.audit(4, "delete user", "")))
	g.Close()
	g.ok(s.Close())
}

// exportGolden opens the store in dir, which upgrades an old one, and returns its export with
// the access keys.
func exportGolden(t *testing.T, dir string) []byte {
	t.Helper()
	s, err := Open(dir, Options{CacheSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := transfer.NewWriter(&out, transfer.Options{Made: goldenMidnight.Add(time.Hour).UnixMilli(), Keys: true})
	if err := s.Export(context.Background(), w.Write); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// packGolden returns a tar.gz archive of the files in dir, without modification times.
func packGolden(t *testing.T, dir string) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: f.Name(), Mode: 0o600, Size: int64(len(content)), Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestMakeGoldenStore makes a golden store of the current schema. It runs in every test run, so
// that this file still works when a new schema needs a golden store of the current one.
func TestMakeGoldenStore(t *testing.T) {
	dir := t.TempDir()
	makeGolden(t, dir)
	archive := packGolden(t, dir)
	lines := exportGolden(t, dir)
	if *goldenOut == "" {
		return
	}
	for name, content := range map[string][]byte{"store.tar.gz": archive, "export.jsonl": lines} {
		if err := os.WriteFile(filepath.Join(*goldenOut, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
