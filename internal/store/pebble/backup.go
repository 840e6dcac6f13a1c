package pebble

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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

// Restore copies the store in folder from, which no process may have open, to the
// folder to, which must not exist; otherwise the error wraps os.ErrExist. If Restore
// fails or is interrupted, Open refuses the copy with core.ErrUnfinished.
func Restore(ctx context.Context, from, to string) error {
	fs := vfs.Default
	names, err := fs.List(from)
	if err != nil {
		return fmt.Errorf("list the store to copy: %w", err)
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return fmt.Errorf("make the store's folder: %w", err)
	}
	if err := markUnfinished(fs, to); err != nil {
		return err
	}
	synced := vfs.NewSyncingFS(fs, vfs.SyncingFileOptions{})
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if name == "LOCK" {
			continue
		}
		if err := vfs.Copy(synced, filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return fmt.Errorf("copy a file of the store: %w", err)
		}
	}
	return finish(fs, to)
}

// SetEpoch replaces the epoch of the event log, durably. A reader that finds another
// epoch than before knows that its cursor is invalid: after a restore, new events get
// positions that lost events had before.
func (s *Store) SetEpoch(epoch string) error {
	return s.set(metaKey(metaEpoch), row.Text.Encode(nil, &epoch))
}

// unfinished is the name of a file that exists in a store's folder while an import or
// a restore fills it. Open refuses a store that has it.
const unfinished = "UNFINISHED"

// markUnfinished creates the file unfinished in dir, durably.
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

// finish removes the file unfinished from dir, durably.
func finish(fs vfs.FS, dir string) error {
	err := syncFolder(fs, dir) // the store's files must be durable before the mark is removed
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
