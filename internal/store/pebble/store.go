package pebble

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
	"github.com/confab-chat/confab/sdk/communication"
)

// layout is the version of the keys. Version 2 added the keys x, the index of threads
// by expiry time, and version 3 the keys s and v, superseded messages and their index.
const layout = 3

// schema is the version of keys and row formats that this binary writes. Open refuses
// a store with a greater schema, which a newer Confab wrote, and upgrades a store with
// a smaller one.
var schema = layout + row.Formats()

var schemaValue = func() []byte { v := schema; return row.Number.Encode(nil, &v) }()

// lanes is the number of batches that may be in flight: while one waits for the disk,
// the other collects changes.
const lanes = 2

// memTables is the maximum number of memtables: tables in memory with the rows that
// are not flushed to files yet.
const memTables = 3

// Options of Open; the zero value works.
type Options struct {
	// FS is the file system of the store's folder; nil is that of the operating system.
	FS vfs.FS
	// Initial has the resource's GUID, the epoch and the access keys for a new
	// store. An existing store keeps its own.
	Initial core.Resource
	// MinFree is the disk space, in bytes, that stays free: writes that could take it fail
	// with core.ErrStorageFull. They fail earlier, because a store takes space in advance;
	// see Floor.
	MinFree uint64
	// ReadOnly means that Open and the store change nothing in the folder, for reads, Export
	// and Check. They need no free space. They lock the folder only if it has the file of a
	// lock, which a backup does not have. A store of an older schema is not upgraded. A
	// write is fatal.
	ReadOnly bool
	// Logger logs background errors and upgrades; nil discards them.
	Logger *slog.Logger
	// Fatal is called when the write-ahead log or the disk fails, so that nobody
	// can tell which batches are durable. It must end the process; nil panics.
	Fatal func(error)
	// CacheSize is the size of the block cache in bytes; 0 is 64 MiB.
	CacheSize int64
	// MemTableSize is the size, in bytes, at which a memtable is flushed to a
	// file; 0 is 32 MiB, or less on a disk below 2 GiB. There are up to three memtables.
	// A store that is only read needs little; the block cache uses the memory that
	// memtables do not.
	MemTableSize uint64

	// MaxOpenFiles is about the most files that the store has open at a time; 0 is 1,000. At
	// least 64 tables stay open.
	MaxOpenFiles int

	background func(error) // is told of failed flushes and compactions, unless it is nil
}

// NewMem returns a new, empty file system in memory, for Options.FS. The store's data
// is lost when the process ends.
func NewMem() vfs.FS { return vfs.NewMem() }

// Errors of Open that an operator can act on.
var (
	// ErrInUse means that another process has opened the store.
	ErrInUse = errors.New("in use by another process")
	// ErrDamaged means that files or rows are missing, unreadable or inconsistent.
	ErrDamaged = errors.New("damaged")
	// ErrNewer means that a newer version of Confab wrote the store.
	ErrNewer = errors.New("written by a newer version of Confab")
)

// discard is the logger of stores without Options.Logger.
var discard = slog.New(slog.DiscardHandler)

// Store is an open store of the embedded engine. It implements core.Store. Its methods
// may be called at the same time, except for Import and Close.
type Store struct {
	db    *pebble.DB
	lock  *pebble.Lock
	mark  *mark
	fs    vfs.FS
	dir   string
	log   *slog.Logger
	fatal func(error)
	told  func(error) // Options.background
	disk  *disk

	opening *opening // nil if the files are only read

	durable durable    // the snapshot that reads use
	keys    sync.Mutex // held by SetKey

	// applying is locked while a batch is checked, numbered and appended to the
	// write-ahead log, so that each batch is checked against all earlier ones. It
	// guards the fields below.
	applying sync.Mutex
	position uint64 // of the last event
	day      uint32 // of the last event, as in the keys of the event log
	batches  uint64 // number of batches logged since the store was opened
	key      []byte // buffer of write
	value    []byte // buffer of write, of at most maxKeptValue
}

var _ core.Store = (*Store)(nil)

// Open opens the store in dir, or creates it if dir is missing or empty. It upgrades a
// store of an older schema. It reads the manifest and the logs before Pebble does, and
// fails with *Damage, without a change to the folder, if files are missing or not whole.
// The error wraps ErrInUse, ErrDamaged, ErrNewer, core.ErrUnfinished or
// core.ErrStorageFull where one of them is the reason. After core.ErrStorageFull, or
// another error of the disk, the folder can stay locked until the process ends.
func Open(dir string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.ReadOnly {
		o.FS = readOnlyFS{o.FS}
	} else if err := o.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store's folder: %w", err)
	}
	lock, err := pebble.LockDirectory(dir, o.FS)
	if err != nil {
		return nil, lockError(dir, err)
	}
	usage, _ := o.FS.GetDiskUsage(dir) // zero if the file system cannot tell
	o.MemTableSize = cmp.Or(o.MemTableSize, memTableFor(usage.TotalBytes))
	s := &Store{lock: lock, fs: o.FS, dir: dir, log: cmp.Or(o.Logger, discard), told: o.background, disk: &disk{
		FS: o.FS, dir: dir, keep: leftByTables(o.MemTableSize), floor: saturated(o.MinFree, reserve(o.MemTableSize)), closing: make(chan struct{}),
	}}
	if !o.ReadOnly {
		err = s.disk.mayStart()
	}
	if err == nil {
		err = s.openOrGiveUp(o)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// opening decides where a fatal error goes. While the store is opened, the first one ends
// Open; afterwards, it goes to Options.Fatal.
type opening struct {
	fatal  func(error)   // Options.Fatal
	failed chan struct{} // closed at the first error
	never  chan struct{} // nil, so that nothing comes from it; tests close it

	mu    sync.Mutex // guards the fields below
	ended bool       // Open returns
	first error      // the first error before that
}

// fail takes a fatal error. It does not return if the error ends Open, or comes after one
// that did: Pebble would go on as if nothing had failed.
func (o *opening) fail(err error) {
	o.mu.Lock()
	if o.ended && o.first == nil {
		o.mu.Unlock()
		o.fatal(err)
		return
	}
	if o.first == nil {
		o.first = err
		close(o.failed)
	}
	o.mu.Unlock()
	<-o.never
}

// end ends the opening, and returns the error that came meanwhile, or nil.
func (o *opening) end() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	return o.first
}

// going reports whether the store is still being opened.
func (o *opening) going() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.ended
}

// openOrGiveUp calls open, and fails with the first error of the disk that comes meanwhile.
// Pebble would wait in open until a flush succeeds, which it tries for ever, and does not
// return from a failed write of the log or the manifest. Then the goroutines of open stay
// blocked, and the lock stays held.
func (s *Store) openOrGiveUp(o Options) error {
	s.opening = &opening{fatal: o.Fatal, failed: make(chan struct{})}
	s.fatal = s.opening.fail
	opened := make(chan error, 1)
	go func() { opened <- s.open(o) }()
	var err error
	select {
	case err = <-opened:
	case <-s.opening.failed:
	}
	if failed := s.opening.end(); failed != nil { // even if open has returned: nothing can be written any more
		return s.disk.notStarted(failed)
	}
	return err
}

func (s *Store) open(o Options) error {
	opts := s.options(o)
	opts.EnsureDefaults()
	found, err := inspect(s.fs, s.dir, opts)
	if err != nil {
		return err
	}
	if !o.ReadOnly {
		watched, err := found.prepare(s.log)
		if err != nil {
			return err
		}
		watched.FS = s.disk
		s.mark, opts.FS = watched.mark, watched
	}
	if s.db, err = pebble.Open(s.dir, opts); err != nil {
		return errors.Join(s.openError(err), s.closeMark(false))
	}
	start := s.start
	if o.ReadOnly {
		start = s.startReading
	}
	if err := start(o.Initial); err != nil {
		return errors.Join(err, s.closeFiles())
	}
	s.durable.publish(s.snapshot())
	return nil
}

// openError returns the error for one of pebble.Open. Most damage is found before that.
func (s *Store) openError(err error) error {
	switch {
	case pebble.IsCorruptionError(err) || errors.Is(err, os.ErrNotExist) || errors.Is(err, vfs.ErrUnsupported):
		return s.damaged("", err)
	case strings.Contains(err.Error(), "format major version"):
		return newer(s.dir, "%w", err)
	}
	return s.disk.notStarted(err)
}

// closeFiles closes Pebble, and notes in the mark that it was closed.
func (s *Store) closeFiles() error {
	err := s.db.Close()
	return errors.Join(err, s.closeMark(err == nil))
}

// closeMark notes in the mark whether the store was closed, unless it was only read.
func (s *Store) closeMark(ok bool) error {
	if s.mark == nil {
		return nil
	}
	return s.mark.close(ok)
}

func (s *Store) options(o Options) *pebble.Options {
	memTableSize := o.MemTableSize
	opts := &pebble.Options{
		FS:           s.disk,
		Lock:         s.lock,
		ReadOnly:     o.ReadOnly,
		Logger:       logger{s.log, s.fatal},
		MaxOpenFiles: cmp.Or(o.MaxOpenFiles, 1000),
		// Fixed, so that a later Pebble does not upgrade the files: an upgrade cannot
		// be undone.
		FormatMajorVersion: pebble.FormatValueSeparation,
		// Pebble subtracts the memtables from the cache's size, so add them. Without
		// that, two full memtables of 32 MiB would use up a cache of 64 MiB.
		CacheSize: cmp.Or(o.CacheSize, 64<<20) + int64(memTables*memTableSize),
		// Large memtables make a start after a crash slower, because it reads them
		// from the write-ahead log; small ones make compactions rewrite more bytes.
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: memTables,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               int64(bottom * memTableSize),
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		EventListener: &pebble.EventListener{
			BackgroundError: s.backgroundError,
			// The process goes on with a damaged file; reads of its rows fail.
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				s.log.Error("store: a file is damaged, so reads of its rows fail", "file", i.Path, "error", i.Details, "next", new(Damage).Remedy())
			},
			FlushEnd: func(i pebble.FlushInfo) {
				s.disk.flushed(i)
				s.flushFailed(i.Err)
			},
			CompactionEnd: func(i pebble.CompactionInfo) {
				s.disk.compacted(i)
				if errors.Is(i.Err, syscall.ENOSPC) { // which Pebble does not report; see noSpace
					s.backgroundError(i.Err)
				}
			},
		},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		opts.Levels[i].BlockSize = 16 << 10
	}
	return opts
}

// backgroundError logs why a flush or a compaction failed. Pebble tries it again; until a
// flush succeeds, writes are refused.
func (s *Store) backgroundError(err error) {
	if s.told != nil {
		s.told(err)
	}
	s.log.Error("store: background work failed, and writes may be refused until it succeeds", "error", plain{err})
}

// plain is an error without the stack that a log would print of Pebble's errors.
type plain struct{ err error }

func (p plain) Error() string { return p.err.Error() }
func (p plain) Unwrap() error { return p.err }

// flushFailed gives up the opening of the store if a flush fails meanwhile, unless a table is
// damaged. Open waits for a flush, but not for a compaction.
func (s *Store) flushFailed(err error) {
	if err != nil && !emptyTable(err) && s.opening != nil && s.opening.going() && !pebble.IsCorruptionError(err) {
		s.fatal(err)
	}
}

// start compares the store's schema with this binary's, upgrades an older store, and
// reads the last position of the event log. It writes the first rows of a new store.
func (s *Store) start(initial core.Resource) error {
	v, found, err := value(s.db, metaKey(metaSchema), row.Number)
	switch {
	case err != nil:
		return s.damaged("the schema's row", err)
	case found && v > schema:
		return newer(s.dir, "it has schema %d, this version knows up to %d", v, schema)
	case !found:
		return s.create(initial)
	case v < schema:
		if err := s.upgrade(v); err != nil {
			return fmt.Errorf("upgrade store %s from schema %d to %d: %w", s.dir, v, schema, err)
		}
	}
	return s.readPosition()
}

// startReading is start for a store that is opened with Options.ReadOnly.
func (s *Store) startReading(core.Resource) error {
	v, found, err := value(s.db, metaKey(metaSchema), row.Number)
	switch {
	case err != nil:
		return s.damaged("the schema's row", err)
	case !found:
		return fmt.Errorf("store %s is empty: no server has ever finished its first start there", s.dir)
	case v > schema:
		return newer(s.dir, "it has schema %d, this version knows up to %d", v, schema)
	}
	return s.readPosition()
}

// readPosition reads the day and the position of the last event.
func (s *Store) readPosition() error {
	last, err := positions.last(s.db)
	if err != nil {
		return err
	}
	floor, err := logStart(s.db)
	s.day, s.position = last.Day, max(last.Position, floor.Position)
	return err
}

// create writes the schema, the resource, the epoch and the access keys.
func (s *Store) create(r core.Resource) error {
	b := s.db.NewBatch()
	b.Set(metaKey(metaSchema), schemaValue, nil)
	setResource(b, r)
	b.Set(metaKey(metaEpoch), row.Text.Encode(nil, &r.Epoch), nil)
	for i, k := range r.Keys {
		b.Set(keyKey(i), row.AccessKey.Encode(nil, &k), nil)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("write the first rows of store %s: %w", s.dir, err)
	}
	return nil
}

// Lanes returns the number of batches that the caller should keep in flight.
func (s *Store) Lanes() int { return lanes }

// Resource returns the resource's id, the epoch of the event log and the access keys.
func (s *Store) Resource(context.Context) (core.Resource, error) {
	snap := s.durable.acquire()
	defer snap.release()
	return readResource(snap)
}

// setResource adds the rows of the resource's id and cloud to a batch. It does not replace
// the row of another cloud by none.
func setResource(b *pebble.Batch, r core.Resource) {
	b.Set(metaKey(metaResource), row.Text.Encode(nil, &r.ID), nil)
	if cloud := r.Cloud.String(); r.Cloud != communication.CloudPublic {
		b.Set(metaKey(metaCloud), row.Text.Encode(nil, &cloud), nil)
	}
}

// readResource reads the resource's id and cloud, the epoch of the event log and the access
// keys from db.
func readResource(db pebble.Reader) (r core.Resource, err error) {
	r.ID, _, err = value(db, metaKey(metaResource), row.Text)
	if err == nil {
		var cloud string
		var found bool
		if cloud, found, err = value(db, metaKey(metaCloud), row.Text); found && err == nil {
			r.Cloud, err = communication.ParseCloud(cloud)
		}
	}
	if err == nil {
		r.Epoch, _, err = value(db, metaKey(metaEpoch), row.Text)
	}
	for i := 0; err == nil && i < len(r.Keys); i++ {
		r.Keys[i], _, err = value(db, keyKey(i), row.AccessKey)
	}
	return r, err
}

// SetKey replaces the access key at index, 0 or 1, if the stored serial is k.Serial - 1,
// and returns the stored key when it is durable.
func (s *Store) SetKey(_ context.Context, index int, k core.AccessKeyRow) (core.AccessKeyRow, error) {
	s.keys.Lock()
	defer s.keys.Unlock()
	stored, _, err := value(s.db, keyKey(index), row.AccessKey)
	if err != nil {
		return core.AccessKeyRow{}, fmt.Errorf("read access key %d: %w", index, err)
	}
	if stored.Serial != k.Serial-1 {
		return stored, nil
	}
	if err := s.set(keyKey(index), row.AccessKey.Encode(nil, &k)); err != nil {
		return core.AccessKeyRow{}, fmt.Errorf("write access key %d: %w", index, err)
	}
	return k, nil
}

// Compact flushes the memtables and compacts all tables. It is for measurements.
func (s *Store) Compact(ctx context.Context) error {
	return s.db.Compact(ctx, []byte{0}, []byte{0xff}, false)
}

// Close waits for background work, closes the store and unlocks its folder.
func (s *Store) Close() error {
	close(s.disk.closing)
	s.durable.now.release()
	return errors.Join(s.closeFiles(), s.lock.Close())
}

// kindRange returns iterator options whose bounds enclose all keys of a kind.
func kindRange(kind byte) *pebble.IterOptions { return prefixRange(kind, "") }

// prefixRange returns iterator options whose bounds enclose all keys of a kind that
// start with prefix after the letter.
func prefixRange(kind byte, prefix string) *pebble.IterOptions {
	lower := append([]byte{kind}, prefix...)
	return &pebble.IterOptions{LowerBound: lower, UpperBound: prefixEnd(lower)}
}

// logger is the logger that Pebble gets: it logs Pebble's errors, drops its frequent
// info messages, and passes fatal errors to fatal.
type logger struct {
	log   *slog.Logger
	fatal func(error)
}

func (l logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	l.log.Error("store: the engine reports an error", "error", report{format, fmt.Sprintf(format, args...)})
}

// report is an error that Pebble only logs. It wraps the format of its text, which is the
// same for all errors of a kind, so that a log can tell repeated ones from others.
type report struct{ format, text string }

func (r report) Error() string { return r.text }
func (r report) Unwrap() error { return errors.New(r.format) }

func (l logger) Fatalf(format string, args ...any) {
	l.fatal(fmt.Errorf(format, args...))
}
