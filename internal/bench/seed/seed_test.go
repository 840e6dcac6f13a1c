package seed

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestWrite checks that the rows of a written store are consistent, and that the store has the
// threads and messages in the result. It also checks that the copy, which is like the store of a
// killed server, has the same rows, some of them only in its log.
func TestWrite(t *testing.T) {
	dir, killed := filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "killed")
	size := Size{Messages: 3000, Members: 100, Threads: 45, Still: 2, Logged: 700}
	r, err := Write(t.Context(), dir, killed, size)
	if err != nil {
		t.Fatal(err)
	}
	if r.Kept <= 0 || r.Written <= float64(textSize) {
		t.Errorf("%.0f bytes are kept for a message and %.0f written", r.Kept, r.Written)
	}
	w := r.World
	if len(w.Rooms) != Rooms(size.Messages) || len(w.Large) != large || len(w.Still) != size.Still || len(w.Guests) != guests {
		t.Errorf("%d rooms, %d large threads, %d still ones, %d guests", len(w.Rooms), len(w.Large), len(w.Still), len(w.Guests))
	}
	sent := 0
	for _, thread := range append(w.Rooms, w.Large...) {
		sent += thread.Sent
		if thread.LastID == 0 || len(thread.Some) == 0 {
			t.Errorf("thread %s has no messages", thread.ID)
		}
	}
	if want := size.Messages + size.Logged; sent != want {
		t.Errorf("%d messages were sent, want %d", sent, want)
	}
	closed, log := checked(t, dir)
	if !closed {
		t.Error("the store was not closed")
	}
	closed, logKilled := checked(t, killed)
	if closed || logKilled < log+int64(size.Logged*textSize) {
		t.Errorf("the killed store: closed %v, %d bytes of logs, want at least %d more than %d", closed, logKilled, size.Logged*textSize, log)
	}

	s, err := pebble.Open(dir, pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, thread := range append(w.Large, w.Still...) {
		v, err := s.Thread(t.Context(), thread.ID)
		if err != nil || len(v.Participants()) != size.Members {
			t.Errorf("thread %s: %+v, %v, want %d participants", thread.ID, v, err, size.Members)
		}
	}
	last := w.Rooms[0]
	page, err := s.Messages(t.Context(), core.MessagesQuery{Thread: last.ID, IDs: []int64{last.Some[0], last.LastID}})
	if err != nil || len(page.Messages) != 2 || len(page.Messages[1].Content) != textSize {
		t.Errorf("messages of a room: %+v, %v", page.Messages, err)
	}
}

// checked fails the test unless the store in dir is consistent. It reports whether the store was
// closed cleanly, and returns the number of bytes of its logs.
func checked(t *testing.T, dir string) (closed bool, log int64) {
	t.Helper()
	c, err := pebble.CheckFolder(t.Context(), dir, pebble.Options{}, func(fault string) { t.Error(fault) })
	if err != nil {
		t.Fatal(err)
	}
	return c.Closed, c.Log
}
