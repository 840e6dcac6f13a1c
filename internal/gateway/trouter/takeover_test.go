package trouter_test

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/store/postgres"
	"github.com/confab-chat/confab/internal/token"
)

// twoHouses starts two servers that share a PostgreSQL database.
func twoHouses(t *testing.T) (here, there *house) {
	t.Helper()
	address := os.Getenv("TEST_POSTGRES_URL")
	if address == "" {
		t.Skip("set TEST_POSTGRES_URL to run two servers on one database: scripts/postgres -- go test ./internal/gateway/trouter")
	}
	name := "trouter_" + rand.Text()
	execute := func(sql string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	execute(fmt.Sprintf(`CREATE DATABASE %q`, name))
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	open := func() *house {
		h := &house{t: t, clock: dev.NewClock(time.Now)}
		store, err := postgres.Open(t.Context(), u.String(), postgres.Options{Initial: resource})
		if err != nil {
			t.Fatal(err)
		}
		h.store = store
		h.start(nil)
		t.Cleanup(func() {
			h.stop()
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		return h
	}
	return open(), open()
}

// row returns the stored row of a user's only endpoint.
func (h *house) row(p person) core.Endpoint {
	h.t.Helper()
	es, err := h.store.Endpoints(h.t.Context(), p.ID)
	if err != nil || len(es) != 1 {
		h.t.Fatalf("endpoints %v, %v", es, err)
	}
	return es[0]
}

// wantNothing fails the test if the server sends any event to the client.
func (h *house) wantNothing(tab *tab) {
	h.t.Helper()
	h.told()
	tab.sync()
}

// TestTakeover lets a client answer the second of two events and then connect to the other server.
// The client does so after its socket was cut, while its old socket is still open, and after its
// server was drained. The test checks that the client gets only the unanswered event again, and
// that the older socket is closed.
func TestTakeover(t *testing.T) {
	here, there := twoHouses(t)
	ann := here.person()
	tab := here.tab(ann, "tab")
	thread := here.thread("plans", ann)
	tab.message("", 200) // reads and answers the first message of the thread
	n := 0
	texts := func() (first, second string) {
		n += 2
		return fmt.Sprint("text ", n-1), fmt.Sprint("text ", n)
	}
	// answered sends two texts to the client, which answers only the second one. It returns the
	// first text.
	answered := func(h *house) string {
		t.Helper()
		left, text := texts()
		for _, s := range []string{left, text} {
			h.send(ann, thread, s)
		}
		tab.message(left, 0)
		tab.message(text, 200)
		return left
	}
	for _, step := range []struct {
		name string
		end  func(old *house)
	}{
		{"cut", func(*house) { tab.CloseNow() }},
		{"half open", func(*house) { tab.sync() }},
		{"cut again", func(*house) { tab.CloseNow() }},
		{"half open again", func(*house) { tab.sync() }},
		{"drained", func(old *house) {
			old.h.Drain(t.Context())
			go old.hub.Drain(t.Context())
			tab.want("0::")
			tab.CloseNow()
		}},
	} {
		left := answered(here)
		old := tab
		step.end(here)
		tab = there.tab(ann, "tab")
		tab.message(left, 200)
		tab.sync()
		if step.name == "half open" || step.name == "half open again" {
			old.want("0:::dup")
			old.wantClosed()
			here.wantEnded(gateway.Replaced)
		}
		here.closed()
		if t.Failed() {
			t.Fatalf("after %s", step.name)
		}
		here, there = there, here
	}
}

// TestTakeoverFromDeadServer lets a client connect while its row names another server as the owner,
// and that server does not react. It checks that the client soon gets a socket, and gets the events
// that the row does not mark as answered.
func TestTakeoverFromDeadServer(t *testing.T) {
	here, _ := twoHouses(t)
	ann := here.person()
	dead := core.Endpoint{User: ann.ID, ID: "tab", Seen: time.Now().UnixMilli(), Owner: "dead", Open: true}
	var err error
	if dead.At, err = here.store.Tip(t.Context()); err != nil {
		t.Fatal(err)
	}
	if taken, err := here.store.PutEndpoints(t.Context(), []core.Endpoint{dead}); err != nil || len(taken) > 0 {
		t.Fatal(taken, err)
	}
	here.thread("plans", ann)
	tab := here.tab(ann, "tab")
	tab.message("", 200) // reads and answers the first message of the thread
	tab.sync()
	if r := here.row(ann); r.Owner == "dead" || !r.Open {
		t.Errorf("the row is %+v", r)
	}
	tab.CloseNow()
	here.until("the end is stored", func() bool { return !here.row(ann).Open })
}

// TestRefusedTakeover makes a server refuse a socket after it has become the owner of its endpoint.
// It checks that the row then says that no socket is open, and that the row's time of the client's
// last sign of life is not older than before, because an old row expires and the client would miss
// events.
func TestRefusedTakeover(t *testing.T) {
	here, there := twoHouses(t)
	ann := here.person()
	a := there.allocate(ann, "tab")
	sid := there.handshake(a)
	here.tab(ann, "tab").CloseNow()
	here.until("the end is stored", func() bool { return !here.row(ann).Open })
	was := here.row(ann)
	there.hub.Drain(t.Context())
	if _, resp, err := there.dial(sid, a.query()); err == nil || resp == nil || resp.StatusCode != 503 {
		t.Fatalf("open a socket: %v, %v", resp, err)
	}
	here.until("the row is free", func() bool { r := here.row(ann); return r.Owner != was.Owner && !r.Open })
	if got := here.row(ann); got.Seen < was.Seen || got.At != was.At {
		t.Errorf("the row is %+v, was %+v", got, was)
	}
}

// TestTakenUnknown makes another server the owner of an endpoint without telling the first
// server. It checks that the first server ends its socket when it tries to store an answer,
// and that it leaves the row unchanged.
func TestTakenUnknown(t *testing.T) {
	here, _ := twoHouses(t)
	ann := here.person()
	tab := here.tab(ann, "tab")
	thread := here.thread("plans", ann)
	tab.message("", 200) // reads and answers the first message of the thread
	was, found, err := here.store.(core.SharedEndpoints).TakeEndpoint(t.Context(), ann.ID, "tab", "other")
	if err != nil || !found {
		t.Fatal(found, err)
	}
	here.send(ann, thread, "one")
	tab.message("one", 200)
	tab.want("0:::dup")
	tab.wantClosed()
	here.closed()
	if r := here.row(ann); r.Owner != "other" || r.At != was.At {
		t.Errorf("the row is %+v, was %+v", r, was)
	}
}

// TestTakeoverInHandOver asks the client to open another socket, and the client opens it at the
// other server. It checks that the old socket stays open, as on a single server, but gets no
// events.
func TestTakeoverInHandOver(t *testing.T) {
	here, there := twoHouses(t)
	ann := here.person()
	ann.token = here.token(ann.User, token.Chat, 48*time.Hour)
	a := here.allocate(ann, "tab")
	if err := here.clock.Advance(23*time.Hour + 56*time.Minute); err != nil {
		t.Fatal(err)
	}
	c, _, err := here.dial(here.handshake(a), a.query())
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	old := &tab{here, a, c}
	old.want("1::")
	old.want("5:::*")
	old.want(`5:::{"name":"trouter.reconnect","args":[{"target":"self"}]}`)
	thread := here.thread("plans", ann)
	old.message("", 200) // reads and answers the first message of the thread
	old.sync()
	newer := there.tab(ann, "tab")
	newer.sync() // sync fails if the server sends an event again
	here.send(ann, thread, "two")
	newer.message("two", 200)
	here.told()
	old.sync() // sync fails if the old socket got an event
}

// TestAnswersOnTheWay ends a socket before the server has read the client's last answers, and
// checks that these answers count.
func TestAnswersOnTheWay(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	tab := h.tab(ann, "tab")
	h.send(ann, thread, "one")
	n := tab.notice()
	go h.hub.EndAll(gateway.Draining)
	tab.want("0::")
	tab.answer(n, 200)
	tab.CloseNow()
	h.wantEnded(gateway.Draining)
	h.wantNothing(h.tab(ann, "tab"))
}
