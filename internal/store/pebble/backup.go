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

// Checkpoint makes a store in dir, which must not be there, that holds all that
// is durable now. Where dir is on the same disk its tables are links, which
// cost no space until this store drops them.
func (s *Store) Checkpoint(dir string) error {
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("copy store %s to %s: %w", s.dir, dir, err)
	}
	return nil
}

// Restore copies a store that nobody has open into a folder that is not there.
// A copy that is broken off is refused when it is opened.
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

// SetEpoch tells everybody who holds a cursor that positions begin anew, as
// they do when a store goes back in time.
func (s *Store) SetEpoch(epoch string) error {
	return s.set(metaKey(metaEpoch), row.Text.Encode(nil, &epoch))
}

// unfinished is the file that stands in a store while it is being filled.
const unfinished = "UNFINISHED"

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

func finish(fs vfs.FS, dir string) error {
	err := syncFolder(fs, dir) // what was filled in, before the mark goes
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

func syncFolder(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
