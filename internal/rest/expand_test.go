package rest

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/store/postgres"
	"github.com/confab-chat/confab/internal/token"
)

// TestExpandedListFigures prints how long the server takes for a page of 50 threads with last
// messages and unread counts, from the request to the encoded answer. The user has many threads
// with 100 unread messages each. The goal is 20 ms for 10,000 threads with a million messages; the
// test fails if the page takes five times as long. It uses 100 threads, or the number in
// TEST_LIST_THREADS.
func TestExpandedListFigures(t *testing.T) {
	threads := 100
	if v := os.Getenv("TEST_LIST_THREADS"); v != "" {
		var err error
		if threads, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("embedded", func(t *testing.T) {
		store, err := pebble.Open(t.TempDir(), pebble.Options{Initial: engineResource})
		if err != nil {
			t.Fatal(err)
		}
		measureExpanded(t, store, threads, func() {})
	})
	t.Run("postgres", func(t *testing.T) {
		server := os.Getenv("TEST_POSTGRES_URL")
		if server == "" {
			t.Skip("set TEST_POSTGRES_URL to measure PostgreSQL: scripts/postgres -- go test ./internal/rest")
		}
		database := freshDatabase(t, server)
		store, err := postgres.Open(t.Context(), database, postgres.Options{Initial: engineResource})
		if err != nil {
			t.Fatal(err)
		}
		measureExpanded(t, store, threads, func() {
			conn, err := pgx.Connect(t.Context(), database)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			if _, err := conn.Exec(t.Context(), "ANALYZE"); err != nil { // update the database's statistics, as autovacuum would do after a minute
				t.Fatal(err)
			}
		})
	})
}

func measureExpanded(t *testing.T, store core.Store, threads int, settle func()) {
	f := newFixtureOn(t, store, nil)
	me, bearer := f.user(t, token.Chat)
	other, _ := f.user(t, token.Chat)
	begun := time.Now()
	fillThreads(t, store, threads, f.clock.now().UnixMilli(), me, other)
	settle()
	t.Logf("%d threads with %d messages, made in %v", threads, threads*100, time.Since(begun).Round(time.Second))
	const bar = 20 * time.Millisecond
	measure := func(what, expand string) time.Duration {
		var took []time.Duration
		for range 41 {
			req := bearing(bearer, "/chat/threads?maxPageSize=50&api-version=2023-11-07"+expand)
			w := httptest.NewRecorder()
			begun := time.Now()
			f.ServeHTTP(w, req)
			took = append(took, time.Since(begun))
			if n := strings.Count(w.Body.String(), `"unread":100`); w.Code != 200 || expand != "" && n != 50 {
				t.Fatalf("%d with %d threads: %.300s", w.Code, n, w.Body)
			}
		}
		cold := took[0]
		slices.Sort(took)
		t.Logf("%s: best %v, median %v, worst %v of %d; the first %v", what, took[0], took[len(took)/2], took[len(took)-1], len(took), cold)
		return took[0]
	}
	measure("a plain page of 50", "")
	if best := measure("with last messages and 50 times 99+ unread (bar 20ms)", "&expand=lastMessage,unread"); best > 5*bar {
		t.Errorf("a page took %v at best, five times as long as it may", best)
	}
}

// fillThreads creates threads of two users in which the user other has sent 100 messages. It goes
// through all threads in 10 rounds, with 10 messages for each thread, and moves the time by a
// minute after every 20 threads.
func fillThreads(t *testing.T, store core.Store, threads int, at int64, me, other string) {
	t.Helper()
	roster := []*core.Member{{User: me, Order: 1, Intervals: []core.Interval{{From: 1}}}, {User: other, Order: 2, Intervals: []core.Interval{{From: 1}}}}
	content := strings.Repeat("some words of a chat message, ", 5)
	for round := range 11 {
		for first := 0; first < threads; first += 20 {
			byLane := make([][]*core.Change, store.Lanes())
			for n := first; n < min(first+20, threads); n++ {
				id := fmt.Sprintf("19:%032x@thread.v2", n)
				c := &core.Change{Key: id, Thread: id, Revision: 1, Roster: roster}
				if round == 0 {
					c.Revision, c.Roster = 0, nil
					c.Properties = &core.Properties{Topic: fmt.Sprint("topic ", n), CreatedBy: other}
					c.Members = []core.Member{{User: me, Order: 1, Intervals: []core.Interval{{}}}, {User: other, Order: 2, Intervals: []core.Interval{{}}}}
					c.Messages, c.Events = []core.Message{{Kind: core.TopicUpdated, Initiator: other}}, []core.Event{{Kind: core.ThreadCreated, Actor: other}}
				} else {
					for i := range 10 {
						c.Messages = append(c.Messages, core.Message{Kind: core.Text, Sender: other, SenderDisplayName: "Somebody", Content: fmt.Sprint(content, i)})
						c.Events = append(c.Events, core.Event{Kind: core.MessageReceived, Actor: other})
					}
				}
				lane := core.LaneOf(id, store.Lanes())
				byLane[lane] = append(byLane[lane], c)
			}
			for _, changes := range byLane {
				if len(changes) == 0 {
					continue
				}
				os, err := store.Apply(t.Context(), core.Batch{At: at, Changes: changes})
				if err != nil || slices.ContainsFunc(os, func(o core.Outcome) bool { return o.Status != core.Applied }) {
					t.Fatalf("%+v, %v", os, err)
				}
			}
			at += 60_000
		}
	}
}

// TestExpandedPagesEndByTheirJSON lists threads whose last messages take six times as many bytes
// in JSON as in the store. It checks that no page is larger than the memory that was reserved for
// the page, and that all pages together have every thread once.
func TestExpandedPagesEndByTheirJSON(t *testing.T) {
	f := newFixture(t, nil)
	ann, bearer := f.user(t, token.Chat)
	const threads = 100
	for range threads {
		th, _, err := f.core.CreateThread(t.Context(), ann, core.CreateThread{Topic: strings.Repeat("\x01", 250)})
		if err != nil {
			t.Fatal(err)
		}
		cmd := core.SendMessage{Kind: core.Text, Content: strings.Repeat("\x02", 5000), SenderDisplayName: strings.Repeat("\x03", 256)}
		if _, err := f.core.SendMessage(t.Context(), ann, th.ID, cmd); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{50, 100} {
		seen, pages := map[string]bool{}, 0
		for next := fmt.Sprintf("/chat/threads?maxPageSize=%d&expand=unread,lastMessage&api-version=2023-11-07", size); next != ""; pages++ {
			w := f.get(bearer, next)
			var body struct {
				Value []struct {
					ID          string
					LastMessage struct{ Content struct{ Message string } }
				}
				NextLink string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 200 || len(body.Value) == 0 {
				t.Fatalf("%d, %v: %.300s", w.Code, err, w.Body)
			}
			if most := max(smallPage, size*previewRow) + framing; w.Body.Len() > most {
				t.Errorf("a page of %d has %d bytes, want at most %d", size, w.Body.Len(), most)
			}
			for _, e := range body.Value {
				if seen[e.ID] || len(e.LastMessage.Content.Message) != core.MaxPreview {
					t.Errorf("thread %s: seen before: %v, %d bytes", e.ID, seen[e.ID], len(e.LastMessage.Content.Message))
				}
				seen[e.ID] = true
			}
			if body.NextLink != "" && !strings.Contains(body.NextLink, "&expand=lastMessage,unread&") {
				t.Fatalf("the link %s does not keep expand", body.NextLink)
			}
			next = strings.TrimPrefix(body.NextLink, "http://example.com")
			next = strings.TrimPrefix(next, "https://example.com")
		}
		if len(seen) != threads || pages < 3 {
			t.Errorf("%d threads on %d pages of %d, want %d", len(seen), pages, size, threads)
		}
	}
}
