package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

var (
	_ core.Exporter = (*Store)(nil)
	_ core.Importer = (*Store)(nil)
	_ core.Checker  = (*Store)(nil)
)

// askEvery is the number of rows between two checks of the context.
const askEvery = 1024

// Export yields the rows of one snapshot; see core.Exporter.
func (s *Store) Export(ctx context.Context, yield func(core.Record) error) error {
	snap := s.durable.acquire()
	defer snap.release()
	resource, err := readResource(snap)
	if err != nil {
		return s.damaged("the resource", err)
	}
	if err := yield(resource); err != nil {
		return err
	}
	first, err := firstPosition(snap)
	if err != nil {
		return s.damaged("the event log", err)
	}
	for _, k := range exported(snap, first) {
		if err := s.scan(ctx, snap, k.kind, func(key, value []byte) error {
			record, err := k.read(key, value)
			if err != nil {
				return s.damaged(fmt.Sprintf("row %q", key), err)
			}
			return yield(record)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) damaged(what string, err error) error {
	return fmt.Errorf("store %s is %w: %s: %w", s.dir, ErrDamaged, what, err)
}

// scan calls f for all rows of a kind. Key and value are valid until f returns.
func (s *Store) scan(ctx context.Context, r pebble.Reader, kind byte, f func(key, value []byte) error) error {
	it, err := r.NewIter(kindRange(kind))
	if err != nil {
		return err
	}
	n := 0
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if n++; n%askEvery == 0 {
			err = ctx.Err()
		}
		if err == nil {
			err = f(it.Key(), it.Value())
		}
	}
	if cerr := it.Close(); err == nil && cerr != nil {
		err = s.damaged(fmt.Sprintf("rows of kind %c", kind), cerr)
	}
	return err
}

// exportedKind says how the rows of a kind become records.
type exportedKind struct {
	kind byte
	read func(key, value []byte) (core.Record, error)
}

// exported returns the kinds in the order of core.Record. Positions count from the
// first one that the log still has; after it there are no gaps.
func exported(snap pebble.Reader, first uint64) []exportedKind {
	last := first - 1
	return []exportedKind{
		{kindUser, users.exported},
		{kindHead, func(key, value []byte) (core.Record, error) {
			h, err := heads.decode(key, value)
			h.LastPosition = max(h.LastPosition, first-1) - (first - 1)
			return h, err
		}},
		{kindMember, members.exported}, {kindMessage, messages.exported}, {kindAnswer, answers.exported},
		{kindSent, sent.exported}, {kindReceipt, receipts.exported},
		{kindPosition, func(key, value []byte) (core.Record, error) {
			if last++; number(key) != last {
				return nil, fmt.Errorf("position %d is missing", last)
			}
			e, err := event(snap, key, value)
			e.Position = last - (first - 1)
			return e, err
		}},
	}
}

// firstPosition is the lowest one in the event log, or 1.
func firstPosition(r pebble.Reader) (uint64, error) {
	it, err := r.NewIter(kindRange(kindPosition))
	if err != nil {
		return 0, err
	}
	first := uint64(1)
	if it.First() {
		first = max(number(it.Key()), 1)
	}
	return first, it.Close()
}

// importBatch is how many bytes are written at a time.
const importBatch = 4 << 20

// contents are the kinds of rows that a new store has none of.
var contents = []byte{
	kindUser, kindHead, kindMember, kindMessage, kindID, kindAnswer, kindSent,
	kindReceipt, kindList, kindDeleting, kindExpiry, kindEvent, kindPosition,
}

// Import writes the records of another store; see core.Importer. Only the last
// batch is synced: until then a file marks the store as unfinished.
func (s *Store) Import(ctx context.Context, next func() (core.Record, error)) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if err := s.mustBeEmpty(); err != nil {
		return err
	}
	if err := markUnfinished(s.fs, s.dir); err != nil {
		return err
	}
	im := importer{store: s, writer: writer{batch: s.db.NewBatch()}}
	err := im.take(ctx, next)
	if err != nil {
		err = errors.Join(err, im.undo())
	}
	if errors.Is(err, errNotUndone) {
		return err // and the file stays
	}
	if ferr := finish(s.fs, s.dir); err != nil || ferr != nil {
		return errors.Join(err, ferr)
	}
	s.position, s.day = im.position, im.day
	s.durable.publish(s.snapshot())
	return nil
}

func (s *Store) mustBeEmpty() error {
	for _, kind := range contents {
		it, err := s.db.NewIter(kindRange(kind))
		if err != nil {
			return err
		}
		found := it.First()
		if err := it.Close(); err != nil {
			return err
		}
		if found {
			return fmt.Errorf("store %s is %w: an import needs an empty one", s.dir, core.ErrNotEmpty)
		}
	}
	return nil
}

// importer turns records into rows.
type importer struct {
	store *Store
	writer
	resource core.Resource
	head     core.Head // of the thread that is being read
	position uint64
	day      uint32
}

func (im *importer) take(ctx context.Context, next func() (core.Record, error)) error {
	for n := 1; ; n++ {
		record, err := next()
		if errors.Is(err, io.EOF) {
			return im.end()
		}
		if err == nil && n%askEvery == 0 {
			err = ctx.Err()
		}
		if err == nil {
			err = im.put(record)
		}
		if err == nil && im.batch.Len() > importBatch {
			err = im.commit(pebble.NoSync)
		}
		if err != nil {
			return err
		}
	}
}

// end writes the resource after all other rows, and waits for the disk.
func (im *importer) end() error {
	if im.resource.ID == "" {
		return errors.New("the records name no resource")
	}
	im.batch.Set(metaKey(metaResource), row.Text.Encode(nil, &im.resource.ID), nil)
	for i, k := range im.resource.Keys {
		if len(k.Secret) > 0 {
			im.batch.Set(keyKey(i), row.AccessKey.Encode(nil, &k), nil)
		}
	}
	return im.commit(pebble.Sync)
}

func (im *importer) commit(o *pebble.WriteOptions) error {
	if err := im.store.floor.check(time.Now()); err != nil {
		return err
	}
	if err := im.batch.Commit(o); err != nil {
		return fmt.Errorf("write imported rows: %w", err)
	}
	im.batch.Close()
	im.batch = im.store.db.NewBatch()
	return nil
}

// errNotUndone means that rows of a failed import are left.
var errNotUndone = errors.New("the rows imported so far could not be deleted")

func (im *importer) undo() error {
	im.batch.Close()
	b := im.store.db.NewBatch()
	for _, kind := range contents {
		b.DeleteRange([]byte{kind}, []byte{kind + 1}, nil)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("%w: %w", errNotUndone, err)
	}
	return b.Close()
}

// put writes the rows of a record, and those that are derived from it.
func (im *importer) put(record core.Record) error {
	switch r := record.(type) {
	case core.Resource:
		im.resource = r
		return nil
	case core.User:
		im.user(&r)
		return nil
	case core.Head:
		heads.put(&im.writer, &r)
		im.expiry(0, &r)
		return nil
	case core.ThreadMember:
		return im.member(r)
	case core.ThreadMessage:
		im.message(r.Thread, &r.Message)
		return im.requireHead(r.Thread)
	case core.ThreadAnswer:
		answers.put(&im.writer, &r)
		return im.requireHead(r.Thread)
	case core.SentToken:
		sent.put(&im.writer, &r)
		return im.requireHead(r.Thread)
	case core.ThreadReceipt:
		receipts.put(&im.writer, &r)
		return im.requireHead(r.Thread)
	case core.Event:
		return im.event(r)
	}
	return fmt.Errorf("records of type %T are not known", record)
}

// member also writes the entry in the user's list, at the time of leaving if the
// member has left.
func (im *importer) member(r core.ThreadMember) error {
	if err := im.requireHead(r.Thread); err != nil {
		return err
	}
	members.put(&im.writer, &r)
	on := im.head.LastMessageOn
	if r.Left != nil {
		on = r.Left.On
	}
	im.listMove(&core.ListMove{User: r.User, Thread: r.Thread, To: core.MinuteOf(on)})
	return nil
}

// event raises a day to that of the event before: days must rise with positions, and
// another engine's writers may have had different clocks.
func (im *importer) event(e core.Event) error {
	if e.Position != im.position+1 {
		return fmt.Errorf("event %d of thread %s has position %d instead of %d", e.Number, e.Thread, e.Position, im.position+1)
	}
	im.position, im.day = e.Position, max(im.day, e.Day)
	e.Day = im.day
	im.logged(&e)
	return nil
}

// requireHead fails unless the thread's head was imported.
func (im *importer) requireHead(thread string) error {
	if im.head.ID == thread {
		return nil
	}
	h, found, err := heads.get(im.store.db, core.Head{ID: thread})
	if err == nil && !found { // it may still be in the batch
		if err = im.commit(pebble.NoSync); err == nil {
			h, found, err = heads.get(im.store.db, core.Head{ID: thread})
		}
	}
	if err == nil && !found {
		err = fmt.Errorf("thread %s has rows but no head", thread)
	}
	im.head = h
	return err
}
