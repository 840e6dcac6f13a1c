package pebble

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// fill creates a store in dir with a few rows and closes it. All rows are in tables.
func fill(t *testing.T, dir string) {
	t.Helper()
	s, err := Open(dir, Options{Initial: storetest.Initial})
	if err != nil {
		t.Fatal(err)
	}
	c := &core.Change{
		Key: "19:a@thread.v2", Thread: "19:a@thread.v2", Properties: &core.Properties{Topic: "t"},
		Messages: []core.Message{{Kind: core.Text, Content: strings.Repeat("x", 5000)}},
	}
	if _, err := s.Apply(context.Background(), core.Batch{At: 1, Changes: []*core.Change{c}}); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   error
		says   string
	}{
		{"a folder in use", func(t *testing.T, dir string) {
			s, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
		}, ErrInUse, ""},
		{"a newer schema", func(t *testing.T, dir string) {
			s, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.db.Set(metaKey(metaSchema), encodeNumber(nil, schema+1), pebble.Sync); err != nil {
				t.Fatal(err)
			}
			s.Close()
		}, ErrNewer, fmt.Sprint("schema ", schema+1)},
		{"a missing marker", func(t *testing.T, dir string) { remove(t, dir, "marker.manifest.*") }, ErrDamaged, "marker.manifest"},
		{"a missing manifest", func(t *testing.T, dir string) { remove(t, dir, "MANIFEST-*") }, ErrDamaged, "MANIFEST-"},
		{"a missing table", func(t *testing.T, dir string) { remove(t, dir, "*.sst") }, ErrDamaged, ".sst: it is missing"},
		{"a cut manifest", func(t *testing.T, dir string) { cut(t, dir, "MANIFEST-*") }, ErrDamaged, "MANIFEST-"},
		{"an overwritten table", func(t *testing.T, dir string) { scribble(t, dir, "*.sst") }, ErrDamaged, ".sst: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			tc.damage(t, dir)
			before := list(t, dir)
			s, err := Open(dir, Options{})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %q; want %q with the folder and %q", err, tc.want, tc.says)
			}
			var remedied interface{ Remedy() string }
			if tc.want != ErrInUse && (!errors.As(err, &remedied) || !strings.Contains(remedied.Remedy(), "confab restore")) {
				t.Errorf("error %q does not say what to do", err)
			}
			for name := range before {
				if _, ok := list(t, dir)[name]; !ok && tc.want == ErrDamaged && strings.HasSuffix(name, ".sst") {
					t.Errorf("%s was deleted by the failed Open", name)
				}
			}
		})
	}
}

func TestOpenNamesAnUnwritableFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "store"), Options{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v, want one that names %s", err, file)
	}
}

func TestLowSpaceIsRefusedByName(t *testing.T) {
	s, err := Open(t.TempDir(), Options{MinFree: 1 << 62})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := &core.Change{Key: "u", ReadUsers: []core.User{{ID: "u"}}, PutUsers: []core.User{{ID: "u", State: core.UserLive}}}
	_, err = s.Apply(context.Background(), core.Batch{Changes: []*core.Change{c}})
	if !errors.Is(err, core.ErrStorageFull) {
		t.Errorf("error %v, want core.ErrStorageFull", err)
	}
	if us, err := s.Users(context.Background(), []string{"u"}); len(us) != 0 || err != nil {
		t.Errorf("the refused user was written: %+v, %v", us, err)
	}
}

// TestFullDiskEndsTheProcess fills the disk, so that a write to the write-ahead log fails. Apply
// must return the error and call Options.Fatal. A store opened afterwards must have the rows
// written before, but not the row of the failed Apply.
func TestFullDiskEndsTheProcess(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var full atomic.Bool
	disk := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasSuffix(op.Path, ".log") {
			return syscall.ENOSPC
		}
		return nil
	}))
	var fatal error
	s, err := Open("store", Options{FS: disk, Initial: storetest.Initial, Fatal: func(err error) { fatal = err }})
	if err != nil {
		t.Fatal(err)
	}
	put := func(id string) error {
		c := &core.Change{Key: id, ReadUsers: []core.User{{ID: id}}, PutUsers: []core.User{{ID: id, State: core.UserLive}}}
		_, err := s.Apply(context.Background(), core.Batch{Changes: []*core.Change{c}})
		return err
	}
	if err := put("before"); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	if err := put("full"); !errors.Is(err, syscall.ENOSPC) || !errors.Is(fatal, syscall.ENOSPC) {
		t.Errorf("a write to a full disk: error %v, fatal %v; want no space left in both", err, fatal)
	}
	disk2 := mem.CrashClone(vfs.CrashCloneCfg{})
	full.Store(false)
	s.Close() // Options.Fatal ends a real process; here Close must end the goroutines of the store
	again, err := Open("store", Options{FS: disk2})
	if err != nil {
		t.Fatalf("open after the disk was full: %v", err)
	}
	defer again.Close()
	us, err := again.Users(context.Background(), []string{"before", "full"})
	if err != nil || len(us) != 1 || us[0].ID != "before" {
		t.Errorf("users after the disk was full: %+v, %v; want the one from before", us, err)
	}
}

func list(t *testing.T, dir string) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names
}

func matches(t *testing.T, dir, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file is called %s: %v", pattern, err)
	}
	return files
}

func remove(t *testing.T, dir, pattern string) {
	for _, f := range matches(t, dir, pattern) {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}

func cut(t *testing.T, dir, pattern string) {
	for _, f := range matches(t, dir, pattern) {
		if err := os.Truncate(f, 10); err != nil {
			t.Fatal(err)
		}
	}
}

func scribble(t *testing.T, dir, pattern string) {
	for _, f := range matches(t, dir, pattern) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] ^= 0x5a
		}
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFatalErrorAtTheEndOfOpen verifies that a fatal error is never lost: before the end of
// Open, Open returns it, and after that it is passed to Options.Fatal.
func TestFatalErrorAtTheEndOfOpen(t *testing.T) {
	fatal := make(chan error, 2)
	during := &opening{fatal: func(err error) { fatal <- err }, failed: make(chan struct{}), never: make(chan struct{})}
	defer close(during.never)
	go during.fail(syscall.ENOSPC) // fail does not return
	<-during.failed
	if err := during.end(); err != syscall.ENOSPC {
		t.Errorf("an error before the end of Open: Open fails with %v", err)
	}
	after := &opening{fatal: func(err error) { fatal <- err }, failed: make(chan struct{})}
	if err := after.end(); err != nil {
		t.Errorf("no error before the end of Open: Open fails with %v", err)
	}
	after.fail(syscall.EIO)
	if len(fatal) != 1 || <-fatal != syscall.EIO {
		t.Error("an error after the end of Open did not reach Options.Fatal once")
	}
}

// TestFailedCompactionDoesNotEndOpen reports a failed compaction and then a failed flush while
// a store is being opened. Only the flush may end Open, because Open does not wait for
// compactions.
func TestFailedCompactionDoesNotEndOpen(t *testing.T) {
	s := &Store{log: discard, disk: &disk{}, opening: &opening{failed: make(chan struct{}), never: make(chan struct{})}}
	defer close(s.opening.never)
	s.fatal = s.opening.fail
	told := make(chan struct{})
	listener := s.options(Options{}).EventListener
	go func() {
		listener.BackgroundError(syscall.EIO)
		listener.CompactionEnd(pebble.CompactionInfo{Err: noSpace{syscall.ENOSPC}})
		close(told)
	}()
	select {
	case <-told:
	case <-s.opening.failed:
		t.Fatal("a failed compaction ends Open")
	}
	go listener.FlushEnd(pebble.FlushInfo{Err: syscall.ENOSPC})
	<-s.opening.failed
}
