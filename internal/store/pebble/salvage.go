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
	Refused string `json:"refused,omitempty"` // the reason why Open refuses the store, or ""
	Lost    []Lost `json:"lost,omitempty"`    // what could not be read
	// Repairs lists the rows that were read but dropped, and the rows that were changed or
	// added because they refer to lost rows.
	Repairs []Repair `json:"repairs,omitempty"`
	// Older is true if older values of rows may have come back, because a lost part of a file
	// may have held newer values or deletions. Deleted messages may be among them.
	Older bool `json:"older,omitempty"`
}

// Lost is a part of a file that could not be read.
type Lost struct {
	File  string `json:"file"`
	What  string `json:"what"`
	Bytes int64  `json:"bytes"` // number of bytes that could not be read; 0 if it is not known
	Rows  int64  `json:"rows"`  // estimated number of rows in these bytes, old values and deletions included; -1 if it is not known
}

// String returns one line that says which part was lost and how large it was.
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

// Repair is one kind of repair, with the number of rows and some of their ids.
type Repair struct {
	What string   `json:"what"`
	Rows int      `json:"rows"`
	IDs  []string `json:"ids"` // which rows, at most repairIDs
}

// repairIDs is the maximum number of rows that a Repair names.
const repairIDs = 20

// String returns one line with the kind of repair, the number of rows and some of their ids.
func (r Repair) String() string {
	more := ""
	if r.Rows > len(r.IDs) {
		more = fmt.Sprintf(", and %d more", r.Rows-len(r.IDs))
	}
	return fmt.Sprintf("%s: %d (%s%s)", r.What, r.Rows, strings.Join(r.IDs, "; "), more)
}

// repaired adds a row to the Repair for what, which it creates if necessary. The format and its
// arguments name the row.
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

// lose adds a part of a file that could not be read to the report. rows is the estimated number of
// rows in that part; -1 means that it is not known.
func (s *Salvaged) lose(file string, bytes, rows int64, format string, args ...any) {
	s.Lost = append(s.Lost, Lost{file, fmt.Sprintf(format, args...), bytes, rows})
	s.Older = s.Older || rows != 0
}

// Salvage reads every row of the store in dir that can still be read. It does not use Pebble to
// open the store, and changes nothing in dir. It calls yield with the records of a store that
// has these rows, in the order of an export; see core.Exporter. Rows that refer to a lost row
// are dropped or changed, so that a store into which the records are imported passes Check.
//
// If several values of a row are found, the one with the highest sequence number is used, whichever
// file has it. Of several values with the same number, the one in the file with the highest number
// is used. If the manifest is lost, some of the files read may be ones that the store no longer
// needs.
//
// Salvage needs room for two copies of the rows in the folder work, which must be empty or not
// exist. on is the file system of that folder. Salvage fails if it cannot lock dir, for example
// because a server has the store open, if a newer Confab wrote the store, or if an import or a
// restore into it did not finish.
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
		return report, err // do not return found: the goroutine of the salvage may still change it
	}
	return found, err
}

// salvageIn does the work of Salvage: r reads the damaged store, and space is the folder for
// the new one.
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

// workSpace is the folder in which Salvage keeps the rows that it has read. The first error of
// its disk ends the salvage: Pebble would repeat a failed flush for ever, while its writers
// wait.
type workSpace struct {
	fs     vfs.FS
	dir    string
	failed chan struct{} // closed at the first failure
	never  chan struct{} // nil, so a receive from it never returns

	once  sync.Once
	first error // the first failure; set before failed is closed
}

// fail stores err, an error of the disk, if it is the first one, and closes w.failed.
func (w *workSpace) fail(err error) {
	w.once.Do(func() {
		w.first = err
		close(w.failed)
	})
}

// fatal stores an error after which Pebble must not continue. It never returns.
func (w *workSpace) fatal(err error) {
	w.fail(err)
	<-w.never
}

// errGivenUp is wrapped by the error of run if run returns while the work may still be running.
var errGivenUp = errors.New("the salvage was given up")

// cancelWait is how long run waits for the work to end after the context is cancelled. The work
// may never end if the disk does not answer.
const cancelWait = 10 * time.Second

// run calls work in another goroutine. It returns when work returns, when the disk fails, or
// cancelWait after ctx is done. In the last two cases the goroutine may keep running, the error
// wraps errGivenUp, and yield is not called any more.
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
			if err != nil { // the disk has failed: err may be a consequence of that, so return the failure
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

// failure returns the error that run returns after the disk has failed with the error w.first. It
// wraps core.ErrStorageFull if the disk is full.
func (w *workSpace) failure() error {
	if !errors.Is(w.first, syscall.ENOSPC) {
		return fmt.Errorf("write to the folder for the work %s: %w", w.dir, w.first)
	}
	usage, _ := w.fs.GetDiskUsage(w.dir) // ignore the error: usage is zero if the file system cannot tell it
	return fmt.Errorf("%w: %d bytes are free in the folder for the work %s, which needs room for two copies of the rows: %v", core.ErrStorageFull, usage.AvailBytes, w.dir, w.first)
}

// values is a Pebble store with the values and the deletions of all rows in all files. A key in
// db is the length of the row's key (2 bytes), the row's key, and the complements of the
// sequence number and of the file's number (8 bytes each), so that the newest value of a row
// comes first. The first byte of a value is 1, or 0 for a deletion.
type values struct {
	db     *pebble.DB
	batch  *pebble.Batch
	key    []byte
	value  []byte
	ranges []deletedRange
	bounds [][]byte // bounds of fragments: a value with a key from bounds[i] to bounds[i+1] is deleted if its sequence number is less than newest[i]
	newest []uint64
}

// deletedRange deletes all values with a lower sequence number whose keys are in the range from
// start (included) to end (excluded).
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

// add adds a value or a deletion of a row, found in the file with this number. It copies key
// and value.
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

// fragment computes v.bounds and v.newest from v.ranges. The method each uses them to find the
// newest range deletion of a key by binary search.
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

// fragmentOf returns the index of the fragment that contains the key, or -1 if none does.
func (v *values) fragmentOf(key []byte) int {
	return sort.Search(len(v.bounds), func(i int) bool { return string(v.bounds[i]) > string(key) }) - 1
}

// each calls f for each row whose newest entry is not a deletion, with that value and the
// number of the file that has it.
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

// mender writes the rows that were salvaged into a new store, and changes them so that they do
// not contradict each other.
type mender struct {
	ctx    context.Context
	store  *Store
	work   *workSpace
	raw    *values
	report *Salvaged
	writer
	rows int // number of rows written

	erased  map[string]bool          // users whose erasure ended
	threads map[string]*threadEvents // for each thread id, the facts about the thread in the event log
	custom  map[string]core.User     // the users who have custom ids, by custom id
}

// threadEvents has the facts about one thread in the event log.
type threadEvents struct {
	last    uint64 // the greatest number of an event
	deleted int64  // time at which the thread was deleted, or 0
	written uint64 // number of the last event in the new store
	at      uint64 // position of that event
}

// next commits the batch if it is large. Once in checkEvery calls it also returns the error of
// the context.
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

// mend writes all salvaged rows into the new store and repairs them.
func (m *mender) mend() error {
	m.erased, m.threads, m.custom = map[string]bool{}, map[string]*threadEvents{}, map[string]core.User{}
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

// take writes a row into the new store if the row can be decoded. It leaves out rows that an
// import derives from other rows, rows that an export does not have, and rows that only the
// damaged store may have, such as its epoch.
func (m *mender) take(key, value []byte, _ uint64) error {
	if len(key) == 0 {
		return nil
	}
	var err error
	switch key[0] {
	case kindID, kindSupersededAt, kindList, kindRelisting, kindDeleting, kindCustomID, kindExpiry, kindPosition, kindEndpoint:
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
		if err == nil {
			return m.takeUser(u)
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
	case kindAudit:
		_, err = audits.parse(key, value)
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

// takeUser writes the row of a user. If two users have the same custom id, an older row of one
// of them has come back, in which the user was not deleted yet. The id then stays with the user
// who was created last: ids of users ascend with the time of their creation.
func (m *mender) takeUser(u core.User) error {
	if u.State == core.UserDeleted {
		m.erased[u.ID] = true
	}
	if u.CustomID != "" {
		if was, ok := m.custom[u.CustomID]; ok {
			m.report.repaired("custom ids removed from users, because later ones have them", "%s", was.ID)
			was.CustomID = ""
			users.put(&m.writer, &was)
		}
		m.custom[u.CustomID] = u
	}
	users.put(&m.writer, &u)
	return m.next()
}

// events returns the threadEvents of a thread, which it creates if necessary.
func (m *mender) events(thread string) *threadEvents {
	t := m.threads[thread]
	if t == nil {
		t = &threadEvents{}
		m.threads[thread] = t
	}
	return t
}

// settings reports access keys that were lost. If the resource's id was lost, it takes the id from
// any user's id, or makes a new one.
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
	if found.ID == "" { // any resource id is right, because no row has a user id
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

// anyResource returns the id and the cloud of the resource, taken from the first user id that
// it finds in any row: user ids begin with them. It returns a zero Resource if there is no user
// id.
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

// ignore returns err, or nil if err is other.
func ignore(err, other error) error {
	if errors.Is(err, other) {
		return nil
	}
	return err
}
