package pebble

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/confab-chat/confab/internal/store/storetest"
)

// TestStopFlushes stops a store that has rows in its log, and so many tables with the same keys that
// Pebble would compact them. After the stop no row may be in the log, and the store must have one
// table more than before.
func TestStopFlushes(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, vfs.Default)
	s.stopping.Store(true) // from now on no compaction begins; Close sets this flag too
	const tables = 12
	for i := range tables + 1 {
		if err := putUser(s, fmt.Sprint("u", i)); err != nil {
			t.Fatal(err)
		}
		if i == tables {
			break
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	in := look(t, dir)
	if in.records != 0 || !in.mark.closed || len(in.manifest.tables) != tables+1 {
		t.Errorf("after the stop: %d records in logs, closed %v, %d tables; want 0, true, %d", in.records, in.mark.closed, len(in.manifest.tables), tables+1)
	}
	mustClose(t, mustOpen(t, dir, vfs.Default)) // the store writes nothing between Open and Close, so Close must flush nothing
	if n := len(look(t, dir).manifest.tables); n > tables+1 {
		t.Errorf("%d tables after a start and a stop, want at most %d", n, tables+1)
	}
}

// TestStartDoesNotWaitForCompactions opens a store with so many tables with the same keys that
// Pebble compacts them. Open must not wait for a compaction, and a compaction must begin although
// nothing is written.
func TestStartDoesNotWaitForCompactions(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "store", mem)
	s.stopping.Store(true) // from now on no compaction begins; Close sets this flag too
	for i := range 12 {
		if err := s.set([]byte{0xf0}, []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	opened, compacting := make(chan struct{}), make(chan struct{}, 100)
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, tableSuffix) {
			<-opened // wait until Open has returned: an Open that waits for a compaction would never end
			compacting <- struct{}{}
		}
		return nil
	}))
	again := mustOpen(t, "store", fs)
	close(opened)
	<-compacting
	mustClose(t, again)
}

// TestStopWithoutSpaceForTables stops a store whose memtables cannot be flushed. The stop must end,
// and the next start must find the rows.
func TestStopWithoutSpaceForTables(t *testing.T) {
	mem := vfs.NewMem()
	var full atomic.Bool
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, tableSuffix) {
			return syscall.ENOSPC
		}
		return nil
	}))
	s, err := Open("store", Options{FS: fs, Initial: storetest.Initial})
	if err != nil {
		t.Fatal(err)
	}
	if err := putUser(s, "u"); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	if err := s.flushToStop(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the flush ends with %v, want no space left", err)
	}
	full.Store(false)
	mustClose(t, s)
	again := mustOpen(t, "store", mem)
	hasUser(t, again, "u")
	mustClose(t, again)
}
