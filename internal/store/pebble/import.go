package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
)

// importBatch is how many bytes are written at a time.
const importBatch = 4 << 20

// contents are the kinds of all that a store holds beside what it is given
// when it is made.
var contents = []byte{
	kindUser, kindHead, kindMember, kindMessage, kindID, kindAnswer, kindSent,
	kindReceipt, kindList, kindDeleting, kindEnding, kindEvent, kindPosition,
}

// Import takes in the records of another store; see core.Importer. The batches
// on the way are not synced: until the last one is, a file says that the store
// is unfinished.
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

// end writes the resource with everything else there, and waits for the disk.
func (im *importer) end() error {
	if im.resource.ID == "" {
		return errors.New("the records name no resource")
	}
	im.batch.Set(metaKey(metaResource), encodeText(nil, im.resource.ID), nil)
	for i, k := range im.resource.Keys {
		if len(k.Secret) > 0 {
			im.batch.Set(keyKey(i), encodeKey(nil, k), nil)
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
var errNotUndone = errors.New("what was imported so far could not be taken back")

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

// put writes the rows of a record, with those that follow from it.
func (im *importer) put(record core.Record) error {
	switch r := record.(type) {
	case core.Resource:
		im.resource = r
		return nil
	case core.User:
		im.change(&core.Outcome{Change: &core.Change{PutUsers: []core.User{r}}}, nil)
		return nil
	case core.Head:
		im.key, im.value = headKey(im.key[:0], r.ID), encodeHead(im.value[:0], &r)
		im.set()
		im.ending(0, &r)
		return nil
	case core.ThreadMember:
		return im.member(r)
	case core.ThreadMessage:
		if err := im.in(r.Thread); err != nil {
			return err
		}
		im.message(r.Thread, &r.Message)
		return nil
	case core.ThreadAnswer:
		im.key, im.value = answerKey(im.key[:0], r.Thread), encodeAnswer(im.value[:0], &r.CreateAnswer)
		im.set()
		return im.in(r.Thread)
	case core.SentToken:
		im.key, im.value = sentKey(im.key[:0], r.SendKey), encodeNumber(im.value[:0], uint64(r.MessageID))
		im.set()
		return im.in(r.Thread)
	case core.ThreadReceipt:
		im.key, im.value = receiptKey(im.key[:0], r.Thread, r.User), encodeReceipt(im.value[:0], &r.Receipt)
		im.set()
		return im.in(r.Thread)
	case core.Event:
		return im.event(r)
	}
	return fmt.Errorf("records of type %T are not known", record)
}

// member also makes the entry in the user's list: a thread that was left stands
// there as it was then.
func (im *importer) member(r core.ThreadMember) error {
	if err := im.in(r.Thread); err != nil {
		return err
	}
	im.key, im.value = memberKey(im.key[:0], r.Thread, r.User), encodeMember(im.value[:0], &r.Member)
	im.set()
	on := im.head.LastMessageOn
	if r.Left != nil {
		on = r.Left.On
	}
	im.listMove(core.ListMove{User: r.User, Thread: r.Thread, To: core.MinuteOf(on)})
	return nil
}

// event keeps the order of positions that of days too: another engine's writers
// may have had different clocks.
func (im *importer) event(e core.Event) error {
	if e.Position != im.position+1 {
		return fmt.Errorf("event %d of thread %s has position %d in place of %d", e.Number, e.Thread, e.Position, im.position+1)
	}
	im.position, im.day = e.Position, max(im.day, e.Day)
	e.Day = im.day
	im.logged(&e)
	return nil
}

// in sees to it that the thread has a head, which came long before.
func (im *importer) in(thread string) error {
	if im.head.ID == thread {
		return nil
	}
	h, found, err := head(im.store.db, thread)
	if err == nil && !found { // it may still be in the batch
		if err = im.commit(pebble.NoSync); err == nil {
			h, found, err = head(im.store.db, thread)
		}
	}
	if err == nil && !found {
		err = fmt.Errorf("thread %s has rows but no head", thread)
	}
	im.head = h
	return err
}
