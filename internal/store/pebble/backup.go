package pebble

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/store/row"
)

// Checkpoint copies the store to dir, which must not exist; otherwise the error wraps
// os.ErrExist. The copy has every batch that is durable now. If dir is on the same
// disk, the copy's table files are hard links: they take no space until this store
// deletes the originals.
func (s *Store) Checkpoint(dir string) error {
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("copy store %s to %s: %w", s.dir, dir, err)
	}
	return nil
}

// CheckpointQuietly copies the store to dir, as Checkpoint does, for a caller whose first
// Checkpoint failed. It blocks all writers and first flushes all rows to tables, so that no log
// or manifest grows while it is copied; the copy's log has no rows. It fails if there is too
// little disk space for the flush.
func (s *Store) CheckpointQuietly(dir string) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	err := s.disk.check(0) // without this check, Flush would wait until the disk has space
	if err == nil {
		err = s.db.Flush() // Flush writes to the manifest even if there are no rows to flush
	}
	if err != nil {
		return fmt.Errorf("flush store %s before it is copied: %w", s.dir, err)
	}
	return s.Checkpoint(dir)
}

// SetEpoch replaces the epoch of the event log, and returns when the new epoch is durable. After a
// restore, new events get positions that lost events had before. A reader whose cursor has another
// epoch knows that the cursor is invalid.
func (s *Store) SetEpoch(epoch string) error {
	return s.set(metaKey(metaEpoch), row.Text.Encode(nil, &epoch))
}

// unfinished is the name of a file that exists in a store's folder while an import fills the
// store. Older versions also created it during a restore. Open refuses a store whose folder has
// this file.
const unfinished = "UNFINISHED"

// markUnfinished durably creates the file UNFINISHED in dir, which makes Open refuse the store.
func markUnfinished(fs vfs.FS, dir string) error {
	f, err := fs.Create(fs.PathJoin(dir, unfinished), vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write([]byte("This store is being filled. If nothing does that any more, remove it and begin again.\n"))
		err = errors.Join(err, f.Sync(), f.Close(), syncFolder(fs, dir))
	}
	if err != nil {
		return fmt.Errorf("mark store %s as unfinished: %w", dir, err)
	}
	return nil
}

// finish durably removes the file UNFINISHED from dir, so that Open accepts the store.
func finish(fs vfs.FS, dir string) error {
	err := syncFolder(fs, dir) // the store's files must be durable before the file UNFINISHED is removed
	if err == nil {
		err = fs.Remove(fs.PathJoin(dir, unfinished))
	}
	if err == nil {
		err = syncFolder(fs, dir)
	}
	if err != nil {
		return fmt.Errorf("mark store %s as finished: %w", dir, err)
	}
	return nil
}

// syncFolder makes the names of the files in dir durable.
func syncFolder(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
