package pebble

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/core"
)

// TestMarkOfAnEarlierStop gives a store that was started and killed the mark of an earlier
// clean stop, as a power cut may leave it. The store must not count as closed.
func TestMarkOfAnEarlierStop(t *testing.T) {
	dir, killed := t.TempDir(), t.TempDir()
	fill(t, dir)
	if !look(t, dir).mark.closed {
		t.Fatal("after a clean stop the store does not count as closed")
	}
	old, err := os.ReadFile(filepath.Join(dir, markName))
	if err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, dir, vfs.Default)
	if err := putUser(s, "u"); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	if err := os.WriteFile(filepath.Join(killed, markName), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if look(t, killed).mark.closed {
		t.Error("after a kill the store counts as closed, because an older mark says so")
	}
}

// TestNoteAfterClose notes a sync in a mark that was closed. The mark must neither change nor
// log an error.
func TestNoteAfterClose(t *testing.T) {
	fs := vfs.NewMem()
	var log bytes.Buffer
	m, err := openMark(fs, "", slog.New(slog.NewTextHandler(&log, nil)), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.close(true); err != nil {
		t.Fatal(err)
	}
	m.file = closedFile{m.file}
	m.note(manifestFile, 1, 10)
	m.note(logFile, 2, 10)
	if s, _, _, err := readMark(fs, ""); log.Len() > 0 || !s.closed || m.timer != nil || err != nil {
		t.Errorf("closed %v, timer %v, error %v, logged %q", s.closed, m.timer, err, &log)
	}
}

// closedFile fails writes and syncs with os.ErrClosed, as a closed file of the operating system
// does. A closed file in memory does not.
type closedFile struct{ vfs.File }

func (closedFile) WriteAt([]byte, int64) (int, error) { return 0, os.ErrClosed }
func (closedFile) SyncData() error                    { return os.ErrClosed }

// TestMarkKeepsTheManifest notes more logs than the mark has room for. The mark must keep the
// manifest, although it has the lowest number.
func TestMarkKeepsTheManifest(t *testing.T) {
	m, err := openMark(vfs.NewMem(), "", discard, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.note(manifestFile, 1, 10)
	for n := uint64(2); n < 2*uint64(markEntries); n++ {
		m.note(logFile, n, 20)
	}
	if got := m.state.length(manifestFile, 1); got != 10 {
		t.Errorf("length of the manifest %d, want 10", got)
	}
	if got := m.state.length(logFile, 2*uint64(markEntries)-1); got != 20 || len(m.state.files) > markEntries {
		t.Errorf("length of the newest log %d, want 20; %d files", got, len(m.state.files))
	}
	if err := m.close(true); err != nil {
		t.Fatal(err)
	}
}

// TestNewStoreWithoutMarker inspects a new store without the marker of the format, the last
// file that a new store gets, as a failed first start leaves it. The store has no rows, so the
// next start must not fail.
func TestNewStoreWithoutMarker(t *testing.T) {
	dir := t.TempDir()
	s := &Store{fs: vfs.Default, dir: dir, log: discard}
	name, log := "000002.log", []byte{6: 5, 7: 3, 10: 0} // the header that ends log 2: it has the length 0 and the number of the next log, 3
	emptyStore(t, dir, name, log)
	opts := s.options(Options{})
	opts.EnsureDefaults()
	if in, err := inspect(vfs.Default, dir, opts); err != nil || in.logBytes != int64(len(log)) {
		t.Errorf("%v; want an empty store with %d bytes of log", err, len(log))
	}
}

// emptyStore writes the files of a new store, except for the marker of the format: a manifest
// with one record, the marker of the manifest, and a log with this content.
func emptyStore(t *testing.T, dir, log string, content []byte) {
	t.Helper()
	fill(t, dir+"/full")
	manifest, err := os.ReadFile(matches(t, dir+"/full", "MANIFEST-*")[0])
	if err != nil {
		t.Fatal(err)
	}
	_, n, err := parseChunk(manifest, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir + "/full"); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"MANIFEST-000001": manifest[:n], "marker.manifest.000001.MANIFEST-000001": nil, log: content} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLockError verifies that lockError returns ErrInUse only if somebody holds the lock, and
// not if locking fails for another reason.
func TestLockError(t *testing.T) {
	for _, tc := range []struct {
		err   error
		inUse bool
	}{
		{syscall.EAGAIN, true}, {errors.New("lock held by current process"), true},
		{&os.PathError{Op: "open", Path: "LOCK", Err: syscall.EACCES}, false}, {syscall.EIO, false},
	} {
		err := lockError("dir", tc.err)
		if errors.Is(err, ErrInUse) != tc.inUse {
			t.Errorf("%v: %v; in use: want %v", tc.err, err, tc.inUse)
		}
		if errors.Is(err, syscall.EACCES) && !strings.Contains(err.Error(), "may not lock or write its folder") {
			t.Errorf("%v does not say that the user may not write", err)
		}
	}
}

// TestUnaccountedTablesAreRead moves the tables of a store to the folder unaccounted. Salvage
// must find their rows, and CheckFolder must name the files.
func TestUnaccountedTablesAreRead(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	whole, _ := salvage(t, dir)
	aside := filepath.Join(dir, unaccounted)
	if err := os.Mkdir(aside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(aside, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tables := matches(t, dir, "*.sst")
	for _, table := range tables {
		b, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(aside, filepath.Base(table)+".1"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := CheckFolder(t.Context(), dir, Options{}, func(string) {})
	if want := len(tables) + 1; err != nil || len(c.Strays) != want || !strings.HasPrefix(c.Strays[0], unaccounted) {
		t.Errorf("check: %v, names %q; want %d files in %s", err, c.Strays, want, unaccounted)
	}
	remove(t, dir, "*.sst")
	found, report := salvage(t, dir)
	if len(found) != len(whole) || !report.Older {
		t.Errorf("salvage: %d records, older %v; want %d, true", len(found), report.Older, len(whole))
	}
	for _, r := range found {
		if m, ok := r.(core.ThreadMessage); ok && m.Content == "" {
			t.Error("a message without its content")
		}
	}
}
