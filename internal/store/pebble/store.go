package pebble

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// layout is the version of the keys. Version 1 had no x.
const layout = 2

// schema is the version of a store: of its keys and of the formats of its rows. A
// store with a greater one was written by a newer Confab and is refused, one with a
// smaller one is upgraded.
var schema = layout + row.Formats()

var schemaValue = func() []byte { v := schema; return row.Number.Encode(nil, &v) }()

// lanes is how many batches may be in flight: while one waits for the disk,
// the other gathers.
const lanes = 2

// memTables is in how many tables the log is held in memory at most.
const memTables = 3

// Options of Open; the zero value works.
type Options struct {
	// FS is where the folder is; nil is the operating system's file system.
	FS vfs.FS
	// Initial is what a new store is given: the resource's GUID, the epoch and
	// the access keys. An existing store keeps its own.
	Initial core.Resource
	// MinFree is the free space, in bytes, below which writes are refused.
	MinFree uint64
	// Logger hears of background errors. Nil is silence.
	Logger *slog.Logger
	// Fatal is told that the log or the disk failed in a way after which
	// nothing can be promised. It must end the process; nil is a panic.
	Fatal func(error)
	// CacheSize is the block cache in bytes; 0 is 64 MiB.
	CacheSize int64
	// MemTableSize is what is held of the log before it is flushed, in bytes, up
	// to three times over; 0 is 32 MiB. A store that is only read needs little,
	// and what it does not use the block cache takes.
	MemTableSize uint64
}

// Errors of Open that a person can mend.
var (
	// ErrInUse means that another process holds the folder.
	ErrInUse = errors.New("in use by another process")
	// ErrDamaged means that files are missing or changed.
	ErrDamaged = errors.New("damaged")
	// ErrNewer means that a newer version wrote the folder.
	ErrNewer = errors.New("written by a newer version of Confab")
)

// discard is a logger for those who want none.
var discard = slog.New(slog.DiscardHandler)

// Store is the embedded engine. See core.Store for its promises.
type Store struct {
	db    *pebble.DB
	lock  io.Closer
	fs    vfs.FS
	dir   string
	log   *slog.Logger
	fatal func(error)
	floor floor

	durable durable // what readers see

	// applying is held while a batch is checked, numbered and put into the
	// log, so that the order of the log is the order of the decisions.
	applying sync.Mutex
	position uint64 // the last one given
	day      uint32 // of the event log
	batches  uint64 // in the log since the start
}

var _ core.Store = (*Store)(nil)

// Open opens the store in dir, or makes it.
func Open(dir string, o Options) (*Store, error) {
	fs := o.FS
	if fs == nil {
		fs = vfs.Default
	}
	s := &Store{fs: fs, dir: dir, log: cmp.Or(o.Logger, discard)}
	s.fatal = o.Fatal
	if s.fatal == nil {
		s.fatal = func(err error) { panic(err) }
	}
	s.floor = floor{fs: fs, dir: dir, least: o.MinFree}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store's folder: %w", err)
	}
	lock, err := pebble.LockDirectory(dir, fs)
	if err != nil {
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || strings.Contains(err.Error(), "lock held") {
			return nil, fmt.Errorf("store %s: %w", dir, ErrInUse)
		}
		return nil, fmt.Errorf("lock the store's folder: %w", err)
	}
	s.lock = lock
	if err := s.open(lock, o); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	return s, nil
}

func (s *Store) open(lock *pebble.Lock, o Options) error {
	if err := s.checkFiles(); err != nil {
		return err
	}
	db, err := pebble.Open(s.dir, s.options(lock, o))
	if err != nil {
		if pebble.IsCorruptionError(err) || errors.Is(err, os.ErrNotExist) || errors.Is(err, vfs.ErrUnsupported) {
			return fmt.Errorf("store %s is %w: %w", s.dir, ErrDamaged, err)
		}
		if strings.Contains(err.Error(), "format major version") {
			return fmt.Errorf("store %s was %w: %w", s.dir, ErrNewer, err)
		}
		return fmt.Errorf("open store %s: %w", s.dir, err)
	}
	s.db = db
	// Reads the head of every file, so that a damaged one is found now and not
	// by its first reader.
	if _, err := db.SSTables(pebble.WithProperties()); err != nil {
		return errors.Join(fmt.Errorf("store %s is %w: %w", s.dir, ErrDamaged, err), db.Close())
	}
	if err := s.start(o.Initial); err != nil {
		return errors.Join(err, db.Close())
	}
	s.durable.publish(s.snapshot())
	return nil
}

// checkFiles refuses a folder that was never filled to the end, and one that
// holds data but not the file that says which data is live: Pebble would take
// it for a new one and tidy the rest away.
func (s *Store) checkFiles() error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return fmt.Errorf("list the store's folder: %w", err)
	}
	has := func(match func(string) bool) bool { return slices.ContainsFunc(names, match) }
	if has(func(n string) bool { return n == unfinished }) {
		return fmt.Errorf("store %s is %w: an import or a restore was broken off in it, so that it does not hold everything; remove it and begin again", s.dir, core.ErrUnfinished)
	}
	data := has(func(n string) bool { return strings.HasSuffix(n, ".sst") || strings.HasPrefix(n, "MANIFEST-") })
	marker := has(func(n string) bool { return strings.HasPrefix(n, "marker.manifest.") })
	if data && !marker {
		return fmt.Errorf("store %s is %w: its file marker.manifest is missing", s.dir, ErrDamaged)
	}
	return nil
}

func (s *Store) options(lock *pebble.Lock, o Options) *pebble.Options {
	memTableSize := cmp.Or(o.MemTableSize, 32<<20)
	opts := &pebble.Options{
		FS:     s.fs,
		Lock:   lock,
		Logger: logger{s.log, s.fatal},
		// Pinned: a later Pebble must not move the files forward by itself,
		// for there is no way back.
		FormatMajorVersion: pebble.FormatValueSeparation,
		// Pebble takes the log in memory out of the cache's size: without room for
		// it, two full tables leave a cache of nothing.
		CacheSize: cmp.Or(o.CacheSize, 64<<20) + int64(memTables*memTableSize),
		// What is in memory is read again from the log after a crash: this is
		// the time to start, against the bytes that compactions rewrite.
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: memTables,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               128 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				s.log.Error("store: background work failed", "error", err)
				s.floor.failed(err)
			},
			// A damaged file costs its own rows, not the process: their readers
			// get an error.
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				s.log.Error("store: a file is damaged", "file", i.Path, "error", i.Details)
			},
			FlushEnd: func(i pebble.FlushInfo) {
				if i.Err == nil {
					s.floor.flushed()
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

// start reads the meta rows, or writes those of a new store.
func (s *Store) start(initial core.Resource) error {
	v, found, err := value(s.db, metaKey(metaSchema), row.Number)
	switch {
	case err != nil:
		return fmt.Errorf("store %s is %w: %w", s.dir, ErrDamaged, err)
	case found && v > schema:
		return fmt.Errorf("store %s was %w: it has schema %d, this version knows up to %d", s.dir, ErrNewer, v, schema)
	case !found:
		return s.create(initial)
	case v < schema:
		if err := s.upgrade(v); err != nil {
			return fmt.Errorf("upgrade store %s from schema %d to %d: %w", s.dir, v, schema, err)
		}
	}
	it, err := s.db.NewIter(kindRange(kindPosition))
	if err != nil {
		return err
	}
	if it.Last() {
		last := row.Position.DecodeKey(it.Key()[1:])
		s.day, s.position = last.Day, last.Position
	}
	return it.Close()
}

func (s *Store) create(r core.Resource) error {
	b := s.db.NewBatch()
	b.Set(metaKey(metaSchema), schemaValue, nil)
	b.Set(metaKey(metaResource), row.Text.Encode(nil, &r.ID), nil)
	b.Set(metaKey(metaEpoch), row.Text.Encode(nil, &r.Epoch), nil)
	for i, k := range r.Keys {
		b.Set(keyKey(i), row.AccessKey.Encode(nil, &k), nil)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("write the first rows of store %s: %w", s.dir, err)
	}
	return nil
}

// Lanes is how many batches the engine wants in flight.
func (s *Store) Lanes() int { return lanes }

// Resource returns the meta rows and the access keys.
func (s *Store) Resource(context.Context) (core.Resource, error) {
	snap := s.durable.acquire()
	defer snap.release()
	return readResource(snap)
}

func readResource(db pebble.Reader) (r core.Resource, err error) {
	if r.ID, _, err = value(db, metaKey(metaResource), row.Text); err != nil {
		return r, err
	}
	if r.Epoch, _, err = value(db, metaKey(metaEpoch), row.Text); err != nil {
		return r, err
	}
	for i := range r.Keys {
		if r.Keys[i], _, err = value(db, keyKey(i), row.AccessKey); err != nil {
			return r, err
		}
	}
	return r, nil
}

// SetKey replaces an access key, durably.
func (s *Store) SetKey(_ context.Context, index int, k core.AccessKeyRow) error {
	return s.set(keyKey(index), row.AccessKey.Encode(nil, &k))
}

// Compact rewrites everything into its final place. It is for measurements.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.db.Flush(); err != nil {
		return err
	}
	return s.db.Compact(ctx, []byte{0}, []byte{0xff}, false)
}

// Close waits for background work and gives the folder free.
func (s *Store) Close() error {
	s.durable.close()
	return errors.Join(s.db.Close(), s.lock.Close())
}

// kindRange are the bounds of all keys of a kind.
func kindRange(kind byte) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}}
}

// logger passes Pebble's words on. It is chatty when nothing is wrong.
type logger struct {
	log   *slog.Logger
	fatal func(error)
}

func (l logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	l.log.Error("store: " + fmt.Sprintf(format, args...))
}

func (l logger) Fatalf(format string, args ...any) {
	l.fatal(fmt.Errorf(format, args...))
}

// floor watches free space, so that writes are refused by name while there is
// still room for the store's own work.
type floor struct {
	fs    vfs.FS
	dir   string
	least uint64

	next atomic.Int64 // when to look again, unix nanoseconds
	low  atomic.Bool  // at the last look
	full atomic.Bool  // a background write found no space
}

// lookEvery is how long a look at the free space is good for.
const lookEvery = time.Second

func (f *floor) check(now time.Time) error {
	if f.full.Load() {
		return fmt.Errorf("%w: no space is left in %s", core.ErrStorageFull, filepath.Dir(f.dir))
	}
	if next := f.next.Load(); now.UnixNano() >= next && f.next.CompareAndSwap(next, now.Add(lookEvery).UnixNano()) {
		usage, err := f.fs.GetDiskUsage(f.dir)
		f.low.Store(err == nil && usage.AvailBytes < f.least) // a file system that cannot tell has no floor
	}
	if f.low.Load() {
		return fmt.Errorf("%w of %d bytes in %s", core.ErrStorageFull, f.least, filepath.Dir(f.dir))
	}
	return nil
}

func (f *floor) failed(err error) {
	if errors.Is(err, syscall.ENOSPC) {
		f.full.Store(true)
	}
}

func (f *floor) flushed() { f.full.Store(false) }
