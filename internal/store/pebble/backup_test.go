package pebble

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/confab-chat/confab/internal/store/storetest"
)

// TestCheckpointQuietly copies a store while other goroutines write to it. Writers must wait
// while the files are copied, and the rows of the copy must be in tables, not in a log.
func TestCheckpointQuietly(t *testing.T) {
	var s *Store
	var files, open int
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && len(op.Path) > 5 && op.Path[:5] == "copy/" {
			if files++; s.applying.TryLock() {
				open++
				s.applying.Unlock()
			}
		}
		return nil
	}))
	s, err := Open("store", Options{FS: fs, Initial: storetest.Initial})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var writers sync.WaitGroup
	stop, wrote := make(chan struct{}), make(chan struct{})
	writers.Go(func() {
		for i := 0; ; i++ {
			if err := putUser(s, fmt.Sprint("u", i)); err != nil {
				t.Error(err)
			}
			if i == 0 {
				close(wrote)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	select {
	case <-wrote:
	case <-time.After(time.Minute):
		t.Fatal("nothing was written")
	}
	err = s.CheckpointQuietly("copy")
	close(stop)
	writers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 || open > 0 {
		t.Errorf("writers could write while %d of %d files were copied", open, files)
	}
	reader, err := Open("copy", Options{FS: fs, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	hasUser(t, reader, "u0")
	if tables := reader.db.Metrics().Total().TablesCount; tables == 0 {
		t.Error("the copy has no tables: its rows are in a log")
	}
	mustClose(t, reader)
}
