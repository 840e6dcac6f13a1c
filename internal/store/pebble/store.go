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
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
	"github.com/confab-chat/confab/sdk/communication"
)

// layout is the version of the format of keys. Version 2 added keys that begin with x, the
// index of threads by expiry time. Version 3 added s and v, superseded messages and their
// index. Version 4 added w, audit rows. Version 5 added j, threads whose list entries are being
// moved.
const layout = 5

// schema is the version of keys and row formats that this binary writes. Open refuses a store
// with a greater schema, which a newer Confab wrote, and upgrades one with a smaller schema.
var schema = layout + row.Formats()

var schemaValue = func() []byte { v := schema; return row.Number.Encode(nil, &v) }()

// lanes is the number of batches that may be in progress at a time. With one lane, all changes that
// arrive during a sync are in the next batch. With two lanes, they would be in two batches, each
// with a sync of its own. docs/decisions/0017 has the figures.
const lanes = 1

// memTables is the maximum number of memtables: tables in memory with rows that have not been
// flushed to files yet.
const memTables = 3

// Options are the options of Open. The zero value is valid.
type Options struct {
	// FS is the file system of the store's folder; nil means the file system of the operating
	// system.
	FS vfs.FS
	// Initial has the resource's GUID, the epoch and the access keys for a new
	// store. An existing store keeps its own.
	Initial core.Resource
	// MinFree is the disk space, in bytes, that always stays free. Writes that could use it
	// fail with core.ErrStorageFull. They fail even earlier, because a store takes space in
	// advance; see Floor.
	MinFree uint64
	// ReadOnly means that neither Open nor the store changes anything in the folder. Reads,
	// Export and Check work, and need no free space; a write is fatal. The folder is locked
	// only if it has a lock file, which a backup does not have. A store of an older schema is
	// not upgraded.
	ReadOnly bool
	// Logger logs background errors and upgrades; nil discards them.
	Logger *slog.Logger
	// Fatal is called when the write-ahead log or the disk fails, after which nobody can tell
	// which batches are durable. It must end the process. If it is nil, the store panics.
	Fatal func(error)
	// CacheSize is the size of the block cache in bytes while there are two memtables; 0 means 32 MiB.
	// The third memtable takes its memory from the cache.
	CacheSize int64
	// MemTableSize is the size, in bytes, at which a memtable is flushed to a file; 0 means 24
	// MiB, or less on a disk below 1.5 GiB. There are up to three memtables. A store that is only
	// read needs small ones: the block cache then uses the rest of the memory.
	MemTableSize uint64

	// MaxOpenFiles is roughly the maximum number of files that the store has open at a time; 0
	// means 1,000. At least 64 tables stay open.
	MaxOpenFiles int

	background func(error)                       // if not nil, called with the error of each failed flush or compaction
	count      func(pebble.Reader) pebble.Reader // if not nil, wraps the readers that Apply and all other reads use; for tests that count rows
}

// NewMem returns a new, empty file system in memory, for Options.FS. A store in it is lost when
// the process ends.
func NewMem() vfs.FS { return vfs.NewMem() }

// These errors of Open have causes that an operator can remove.
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

// Store is an open store of the embedded engine. It implements core.Store. Goroutines may call
// its methods concurrently, except for Import and Close.
type Store struct {
	db    *pebble.DB
	lock  *pebble.Lock
	mark  *mark
	fs    vfs.FS
	dir   string
	log   *slog.Logger
	fatal func(error)
	told  func(error)                       // Options.background, called after failed background work
	count func(pebble.Reader) pebble.Reader // Options.count
	disk  *disk

	memory    MemoryBounds
	compactor *compactions

	opening  *opening    // the state of Open; nil if the store's files are only read
	stopping atomic.Bool // true after Close was called; then no compaction begins any more

	durable durable    // the snapshot that reads use
	keys    sync.Mutex // held by SetKey

	// applying is held while a batch is checked, numbered and appended to the write-ahead log,
	// so that each batch is checked against all earlier ones. It guards the fields below.
	applying sync.Mutex
	position uint64 // of the last event
	day      uint32 // day of the last event, as in the keys of the event log
	batches  uint64 // number of batches that were logged since the store was opened
	key      []byte // buffer of write
	value    []byte // buffer of the method write; its capacity is at most maxKeptValue
	recent   *core.Recent
	heads    *headCache // heads of threads as the last batch in the log left them
	// relistings has the threads whose list entries are being moved, as of the last batch in the
	// log. relisted is the id of the thread that Relist has worked on last.
	relistings map[string]*core.Relisting
	relisted   string
}

var _ core.Store = (*Store)(nil)

// Open opens the store in dir, or creates it if dir is missing or empty. It upgrades a store of
// an older schema. It reads the manifest and the logs before Pebble does, and if files are
// missing or incomplete, it fails with *Damage and changes nothing in the folder. The error
// wraps ErrInUse, ErrDamaged, ErrNewer, core.ErrUnfinished or core.ErrStorageFull if one of
// them is the reason. After core.ErrStorageFull, or another error of the disk, the folder may
// stay locked until the process ends.
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
	usage, _ := o.FS.GetDiskUsage(dir) // ignore the error: usage is zero if the file system cannot tell it
	o.MemTableSize = cmp.Or(o.MemTableSize, memTableFor(usage.TotalBytes))
	s := &Store{lock: lock, fs: o.FS, dir: dir, log: cmp.Or(o.Logger, discard), told: o.background, count: o.count, recent: core.NewRecent(), heads: newHeadCache(), disk: &disk{
		FS: o.FS, dir: dir, keep: leftByTables(o.MemTableSize), floor: saturated(o.MinFree, reserve(o.MemTableSize)), closing: make(chan struct{}),
		flushFailed: make(chan struct{}, 1),
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

// opening decides what happens to a fatal error. While Open runs, the first one ends Open;
// after that, each is passed to Options.Fatal.
type opening struct {
	fatal  func(error)   // Options.Fatal
	failed chan struct{} // closed at the first error
	never  chan struct{} // nil, so a receive from it never returns; tests set it to a channel that they close later

	mu    sync.Mutex // guards the fields below
	ended bool       // Open has ended
	first error      // the first error while Open ran
	later bool       // true if there was a fatal error after Open had ended
}

// fail handles a fatal error of Pebble. If the error ends Open, or Open has already failed,
// fail never returns: Pebble would continue as if nothing had failed.
func (o *opening) fail(err error) {
	o.mu.Lock()
	if o.ended && o.first == nil {
		o.later = true
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

// end ends the opening. From now on, fatal errors are passed to Options.Fatal. It returns the
// first fatal error so far, or nil.
func (o *opening) end() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	return o.first
}

// going reports whether Open is still running.
func (o *opening) going() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.ended
}

// broken reports whether there was a fatal error after Open had ended.
func (o *opening) broken() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.later
}

// openOrGiveUp calls open in another goroutine. It returns the first fatal error of the disk as
// soon as there is one, or else the result of open. After such an error Pebble may never return
// from open: it repeats a failed flush for ever, and blocks after a failed write of the log or
// the manifest. The goroutine then stays blocked, and the folder stays locked.
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
	if failed := s.opening.end(); failed != nil { // fail even if open has succeeded: after a fatal error nothing can be written any more
		return s.disk.notStarted(failed)
	}
	if err == nil {
		s.compactor.begin()
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
	s.memory = MemoryBounds{Heads: maxHeads, MemTables: int64(memTables * opts.MemTableSize), Blocks: opts.CacheSize}
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

// counted returns r, wrapped by Options.count if that is set.
func (s *Store) counted(r pebble.Reader) pebble.Reader {
	if s.count == nil {
		return r
	}
	return s.count(r)
}

// openError returns the error of Open for err, an error of pebble.Open. Most damage is found
// before pebble.Open is called.
func (s *Store) openError(err error) error {
	switch {
	case pebble.IsCorruptionError(err) || errors.Is(err, os.ErrNotExist) || errors.Is(err, vfs.ErrUnsupported):
		return s.damaged("", err)
	case strings.Contains(err.Error(), "format major version"):
		return newer(s.dir, "%w", err)
	}
	return s.disk.notStarted(err)
}

// closeFiles closes Pebble's files and notes in the mark whether that succeeded.
func (s *Store) closeFiles() error {
	err := s.db.Close()
	return errors.Join(err, s.closeMark(err == nil))
}

// closeMark writes to the mark whether the store was closed without an error (ok), and closes
// the mark: the file that tells the next start how many bytes of each log are durable. closeMark
// does nothing if the store was opened with Options.ReadOnly.
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
		// This version is fixed, so that a later Pebble does not upgrade the files: an upgrade
		// cannot be undone.
		FormatMajorVersion: pebble.FormatValueSeparation,
		// Pebble subtracts the size of the memtables from that of the cache, so add that of two
		// here: one is written, and one is flushed or kept for the next. There is a third one only
		// while a flush is slow.
		CacheSize: cmp.Or(o.CacheSize, 32<<20) + int64(2*memTableSize),
		// With large memtables, a start after a crash takes longer, because it reads their rows
		// from the write-ahead log. With small ones, compactions rewrite more bytes.
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: memTables,
		// Pebble compacts level 0 when half of this number of tables overlap. With fewer, each
		// message is rewritten more often; with more, a page has to search more tables.
		L0CompactionThreshold:      12,
		L0StopWritesThreshold:      24,
		LBaseMaxBytes:              int64(bottom * memTableSize),
		CompactionConcurrencyRange: s.compactionRange,
		EventListener: &pebble.EventListener{
			BackgroundError: s.backgroundError,
			// The process continues with a damaged file. Reads of its rows fail.
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				s.log.Error("store: a file is damaged, so reads of its rows fail", "file", i.Path, "error", i.Details, "next", new(Damage).Remedy())
			},
			FlushEnd: func(i pebble.FlushInfo) {
				s.disk.flushed(i)
				s.flushFailed(i.Err)
			},
			CompactionEnd: func(i pebble.CompactionInfo) {
				s.disk.compacted(i)
				if errors.Is(i.Err, syscall.ENOSPC) { // Pebble does not report this error to BackgroundError; see noSpace
					s.backgroundError(i.Err)
				}
			},
		},
	}
	s.compactor = newCompactions(func() bool { return s.opening != nil && s.opening.going() })
	opts.Experimental.CompactionScheduler = s.compactor
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		opts.Levels[i].BlockSize = 16 << 10
	}
	return opts
}

// compactionRange returns the least and the greatest number of compactions at a time. While the
// store is being closed, no compaction may begin, because Pebble would wait for its end. The number
// is then -1: it cannot be 0, because Pebble divides by it.
func (s *Store) compactionRange() (least, most int) {
	if s.stopping.Load() {
		return -1, -1
	}
	return 1, 2
}

// backgroundError logs the error of a flush or a compaction. Pebble tries the work again. While
// flushes fail, writes are refused.
func (s *Store) backgroundError(err error) {
	if s.told != nil {
		s.told(err)
	}
	s.log.Error("store: background work failed, and writes may be refused until it succeeds", "error", plain{err})
}

// plain wraps an error so that a log does not print the stack that errors of Pebble have.
type plain struct{ err error }

func (p plain) Error() string { return p.err.Error() }
func (p plain) Unwrap() error { return p.err }

// flushFailed ends Open with err if a flush fails while the store is being opened, unless the
// reason is a damaged table. Otherwise Open would never return, because it waits for flushes.
func (s *Store) flushFailed(err error) {
	if err != nil && !emptyTable(err) && s.opening != nil && s.opening.going() && !pebble.IsCorruptionError(err) {
		s.fatal(err)
	}
}

// start compares the store's schema with this binary's, upgrades an older store, and reads the
// position of the last event. If the store is new, start writes its first rows.
func (s *Store) start(initial core.Resource) error {
	v, found, err := value(s.db, metaKey(metaSchema), row.Number)
	switch {
	case err != nil:
		return s.damaged("the schema's row", err)
	case found && v > schema:
		return newer(s.dir, "it has schema %d, this version knows up to %d", v, schema)
	case !found:
		s.relistings = map[string]*core.Relisting{}
		return s.create(initial)
	case v < schema:
		if err := s.upgrade(v); err != nil {
			return fmt.Errorf("upgrade store %s from schema %d to %d: %w", s.dir, v, schema, err)
		}
	}
	return s.readState()
}

// startReading does the work of start for a store that is opened with Options.ReadOnly. It fails if
// the store is empty or newer than this binary, and reads the position of the last event.
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
	return s.readState()
}

// readState reads the day and the position of the last event, and the threads whose list entries
// are being moved. If these threads cannot be read, it logs that and continues without them: the
// lists of their participants may then show the threads twice, or at an earlier place.
func (s *Store) readState() error {
	s.relistings = map[string]*core.Relisting{}
	if err := relistings.each(s.db, "", func(r core.Relisting) error {
		s.relistings[r.Thread] = &r
		return nil
	}); err != nil {
		s.log.Error("store: a file is damaged, so lists of threads may be wrong", "error", plain{err}, "next", new(Damage).Remedy())
	}
	last, err := positions.last(s.db)
	if err != nil {
		return err
	}
	floor, err := logStart(s.db)
	s.day, s.position = last.Day, max(last.Position, floor.Position)
	return err
}

// create writes the first rows of a new store: the schema, the resource, the epoch and the
// access keys.
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

// setResource adds the rows of the resource's id and cloud to a batch. For the public cloud it
// writes no row, so an existing row of another cloud stays.
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

// SetKey replaces the access key at index, 0 or 1, if the stored key's serial is k.Serial - 1.
// It returns the key that is stored afterwards, when it is durable. It writes the audit rows
// together with the key.
func (s *Store) SetKey(_ context.Context, index int, k core.AccessKeyRow, audit ...core.Audit) (core.AccessKeyRow, error) {
	s.keys.Lock()
	defer s.keys.Unlock()
	stored, _, err := value(s.db, keyKey(index), row.AccessKey)
	if err != nil {
		return core.AccessKeyRow{}, fmt.Errorf("read access key %d: %w", index, err)
	}
	if stored.Serial != k.Serial-1 {
		return stored, nil
	}
	w := writer{batch: s.db.NewBatch()}
	w.batch.Set(keyKey(index), row.AccessKey.Encode(nil, &k), nil)
	w.audits(audit)
	if err := s.commit(w.batch); err != nil {
		return core.AccessKeyRow{}, fmt.Errorf("write access key %d: %w", index, err)
	}
	return k, nil
}

// Compact flushes the memtables and compacts all tables. It is used for measurements.
func (s *Store) Compact(ctx context.Context) error {
	return s.db.Compact(ctx, []byte{0}, []byte{0xff}, false)
}

// Close flushes the memtables, so that the next start need not read their rows from the log. It
// waits for compactions that have begun, closes the store and unlocks its folder.
func (s *Store) Close() error {
	s.stopping.Store(true)
	if err := s.flushToStop(); err != nil {
		s.log.Warn("store: the last rows could not be written to a table, so the next start reads them from the log", "error", plain{err})
	}
	return s.close()
}

// flushToStop flushes the memtables if the store was written to. It fails if the disk has too
// little space or if the flush fails; the rows are then still in the log. It does nothing after a
// fatal error, because Pebble cannot begin a new log then.
func (s *Store) flushToStop() error {
	if s.mark == nil || s.opening.broken() || s.db.Metrics().WAL.BytesIn == 0 {
		return nil
	}
	if err := s.disk.check(0); err != nil {
		return err // without this check, the flush would wait until the disk has space
	}
	select {
	case <-s.disk.flushFailed: // discard the failure of an earlier flush, which has succeeded since then
	default:
	}
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-flushed:
		return nil
	case <-s.disk.flushFailed: // Pebble tries again, perhaps for ever
		return s.disk.failure()
	}
}

// close closes the store without a flush and unlocks its folder.
func (s *Store) close() error {
	close(s.disk.closing)
	s.durable.now.release()
	return errors.Join(s.closeFiles(), s.lock.Close())
}

// kindRange returns iterator options whose bounds enclose all keys of a kind.
func kindRange(kind byte) *pebble.IterOptions { return prefixRange(kind, "") }

// prefixRange returns iterator options whose bounds enclose the keys that begin with the letter
// kind, followed by prefix.
func prefixRange(kind byte, prefix string) *pebble.IterOptions {
	lower := append([]byte{kind}, prefix...)
	return &pebble.IterOptions{LowerBound: lower, UpperBound: prefixEnd(lower)}
}

// logger is the logger given to Pebble. It logs errors, drops the frequent info messages, and
// passes fatal errors to fatal.
type logger struct {
	log   *slog.Logger
	fatal func(error)
}

func (l logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	l.log.Error("store: the engine reports an error", "error", report{format, fmt.Sprintf(format, args...)})
}

// report is an error that Pebble reports only to its logger. It wraps the format string of its
// text, which is the same for all errors of one kind, so that repeated errors can be recognized.
type report struct{ format, text string }

func (r report) Error() string { return r.text }
func (r report) Unwrap() error { return errors.New(r.format) }

func (l logger) Fatalf(format string, args ...any) {
	l.fatal(fmt.Errorf(format, args...))
}
