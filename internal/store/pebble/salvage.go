package pebble

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
	"github.com/confab-chat/confab/sdk/communication"
)

// Salvaged is the report of Salvage.
type Salvaged struct {
	Refused string `json:"refused,omitempty"` // why Open refuses the store, or ""
	Lost    []Lost `json:"lost,omitempty"`    // what could not be read
	// Repairs are rows that were read and dropped, and rows that were changed or added
	// because they referred to lost ones.
	Repairs []Repair `json:"repairs,omitempty"`
	// Older is true if older values of rows may have returned: a lost part may have held
	// newer ones, or deletions. Deleted messages can be among them.
	Older bool `json:"older,omitempty"`
}

// Lost is a part of a file that could not be read.
type Lost struct {
	File  string `json:"file"`
	What  string `json:"what"`
	Bytes int64  `json:"bytes"` // number of bytes that could not be read; 0 if it is not known
	Rows  int64  `json:"rows"`  // about how many rows, with old values and deletions, these bytes had; -1 if it is not known
}

// String returns one line.
func (l Lost) String() string {
	s := l.File + ": " + l.What
	if l.Bytes > 0 {
		s += fmt.Sprintf("; %d bytes lost", l.Bytes)
	}
	if l.Rows >= 0 {
		s += fmt.Sprintf(", about %d rows", l.Rows)
	}
	return s
}

// Repair is a kind of repair.
type Repair struct {
	What string   `json:"what"`
	Rows int      `json:"rows"`
	IDs  []string `json:"ids"` // which rows, at most repairIDs
}

// repairIDs is the number of rows that a Repair names.
const repairIDs = 20

// String returns one line.
func (r Repair) String() string {
	more := ""
	if r.Rows > len(r.IDs) {
		more = fmt.Sprintf(", and %d more", r.Rows-len(r.IDs))
	}
	return fmt.Sprintf("%s: %d (%s%s)", r.What, r.Rows, strings.Join(r.IDs, "; "), more)
}

// repaired adds a row to the report.
func (s *Salvaged) repaired(what, format string, args ...any) {
	i := slices.IndexFunc(s.Repairs, func(r Repair) bool { return r.What == what })
	if i < 0 {
		i = len(s.Repairs)
		s.Repairs = append(s.Repairs, Repair{What: what})
	}
	r := &s.Repairs[i]
	if r.Rows++; len(r.IDs) < repairIDs {
		r.IDs = append(r.IDs, fmt.Sprintf(format, args...))
	}
}

// lose adds a part of a file that could not be read.
func (s *Salvaged) lose(file string, bytes, rows int64, format string, args ...any) {
	s.Lost = append(s.Lost, Lost{file, fmt.Sprintf(format, args...), bytes, rows})
	s.Older = s.Older || rows != 0
}

// Salvage reads every row of the store in dir that can still be read, without Pebble's
// help and without a change in dir, and calls yield with the records of a store that has
// these rows, in the order of an export; see core.Exporter. What refers to a lost row is
// dropped or rebuilt, so that an import passes Check.
//
// Of each row, the value with the highest sequence number counts, whichever file has it,
// and then the one in the file with the highest number. Without a manifest these can be
// files that the store needs no more.
//
// It needs room for two copies of the rows in the folder work, which must be empty or not
// exist, on the file system on. It fails if no process may read dir now, if a newer Confab
// wrote the store, or if an import or a restore into it did not finish.
func Salvage(ctx context.Context, dir string, o Options, on vfs.FS, work string, yield func(core.Record) error) (report Salvaged, err error) {
	from, unlock, err := readFolder(dir, o)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := on.MkdirAll(work, 0o700); err != nil {
		return report, fmt.Errorf("make the folder for the work: %w", err)
	}
	opts := from.options(o)
	opts.EnsureDefaults()
	space := &workSpace{fs: on, dir: work, failed: make(chan struct{})}
	found := Salvaged{}
	err = space.run(ctx, yield, func(yield func(core.Record) error) error {
		return salvageIn(ctx, reader{ctx: ctx, fs: from.fs, dir: dir, opts: opts, report: &found}, space, yield)
	})
	if errors.Is(err, errGivenUp) {
		return report, err // the work may still change found
	}
	return found, err
}

// salvageIn is Salvage with a reader of the damaged store and a place to work.
func salvageIn(ctx context.Context, r reader, space *workSpace, yield func(core.Record) error) (err error) {
	fs := space.fs
	raw, err := openRaw(fs, fs.PathJoin(space.dir, "values"), space)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.db.Close()) }()
	r.raw = raw
	if err := r.readAll(); err != nil {
		return err
	}
	to, err := Open(fs.PathJoin(space.dir, "store"), Options{
		FS: fs, CacheSize: 8 << 20, MemTableSize: 4 << 20, Initial: core.Resource{Epoch: "salvage"},
		Fatal: space.fatal, background: space.fail,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	m := mender{ctx: ctx, work: space, store: to, raw: raw, report: r.report, writer: writer{batch: to.db.NewBatch()}}
	if err := m.mend(); err != nil {
		return err
	}
	to.applying.Lock()
	to.durable.publish(to.snapshot())
	to.applying.Unlock()
	return to.Export(ctx, yield)
}

// workSpace is the folder in which a salvage works. Pebble tries a flush that fails again for
// ever, and whoever writes waits meanwhile; so the first failure of the disk ends the work.
type workSpace struct {
	fs     vfs.FS
	dir    string
	failed chan struct{} // closed at the first failure
	never  chan struct{} // nil, so that nothing comes from it

	once  sync.Once
	first error // the first failure; set before failed is closed
}

// fail takes a failure of the disk.
func (w *workSpace) fail(err error) {
	w.once.Do(func() {
		w.first = err
		close(w.failed)
	})
}

// fatal takes a failure after which Pebble must not go on. It does not return.
func (w *workSpace) fatal(err error) {
	w.fail(err)
	<-w.never
}

// errGivenUp marks the errors after which the work was left as it was, and may still go on.
var errGivenUp = errors.New("the salvage was given up")

// cancelWait is the time that the work has to end by itself when it is cancelled. A disk that
// does not answer would hold it for ever.
const cancelWait = 10 * time.Second

// run calls work in another goroutine, and returns when it ends, when the disk fails, or
// cancelWait after ctx is done. In the last two cases the goroutine stays, the error wraps
// errGivenUp, and yield is not called any more.
func (w *workSpace) run(ctx context.Context, yield func(core.Record) error, work func(yield func(core.Record) error) error) error {
	var yielding sync.Mutex
	givenUp := false // guarded by yielding
	ended := make(chan error, 1)
	go func() {
		ended <- work(func(r core.Record) error {
			yielding.Lock()
			defer yielding.Unlock()
			if givenUp {
				return errGivenUp
			}
			return yield(r)
		})
	}()
	late := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(cancelWait, func() { close(late) }) })
	defer stop()
	var err error
	select {
	case err := <-ended:
		select {
		case <-w.failed:
			if err != nil { // it may be a consequence, which says less
				return w.failure()
			}
		default:
		}
		return err
	case <-w.failed:
		err = w.failure()
	case <-late:
		err = ctx.Err()
	}
	yielding.Lock()
	givenUp = true
	yielding.Unlock()
	return fmt.Errorf("%w: %w", errGivenUp, err)
}

// failure returns the error for the first failure. It wraps core.ErrStorageFull if that is a
// lack of space.
func (w *workSpace) failure() error {
	if !errors.Is(w.first, syscall.ENOSPC) {
		return fmt.Errorf("write to the folder for the work %s: %w", w.dir, w.first)
	}
	usage, _ := w.fs.GetDiskUsage(w.dir) // zero if the file system cannot tell
	return fmt.Errorf("%w: %d bytes are free in the folder for the work %s, which needs room for two copies of the rows: %v", core.ErrStorageFull, usage.AvailBytes, w.dir, w.first)
}

// values holds the values of all rows in all files, and the deletions. The key in db is the
// length of the row's key (2 bytes), the key, and the complements of the sequence number
// and of the file's number (8 bytes each), so that the value that counts comes first. A
// byte before the value tells a value from a deletion.
type values struct {
	db     *pebble.DB
	batch  *pebble.Batch
	key    []byte
	value  []byte
	ranges []deletedRange
	bounds [][]byte // of fragments: the keys from bounds[i] to bounds[i+1] are deleted below newest[i]
	newest []uint64
}

// deletedRange is a deletion of all keys from start to before end that have a lower
// sequence number.
type deletedRange struct {
	start, end []byte
	sequence   uint64
}

func openRaw(fs vfs.FS, dir string, space *workSpace) (*values, error) {
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for the work: %w", err)
	}
	db, err := pebble.Open(dir, &pebble.Options{
		FS: fs, DisableWAL: true, MemTableSize: 32 << 20, FormatMajorVersion: pebble.FormatValueSeparation,
		Logger:        logger{discard, space.fatal},
		EventListener: &pebble.EventListener{BackgroundError: space.fail},
	})
	if err != nil {
		return nil, fmt.Errorf("open the store for the work: %w", err)
	}
	return &values{db: db, batch: db.NewBatch()}, nil
}

// add adds a value, or a deletion, of a row. Key and value are copied.
func (v *values) add(key, value []byte, deleted bool, sequence, file uint64) error {
	if len(key) > math.MaxUint16 {
		return nil // no row has such a key
	}
	v.key = binary.BigEndian.AppendUint16(v.key[:0], uint16(len(key)))
	v.key = append(v.key, key...)
	v.key = binary.BigEndian.AppendUint64(v.key, ^sequence)
	v.key = binary.BigEndian.AppendUint64(v.key, ^file)
	v.value = append(v.value[:0], 1)
	if deleted {
		v.value[0] = 0
	}
	v.value = append(v.value, value...)
	if err := v.batch.Set(v.key, v.value, nil); err != nil || v.batch.Len() < importBatch {
		return err
	}
	return v.commit()
}

func (v *values) addRange(start, end []byte, sequence uint64) {
	v.ranges = append(v.ranges, deletedRange{slices.Clone(start), slices.Clone(end), sequence})
}

func (v *values) commit() error {
	err := errors.Join(v.batch.Commit(pebble.NoSync), v.batch.Close())
	v.batch = v.db.NewBatch()
	return err
}

// fragment computes bounds and newest from the ranges.
func (v *values) fragment() {
	for _, r := range v.ranges {
		v.bounds = append(v.bounds, r.start, r.end)
	}
	slices.SortFunc(v.bounds, slices.Compare)
	v.bounds = slices.CompactFunc(v.bounds, func(a, b []byte) bool { return string(a) == string(b) })
	v.newest = make([]uint64, len(v.bounds))
	for _, r := range v.ranges {
		for i := v.fragmentOf(r.start); i >= 0 && i < len(v.bounds) && string(v.bounds[i]) < string(r.end); i++ {
			v.newest[i] = max(v.newest[i], r.sequence)
		}
	}
}

// fragmentOf returns the index of the fragment that has the key, or -1.
func (v *values) fragmentOf(key []byte) int {
	return sort.Search(len(v.bounds), func(i int) bool { return string(v.bounds[i]) > string(key) }) - 1
}

// each calls f with the value that counts of each row that is not deleted, and the number
// of the file that has it.
func (v *values) each(f func(key, value []byte, file uint64) error) error {
	if err := v.commit(); err != nil {
		return err
	}
	v.fragment()
	it, err := v.db.NewIter(nil)
	if err != nil {
		return err
	}
	var last []byte
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		k := it.Key()
		own := k[:len(k)-16]
		if last != nil && string(last) == string(own) {
			continue
		}
		last = append(last[:0], own...)
		sequence := ^binary.BigEndian.Uint64(k[len(k)-16:])
		key, value := own[2:], it.Value()
		if i := v.fragmentOf(key); value[0] == 0 || i >= 0 && v.newest[i] > sequence {
			continue
		}
		err = f(key, value[1:], ^binary.BigEndian.Uint64(k[len(k)-8:]))
	}
	return errors.Join(err, it.Close())
}

// mender writes the rows that were read into a new store, and makes them agree.
type mender struct {
	ctx    context.Context
	store  *Store
	work   *workSpace
	raw    *values
	report *Salvaged
	writer
	rows int // number of rows written

	erased  map[string]bool          // users whose erasure ended
	threads map[string]*threadEvents // what the event log says of each thread in it
}

// threadEvents is what the event log says of a thread.
type threadEvents struct {
	last    uint64 // the greatest number
	deleted int64  // time of its deletion, or 0
	written uint64 // number of the last event in the new store
	at      uint64 // position of that event
}

// next commits the batch if it is large, and checks the context.
func (m *mender) next() error {
	if m.rows++; m.rows%checkEvery == 0 && m.ctx.Err() != nil {
		return m.ctx.Err()
	}
	if m.batch.Len() < importBatch {
		return nil
	}
	return m.flush()
}

func (m *mender) flush() error { return m.store.commitNext(&m.writer, pebble.NoSync) }

// mend fills the new store.
func (m *mender) mend() error {
	m.erased, m.threads = map[string]bool{}, map[string]*threadEvents{}
	if err := m.raw.each(m.take); err != nil {
		return err
	}
	for _, step := range []func() error{m.flush, m.settings, m.mendThreads, m.flush, m.mendEvents, m.flush, m.mendPositions, m.flush} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// take writes a row into the new store if it can be decoded. It leaves out what an import
// derives from other rows, what an export does not have, and what belongs to this store
// only.
func (m *mender) take(key, value []byte, _ uint64) error {
	if len(key) == 0 {
		return nil
	}
	var err error
	switch key[0] {
	case kindID, kindSupersededAt, kindList, kindDeleting, kindExpiry, kindPosition, kindEndpoint:
		return nil
	case kindMeta:
		if name := string(key[1:]); name == metaEpoch || name == metaFloor {
			return nil
		} else if name == metaSchema {
			v, err := row.Number.Decode(value, 0)
			if err == nil && v > schema {
				return fmt.Errorf("the store was %w: it has schema %d, this version knows up to %d", ErrNewer, v, schema)
			}
			return nil
		}
		_, err = row.Text.Decode(value, "")
	case kindKey:
		_, err = row.AccessKey.Decode(value, core.AccessKeyRow{})
	case kindUser:
		var u core.User
		u, err = users.parse(key, value)
		if u.State == core.UserDeleted && err == nil {
			m.erased[u.ID] = true
		}
	case kindHead:
		_, err = heads.parse(key, value)
	case kindMember:
		_, err = members.parse(key, value)
	case kindMessage:
		_, err = messages.parse(key, value)
	case kindSuperseded:
		_, err = superseded.parse(key, value)
	case kindAnswer:
		_, err = answers.parse(key, value)
	case kindSent:
		_, err = sent.parse(key, value)
	case kindReceipt:
		_, err = receipts.parse(key, value)
	case kindEvent:
		var e core.Event
		if e, err = events.parse(key, value); err == nil && e.Thread != "" {
			t := m.events(e.Thread)
			t.last = max(t.last, e.Number)
			if e.Kind == core.ThreadDeleted {
				t.deleted = max(t.deleted, e.At, 1)
			}
		}
	default:
		err = fmt.Errorf("no kind of row has the letter %q", key[0])
	}
	if err != nil {
		m.report.repaired("rows dropped that cannot be decoded", "%q: %v", key, err)
		m.report.Older = true
		return nil
	}
	if err := m.batch.Set(key, value, nil); err != nil {
		return err
	}
	return m.next()
}

// events returns what the event log says of a thread, to be filled.
func (m *mender) events(thread string) *threadEvents {
	t := m.threads[thread]
	if t == nil {
		t = &threadEvents{}
		m.threads[thread] = t
	}
	return t
}

// settings completes the resource's id, from the id of any user, and names access keys
// that were lost.
func (m *mender) settings() error {
	r, err := readResource(m.store.db)
	if err != nil {
		return err
	}
	for i, k := range r.Keys {
		if len(k.Secret) == 0 {
			m.report.repaired("access keys lost; an import makes new ones", "%d", i+1)
		}
	}
	if r.ID != "" {
		return nil
	}
	found, err := m.anyResource()
	if err != nil {
		return err
	}
	if found.ID == "" { // then no user refers to it
		b := make([]byte, 16)
		rand.Read(b)
		found.ID = fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
		m.report.repaired("resource ids made, because no row has the old one", "%s", found.ID)
	} else {
		m.report.repaired("resource ids taken from the id of a user", "%s", found.ID)
	}
	setResource(m.batch, found)
	return m.flush()
}

// anyResource returns the id and the cloud of the resource from the id of any user, which
// begins with them, or a zero Resource.
func (m *mender) anyResource() (r core.Resource, err error) {
	found := errors.New("found")
	take := func(users ...string) error {
		for _, user := range users {
			if id, _, ok := communication.SplitUserID(user); ok {
				r.ID, r.Cloud = id, communication.ParseRawID(user).Cloud()
				return found
			}
		}
		return nil
	}
	db := m.store.db
	for _, rows := range []func() error{
		func() error { return users.each(db, "", func(u core.User) error { return take(u.ID) }) },
		func() error { return members.each(db, "", func(r core.ThreadMember) error { return take(r.User) }) },
		func() error {
			return messages.each(db, "", func(r core.ThreadMessage) error { return take(r.Sender, r.Initiator) })
		},
		func() error { return events.each(db, "", func(e core.Event) error { return take(e.Actor) }) },
	} {
		if err := rows(); err != nil && !errors.Is(err, found) || r.ID != "" {
			return r, ignore(err, found)
		}
	}
	return r, nil
}

// ignore returns err, or nil if it is the other error.
func ignore(err, other error) error {
	if errors.Is(err, other) {
		return nil
	}
	return err
}
