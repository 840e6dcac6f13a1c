package pebble

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
	"github.com/confab-chat/confab/sdk/communication"
)

// counter counts the rows that are read: each Get, whether it finds a row or not, and each key at
// which an iterator stops.
type counter struct {
	pebble.Reader
	rows *int
}

func (c counter) Get(key []byte) ([]byte, io.Closer, error) {
	*c.rows++
	return c.Reader.Get(key)
}

func (c counter) NewIter(o *pebble.IterOptions) (*pebble.Iterator, error) {
	counted := *o
	counted.SkipPoint = func([]byte) bool { *c.rows++; return false }
	return c.Reader.NewIter(&counted)
}

// history is the size of a store: one user is in this number of threads, and one of these threads
// has this number of members and of messages.
type history struct{ messages, members, threads int }

// grown is a store with a history, and a Service on it.
type grown struct {
	*core.Service
	store    *Store
	rows     int // that were read
	at       int64
	messages int
	guests   []string
	ids      []int64 // of the messages
}

const (
	grownUser = "8:acs:me"
	pageOf    = 50 // messages
	listOf    = 20 // threads
)

var grownThread = threadID(0)

func newGrown(t *testing.T, h history) *grown {
	t.Helper()
	g := &grown{at: 1_700_000_000_000, messages: h.messages}
	s, err := Open("store", Options{FS: vfs.NewMem(), Initial: storetest.Initial, count: func(r pebble.Reader) pebble.Reader { return counter{r, &g.rows} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustClose(t, s) })
	g.store = s
	apply := func(changes ...*core.Change) []core.Outcome {
		t.Helper()
		outcomes, err := s.Apply(t.Context(), core.Batch{At: g.at, Changes: changes})
		if err != nil {
			t.Fatal(err)
		}
		return outcomes
	}
	member := func(n int) core.Member {
		user := grownUser
		if n > 0 {
			user = fmt.Sprint("8:acs:member-", n)
		}
		return core.Member{User: user, Order: uint32(n + 1), Intervals: []core.Interval{{}}}
	}
	// All threads of the user but one have their last message in one minute.
	var threads []*core.Change
	for n := 1; n < h.threads; n++ {
		threads = append(threads, &core.Change{
			Key: threadID(n), Thread: threadID(n), Properties: &core.Properties{Topic: "topic", CreatedBy: grownUser}, Members: []core.Member{member(0)},
			Messages: []core.Message{{Kind: core.TopicUpdated, Initiator: grownUser}}, Events: []core.Event{{Kind: core.ThreadCreated, Actor: grownUser}},
		})
	}
	for some := range slices.Chunk(threads, 500) {
		apply(some...)
	}
	g.at += core.MillisPerMinute
	create := &core.Change{
		Key: grownThread, Thread: grownThread, Properties: &core.Properties{Topic: "topic", CreatedBy: grownUser},
		Messages: []core.Message{{Kind: core.TopicUpdated, Initiator: grownUser}}, Events: []core.Event{{Kind: core.ThreadCreated, Actor: grownUser}},
	}
	for n := range h.members {
		create.Members = append(create.Members, member(n))
	}
	apply(create)
	var sends []*core.Change
	for n := range h.messages {
		sends = append(sends, sendTo(grownThread, grownUser, fmt.Sprint(n)))
	}
	for some := range slices.Chunk(sends, 500) {
		for _, o := range apply(some...) {
			g.ids = append(g.ids, o.Change.Messages[0].ID)
		}
	}
	for n := range 3 {
		id := core.Resource{ID: storetest.Initial.ID}.UserID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n))
		g.guests = append(g.guests, id)
		apply(&core.Change{Key: id, PutUsers: []core.User{{ID: id, State: core.UserLive}}})
	}
	service, err := core.New(t.Context(), s, new(local.Bus), core.Options{Now: func() time.Time { return time.UnixMilli(g.at) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	g.Service = service
	return g
}

// guest returns the identifier of the nth guest, for use in a request.
func (g *grown) guest(n int) communication.Identifier { return communication.ParseRawID(g.guests[n]) }

// TestRowsReadDoNotGrow counts the rows that each operation reads, in stores with 100 and with
// 10,000 messages, members and threads. The first call of an operation may read the roster of the
// thread into the Service's cache; the second call is counted. Counts are exact: a change that
// raises a count needs a reason, and a change that lowers one must lower it in the table too. Each
// page also reads the thread's head and the caller's member row. Each message also needs the row of
// its id. Each entry of the list of threads needs three rows: the entry, the head and the caller's
// member row.
func TestRowsReadDoNotGrow(t *testing.T) {
	const few, many = 100, 10_000
	histories := []history{{few, few, few}, {many, few, few}, {few, many - 3, few}, {few, few, many}} // a thread has at most 10,000 members
	stores := make([]*grown, len(histories))
	for i, h := range histories {
		stores[i] = newGrown(t, h)
	}
	for _, op := range []struct {
		name string
		want int
		run  func(ctx context.Context, g *grown, n int) error // for the nth time
	}{
		{"send", 0, func(ctx context.Context, g *grown, n int) error {
			_, err := g.Send(ctx, grownUser, grownThread, core.SendMessage{Kind: core.Text, Content: fmt.Sprint("sent ", n), RequestID: fmt.Sprint(n)})
			return err
		}},
		{"first send of a minute", 0, func(ctx context.Context, g *grown, n int) error {
			g.at += core.MillisPerMinute
			_, err := g.Send(ctx, grownUser, grownThread, core.SendMessage{Kind: core.Text, Content: fmt.Sprint("later ", n), RequestID: fmt.Sprint("later ", n)})
			return err
		}},
		{"first page", 2 + pageOf, func(ctx context.Context, g *grown, _ int) error {
			page, err := g.ListMessages(ctx, grownUser, grownThread, core.ListMessages{Limit: pageOf})
			return complete(len(page.Messages), pageOf, err)
		}},
		{"deep page", 2 + pageOf, func(ctx context.Context, g *grown, _ int) error {
			page, err := g.ListMessages(ctx, grownUser, grownThread, core.ListMessages{Limit: pageOf, Before: uint64(g.messages/2 + 10)})
			return complete(len(page.Messages), pageOf, err)
		}},
		{"get", 4, func(ctx context.Context, g *grown, _ int) error {
			_, err := g.Message(ctx, grownUser, grownThread, g.ids[g.messages/2])
			return err
		}},
		{"receipt", 4, func(ctx context.Context, g *grown, n int) error {
			return g.SendReceipt(ctx, grownUser, grownThread, g.ids[g.messages/2+n])
		}},
		{"thread list", 3*listOf + 7, func(ctx context.Context, g *grown, _ int) error {
			page, err := g.ListThreads(ctx, grownUser, core.ThreadsCursor{}, 0, listOf)
			return complete(len(page.Threads), listOf, err)
		}},
		{"deep page of the thread list", 3*listOf + 2, func(ctx context.Context, g *grown, _ int) error {
			page, err := g.ListThreads(ctx, grownUser, core.CursorByID(core.MinuteOf(1_700_000_000_000), threadID(60)), 0, listOf)
			return complete(len(page.Threads), listOf, err)
		}},
		{"add a member", 2, func(ctx context.Context, g *grown, n int) error {
			invalid, err := g.AddParticipants(ctx, grownUser, grownThread, []core.NewParticipant{{User: g.guest(n)}})
			return complete(len(invalid), 0, err)
		}},
		{"remove a member", 0, func(ctx context.Context, g *grown, n int) error {
			return g.RemoveParticipant(ctx, grownUser, grownThread, g.guest(n))
		}},
	} {
		for i, g := range stores {
			var rows [2]int
			for n := range rows {
				// Complete the moves of list entries first: until then, a page of the list reads
				// three more rows.
				for more := true; more; {
					var err error
					if more, err = g.store.Relist(t.Context(), core.MaxMoves); err != nil {
						t.Fatal(err)
					}
				}
				before := g.rows
				if err := op.run(t.Context(), g, n); err != nil {
					t.Fatalf("%s, %+v: %v", op.name, histories[i], err)
				}
				rows[n] = g.rows - before
			}
			if rows[1] != op.want {
				t.Errorf("%s, %+v: %d rows were read (%d for the first time), want %d", op.name, histories[i], rows[1], rows[0], op.want)
			}
		}
	}
}

// complete returns an error if err is nil and got differs from want.
func complete(got, want int, err error) error {
	if err == nil && got != want {
		err = fmt.Errorf("%d entries, want %d", got, want)
	}
	return err
}
