package server_test

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/server"
)

// TestCursorsAfterMoves copies a store, lets a client receive later events of the original, and
// starts a server on the copy. It makes the copy from a backup, from the data folder, from an
// export, and from a dump of PostgreSQL. The client then resumes with a cursor that points to an
// event that the copy does not have. It must get a gap and then only new events, both before and
// after the new server has written as many events as were lost.
func TestCursorsAfterMoves(t *testing.T) {
	embedded := func(data string) config.Config {
		return settings(t, "data", data, "limits", "off", "events-kept", "3650")
	}
	exportImport := func(t *testing.T, from, to config.Config) {
		file := filepath.Join(t.TempDir(), "export")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := export(storeOf(from), f); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		if _, _, err := server.Import(t.Context(), storeOf(to), f, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	for _, way := range []struct {
		name     string
		database bool
		move     func(t *testing.T, from, to config.Config)
		gap      string
	}{
		{"backup", false, func(t *testing.T, from, to config.Config) {
			backup := filepath.Join(t.TempDir(), "backup")
			makeBackup(t, from.Data, backup)
			if _, _, err := server.Restore(t.Context(), backup, config.Config{Data: to.Data}); err != nil {
				t.Fatal(err)
			}
		}, "epoch"},
		{"copy", false, func(t *testing.T, from, to config.Config) {
			if err := os.CopyFS(to.Data, os.DirFS(from.Data)); err != nil {
				t.Fatal(err)
			}
		}, "lost"},
		{"export", false, exportImport, "epoch"},
		{"PostgreSQL dump", true, func(t *testing.T, from, to config.Config) {
			bin, dump := os.Getenv("TEST_POSTGRES_BIN"), filepath.Join(t.TempDir(), "dump")
			for _, args := range [][]string{{"pg_dump", "-Fc", "-f", dump, "-d", from.Database}, {"pg_restore", "-d", to.Database, dump}} {
				if out, err := exec.Command(filepath.Join(bin, args[0]), args[1:]...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", args, err, out)
				}
			}
		}, "lost"},
		{"PostgreSQL export", true, exportImport, "epoch"},
	} {
		t.Run(way.name, func(t *testing.T) {
			from, to := embedded(filepath.Join(t.TempDir(), "from")), embedded(filepath.Join(t.TempDir(), "to"))
			if way.database {
				address := os.Getenv("TEST_POSTGRES_URL")
				if address == "" || os.Getenv("TEST_POSTGRES_BIN") == "" {
					t.Skip("set TEST_POSTGRES_URL and TEST_POSTGRES_BIN: scripts/postgres -- go test ./internal/server")
				}
				from.Database, to.Database = freshDatabase(t, address), freshDatabase(t, address)
			}
			c := &resumer{}
			s := start(t, server.Options{Config: from})
			_, c.user, c.bearer = s.newUser(t, s.AccessKey)
			c.thread = s.newThread(t, c.bearer)
			c.send(t, s, 3)
			s.stop(t)
			way.move(t, from, to)

			s = start(t, server.Options{Config: from})
			lost := c.send(t, s, 4)
			s.stop(t)

			s = start(t, server.Options{Config: to})
			c.bearer = s.bearer(t, c.user)
			for range 2 { // use each cursor twice: resume sends a message, so in the end the server has sent twice as many messages as were lost
				for i, cursor := range lost {
					if got := c.resume(t, s, cursor); got != way.gap {
						t.Errorf("the cursor after the lost event %d gets %s, want the gap %q", i, got, way.gap)
					}
				}
			}
			s.stop(t)
		})
	}
}

// storeOf returns settings that have only c's data folder or database.
func storeOf(c config.Config) config.Config {
	if c.Database != "" {
		return config.Config{Database: c.Database}
	}
	return config.Config{Data: c.Data}
}

// resumer is a user who sends messages to a thread and receives their events from event streams.
type resumer struct {
	user, bearer, thread string
	sent                 int
}

// open opens an event stream, which ends after a minute at the latest.
func (c *resumer) open(t *testing.T, s *running, query string) *stream {
	t.Helper()
	events := s.openStream(t, s.client, c.bearer, query)
	limit := time.AfterFunc(time.Minute, func() { events.resp.Body.Close() })
	t.Cleanup(func() { limit.Stop() })
	return events
}

// next returns the next event of a stream that is not a heartbeat.
func (c *resumer) next(t *testing.T, events *stream) map[string]string {
	t.Helper()
	for {
		e, err := events.next()
		if err != nil {
			t.Fatalf("read the stream: %v", err)
		}
		if e["event"] != "" && e["event"] != "heartbeat" {
			return e
		}
	}
}

// say sends a message with a new text and returns the text.
func (c *resumer) say(t *testing.T, s *running) string {
	t.Helper()
	c.sent++
	text := fmt.Sprintf("message %d.", c.sent)
	if status, answer := s.chat(t, "POST", "/"+c.thread+"/messages", c.bearer, `{"content":"`+text+`","type":"text"}`); status != 201 {
		t.Fatalf("send: %d %s", status, answer)
	}
	return text
}

// send sends n messages and returns, for each, the cursor after the message's event.
func (c *resumer) send(t *testing.T, s *running, n int) (cursors []string) {
	t.Helper()
	events := c.open(t, s, "")
	defer events.resp.Body.Close()
	for range n {
		text := c.say(t, s)
		e := c.next(t, events)
		for e["event"] != "chatMessageReceived" { // skip earlier events, which may arrive late from PostgreSQL
			e = c.next(t, events)
		}
		if !strings.Contains(e["data"], text) || e["id"] == "" {
			t.Fatalf("got %v, want the event of %q", e, text)
		}
		cursors = append(cursors, e["id"])
	}
	return cursors
}

// resume opens a stream with a cursor and returns the reason of the gap with which the stream
// begins. Then it sends a message, and fails the test unless the next event of the stream is about
// that message.
func (c *resumer) resume(t *testing.T, s *running, cursor string) string {
	t.Helper()
	events := c.open(t, s, "?cursor="+url.QueryEscape(cursor))
	defer events.resp.Body.Close()
	gap := c.next(t, events)
	reason := strings.TrimSuffix(strings.TrimPrefix(gap["data"], `{"reason":"`), `"}`)
	if gap["event"] != "gap" {
		return fmt.Sprint(gap)
	}
	text := c.say(t, s)
	if e := c.next(t, events); e["event"] != "chatMessageReceived" || !strings.Contains(e["data"], text) {
		t.Errorf("after the gap the stream has %v, want the event of %q", e, text)
	}
	return reason
}
