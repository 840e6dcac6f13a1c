package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

var _ core.Exporter = (*Store)(nil)
var _ core.Importer = (*Store)(nil)
var _ core.Checker = (*Store)(nil)

// checkEvery is the number of rows that are read between two checks of the context.
const checkEvery = 1024

// Export calls yield with each record of the store, all from one snapshot; see core.Exporter.
// The error wraps ErrDamaged if a row cannot be read.
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
	start, err := logStart(snap)
	if err != nil {
		return s.damaged("the event log", err)
	}
	for _, k := range exported(snap, start.Position+1) {
		if err := s.scan(ctx, snap, k.letter, func(key, value []byte) error {
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

// scan calls f for each row of a kind, in key order, and stops at the first error or
// when ctx is done. Key and value are valid only until f returns.
func (s *Store) scan(ctx context.Context, r pebble.Reader, kind byte, f func(key, value []byte) error) error {
	it, err := r.NewIter(kindRange(kind))
	if err != nil {
		return err
	}
	n := 0
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if n++; n%checkEvery == 0 {
			err = ctx.Err()
		}
		if err == nil {
			err = f(it.Key(), it.Value())
		}
	}
	if cerr := closed(it); err == nil && cerr != nil {
		err = s.damaged(fmt.Sprintf("rows of kind %c", kind), cerr)
	}
	return err
}

// recordKind is a kind of row, and a function that makes the record of an export from a row.
type recordKind struct {
	letter byte
	read   func(key, value []byte) (core.Record, error)
}

// recordsOf returns the recordKind of a kind whose decoded rows are the exported records.
func recordsOf[T core.Record](k kind[T]) recordKind {
	return recordKind{k.letter, func(key, value []byte) (core.Record, error) { return k.decode(key, value) }}
}

// exported returns the exported kinds of rows in the order that core.Record describes. first is the
// first position in the event log. The export numbers positions anew: first becomes 1, the next
// position 2, and so on. A gap between positions is an error.
func exported(snap pebble.Reader, first uint64) []recordKind {
	last := first - 1
	return []recordKind{
		recordsOf(users),
		{kindHead, func(key, value []byte) (core.Record, error) {
			h, err := heads.decode(key, value)
			h.LastPosition = max(h.LastPosition, first-1) - (first - 1)
			return h, err
		}},
		recordsOf(members), recordsOf(messages), recordsOf(superseded), recordsOf(answers), recordsOf(sent), recordsOf(receipts),
		{kindPosition, func(key, value []byte) (core.Record, error) {
			if last++; number(key) != last {
				return nil, fmt.Errorf("position %d is missing", last)
			}
			e, err := event(snap, key, value)
			e.Position, e.Check = last-(first-1), 0
			if e.Thread == "" {
				e.Number = e.Position
			}
			return e, err
		}},
		recordsOf(audits),
	}
}

// importBatch is the size, in bytes, from which on an import commits its batch.
const importBatch = 4 << 20

// contents has the letters of those kinds of rows that only a used store has. A new store has no
// row of these kinds.
var contents = []byte{
	kindUser, kindHead, kindMember, kindMessage, kindID, kindSuperseded, kindSupersededAt, kindAnswer, kindSent,
	kindReceipt, kindList, kindRelisting, kindDeleting, kindCustomID, kindExpiry, kindEvent, kindPosition, kindEndpoint, kindAudit,
}

// Import writes the records of an export into the store, which must be empty; see core.Importer. It
// syncs only the last batch, which makes all earlier ones durable too. Until then, the file
// UNFINISHED marks the store as incomplete.
func (s *Store) Import(ctx context.Context, next func() (core.Record, error)) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if err := s.mustBeEmpty(ctx); err != nil {
		return err
	}
	if err := markUnfinished(s.fs, s.dir); err != nil {
		return err
	}
	im := importer{store: s, writer: writer{batch: s.db.NewBatch()}}
	if err := im.take(ctx, next); err != nil {
		return errors.Join(err, im.undo())
	}
	if err := finish(s.fs, s.dir); err != nil {
		return err
	}
	s.position, s.day = im.position, im.day
	s.durable.publish(s.snapshot())
	return nil
}

// mustBeEmpty fails with core.ErrNotEmpty if the store has a row of a kind in contents.
func (s *Store) mustBeEmpty(ctx context.Context) error {
	notEmpty := func(_, _ []byte) error {
		return fmt.Errorf("store %s is %w: an import needs an empty one", s.dir, core.ErrNotEmpty)
	}
	for _, kind := range contents {
		if err := s.scan(ctx, s.db, kind, notEmpty); err != nil {
			return err
		}
	}
	return nil
}

// importer is the state of one import.
type importer struct {
	store *Store
	writer
	resource core.Resource
	head     core.Head // head of the thread of the last record
	position uint64    // of the last event
	day      uint32    // of the last event
	named    int       // users with a custom id
}

// take writes the records that next returns, until next returns io.EOF.
func (im *importer) take(ctx context.Context, next func() (core.Record, error)) error {
	for n := 1; ; n++ {
		record, err := next()
		if errors.Is(err, io.EOF) {
			return im.end()
		}
		if err == nil && n%checkEvery == 0 {
			err = ctx.Err()
		}
		if err == nil {
			err = im.put(record)
		}
		if err == nil && im.batch.Len() > importBatch {
			err = im.store.commitNext(&im.writer, pebble.NoSync)
		}
		if err != nil {
			return err
		}
	}
}

// end writes the resource and the access keys as the last rows, and returns when all rows are
// durable. It fails if none of the records was a resource.
func (im *importer) end() error {
	if im.resource.ID == "" {
		return errors.New("the records name no resource")
	}
	if err := im.checkCustomIDs(); err != nil {
		return err
	}
	im.batch.Delete(metaKey(metaCloud), nil)
	setResource(im.batch, im.resource)
	for i, k := range im.resource.Keys {
		if len(k.Secret) > 0 {
			im.batch.Set(keyKey(i), row.AccessKey.Encode(nil, &k), nil)
		}
	}
	return im.store.commitNext(&im.writer, pebble.Sync)
}

// checkCustomIDs fails if two of the imported users have the same custom id: then the index of
// custom ids has fewer entries than there are users with one.
func (im *importer) checkCustomIDs() error {
	if im.named == 0 {
		return nil
	}
	if err := im.store.commitNext(&im.writer, pebble.NoSync); err != nil {
		return err
	}
	n := 0
	err := customIDs.each(im.store.db, "", func(core.User) error {
		n++
		return nil
	})
	if err == nil && n != im.named {
		err = fmt.Errorf("%d users have custom ids, but there are only %d different custom ids", im.named, n)
	}
	return err
}

// undo deletes all imported rows. If that fails, the store stays marked as unfinished, and Open
// will refuse it.
func (im *importer) undo() error {
	im.batch.Close()
	b := im.store.db.NewBatch()
	for _, kind := range contents {
		b.DeleteRange([]byte{kind}, []byte{kind + 1}, nil)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("the rows imported so far could not be deleted: %w", err)
	}
	return errors.Join(b.Close(), finish(im.store.fs, im.store.dir))
}

// put adds the row of a record to the batch, and the rows that are derived from it:
// message ids, sequences of superseded messages, expiry times, list entries and positions.
func (im *importer) put(record core.Record) error {
	switch r := record.(type) {
	case core.Resource:
		im.resource = r
	case core.User:
		im.user(&r)
		if r.CustomID != "" {
			im.named++
			delete(im.custom, r.ID) // an import writes each user once
		}
	case core.Head:
		heads.put(&im.writer, &r)
		im.expiry(0, &r)
	case core.ThreadMember:
		return im.member(r)
	case core.ThreadMessage:
		im.message(r.Thread, &r.Message)
		return im.requireHead(r.Thread)
	case core.ThreadSuperseded:
		im.keep(&r)
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
	case core.Audit:
		audits.put(&im.writer, &r)
	default:
		return fmt.Errorf("records of type %T are not known", record)
	}
	return nil
}

// member adds the row of a member, and an entry in the user's list of threads. The entry has the
// time of the thread's last message, or the time of leaving if the member has left.
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

// event adds the rows of an event, whose position must follow the position of the previous event.
// Servers with different clocks may have written the exported store, so the day of the event may be
// earlier than the day of the previous one. The event then gets the later day, because positions
// are sorted by day.
func (im *importer) event(e core.Event) error {
	if e.Position != im.position+1 {
		return fmt.Errorf("event %d of thread %s has position %d instead of %d", e.Number, e.Thread, e.Position, im.position+1)
	}
	im.position, im.day = e.Position, max(im.day, e.Day)
	e.Day = im.day
	im.putEvent(&e)
	return nil
}

// requireHead fails unless the thread's head was imported.
func (im *importer) requireHead(thread string) error {
	if im.head.ID == thread {
		return nil
	}
	h, found, err := heads.get(im.store.db, core.Head{ID: thread})
	if err == nil && !found { // the head's row may still be in the batch, which is not committed yet
		if err = im.store.commitNext(&im.writer, pebble.NoSync); err == nil {
			h, found, err = heads.get(im.store.db, core.Head{ID: thread})
		}
	}
	if err == nil && !found {
		err = fmt.Errorf("thread %s has rows but no head", thread)
	}
	im.head = h
	return err
}
