package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/store/row"
)

// Checked is the result of CheckFolder.
type Checked struct {
	Census            // the census of all rows; zero if a file is damaged
	Faults   int      `json:"faults"`
	Closed   bool     `json:"closed"`                // true if the store was closed, not killed
	Log      int64    `json:"log"`                   // bytes read from the logs
	LeftOver int64    `json:"leftOver"`              // bytes behind the last record of the newest log; they may be an interrupted write
	Strays   []string `json:"unaccounted,omitempty"` // tables that no record of the manifest names, in the store's folder or its folder unaccounted
}

// CheckFolder verifies the store in dir, which no process may have open. It changes nothing in
// the folder. It reads each block of each table, then each row, and calls report for each fault
// with one line that names the table or the row. The error is nil if there is no fault. It
// wraps ErrDamaged if there is one, and is a *Damage that names the file if Open would refuse
// the store. It wraps ErrInUse, ErrNewer or core.ErrUnfinished if one of these is the reason.
func CheckFolder(ctx context.Context, dir string, o Options, report func(fault string)) (c Checked, err error) {
	s, unlock, err := readFolder(dir, o)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	opts := s.options(o)
	opts.EnsureDefaults()
	in, err := inspect(s.fs, dir, opts)
	if err != nil {
		return c, err
	}
	c.Closed, c.Log, c.LeftOver, c.Strays = in.hasMark && in.mark.closed, in.logBytes, in.leftOver, in.strays()
	aside, err := in.aside()
	if err != nil {
		return c, err
	}
	c.Strays = append(c.Strays, aside...)
	if in.current == 0 {
		return c, &Damage{Dir: dir, What: "there is no store in the folder"}
	}
	damaged := func() error {
		return &Damage{Dir: dir, What: fmt.Sprintf("it has %d faults", c.Faults)}
	}
	for _, number := range sorted(in.manifest.tables) {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		name := fileName("", number, tableSuffix)
		if err := checkTable(s.fs, s.fs.PathJoin(dir, name), opts); err != nil {
			c.Faults++
			report(fmt.Sprintf("%s: %s; requests for rows in it answer 500", name, firstLine(err)))
		}
	}
	if c.Faults > 0 { // do not read the rows: each row missing from a damaged table would count as a fault too
		return c, damaged()
	}
	opts.ReadOnly = true
	if s.db, err = pebble.Open(dir, opts); err != nil {
		return c, s.openError(err)
	}
	defer func() { err = errors.Join(err, s.db.Close()) }()
	if v, _, err := value(s.db, metaKey(metaSchema), row.Number); err == nil && v > schema {
		return c, newer(dir, "it has schema %d, this version knows up to %d", v, schema)
	}
	c.Census, err = check(ctx, s.db, func(fault string) error {
		c.Faults++
		report(fault)
		return nil
	})
	if err == nil && c.Faults > 0 {
		err = damaged()
	}
	return c, err
}

// firstLine returns the first line of an error's text.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// checkTable reads every block of a table and returns the first error.
func checkTable(fs vfs.FS, path string, opts *pebble.Options) error {
	t, err := openTable(fs, path, opts)
	if err != nil {
		return err
	}
	return errors.Join(t.ValidateBlockChecksums(), t.Close())
}

func openTable(fs vfs.FS, path string, opts *pebble.Options) (*sstable.Reader, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	t, err := newTableReader(r, opts)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return t, nil
}

// newTableReader opens a table for reading. It returns an error if Pebble panics because of
// damage that it does not expect.
func newTableReader(r objstorage.Readable, opts *pebble.Options) (t *sstable.Reader, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it cannot be read: %v", p)
		}
	}()
	return sstable.NewReader(context.Background(), r, opts.MakeReaderOptions())
}

// newBlobReader opens a file of values for reading. It returns an error if Pebble panics
// because of damage that it does not expect.
func newBlobReader(r objstorage.Readable, opts *pebble.Options) (b *blob.FileReader, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it cannot be read: %v", p)
		}
	}()
	return blob.NewFileReader(context.Background(), r, blob.FileReaderOptions{ReaderOptions: opts.MakeReaderOptions().ReaderOptions})
}

// readFolder locks the folder of a store that is not open, and returns a Store with which commands
// read the folder's files. It fails if the folder does not exist or cannot be locked.
func readFolder(dir string, o Options) (s *Store, unlock func() error, err error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	fs := readOnlyFS{o.FS}
	if _, err := fs.Stat(dir); err != nil {
		return nil, nil, fmt.Errorf("read the store's folder: %w", err)
	}
	lock, err := pebble.LockDirectory(dir, fs)
	if err != nil {
		return nil, nil, lockError(dir, err)
	}
	s = &Store{fs: fs, dir: dir, lock: lock, disk: &disk{FS: fs, dir: dir}, log: discard, fatal: func(err error) { panic(err) }}
	return s, lock.Close, nil
}

// lockError returns the error for a failed attempt to lock the folder dir. It wraps ErrInUse if
// another process holds the lock.
func lockError(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "lock held"):
		return fmt.Errorf("store %s: %w", dir, ErrInUse)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("store %s: this user may not lock or write its folder; run this as the user of the server: %w", dir, err)
	}
	return fmt.Errorf("lock the store's folder: %w", err)
}

// readOnlyFS is a file system on which every change fails.
type readOnlyFS struct{ vfs.FS }

func (readOnlyFS) refuse(name string) error {
	return &os.PathError{Op: "write", Path: name, Err: syscall.EROFS}
}

// Create fails, because the file system is read-only.
func (f readOnlyFS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, f.refuse(name)
}

// Link fails, because the file system is read-only.
func (f readOnlyFS) Link(_, name string) error { return f.refuse(name) }

// OpenReadWrite fails, because the file system is read-only.
func (f readOnlyFS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, f.refuse(name)
}

// Remove fails, because the file system is read-only.
func (f readOnlyFS) Remove(name string) error { return f.refuse(name) }

// RemoveAll fails, because the file system is read-only.
func (f readOnlyFS) RemoveAll(name string) error { return f.refuse(name) }

// Rename fails, because the file system is read-only.
func (f readOnlyFS) Rename(name, _ string) error { return f.refuse(name) }

// ReuseForWrite fails, because the file system is read-only.
func (f readOnlyFS) ReuseForWrite(name, _ string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, f.refuse(name)
}

// MkdirAll fails, because the file system is read-only.
func (f readOnlyFS) MkdirAll(name string, _ os.FileMode) error { return f.refuse(name) }

// Unwrap returns nil, so that nobody can reach the wrapped file system and write to it.
func (f readOnlyFS) Unwrap() vfs.FS { return nil }

// Lock locks the file with this name. It does nothing if the file does not exist, or on a disk that
// is mounted read-only: no server can have the store open there.
func (f readOnlyFS) Lock(name string) (io.Closer, error) {
	if _, err := f.FS.Stat(name); errors.Is(err, os.ErrNotExist) {
		return io.NopCloser(nil), nil
	}
	lock, err := f.FS.Lock(name)
	if errors.Is(err, syscall.EROFS) {
		return io.NopCloser(nil), nil
	}
	return lock, err
}
