package pebble

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
)

// Thread returns the head and all members, or nil.
func (s *Store) Thread(_ context.Context, id string) (*core.Thread, error) {
	snap := s.durable.acquire()
	defer snap.release()
	h, found, err := head(snap, id)
	if err != nil || !found {
		return nil, err
	}
	lower := memberKey(nil, id, "")
	it, err := snap.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(lower)})
	if err != nil {
		return nil, err
	}
	var members []core.Member
	for it.First(); it.Valid(); it.Next() {
		m, err := decodeMember(memberOf(it.Key()), it.Value())
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		members = append(members, m)
	}
	if err := it.Close(); err != nil {
		return nil, err
	}
	slices.SortFunc(members, func(a, b core.Member) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.User, b.User))
	})
	return core.NewThread(h, members), nil
}

// CreateAnswer returns the stored first answer of a create, or nil.
func (s *Store) CreateAnswer(_ context.Context, thread string) (*core.CreateAnswer, error) {
	snap := s.durable.acquire()
	defer snap.release()
	a, _, err := get(snap, answerKey(nil, thread), decodeAnswer)
	return a, err
}

// Message returns a message by its id, with the head's revision.
func (s *Store) Message(_ context.Context, thread string, id int64) (core.Message, uint64, error) {
	snap := s.durable.acquire()
	defer snap.release()
	h, found, err := head(snap, thread)
	if err != nil || !found {
		return core.Message{}, 0, err
	}
	m, _, err := message(snap, thread, id)
	return m, h.Revision, err
}

// message follows the id to the row.
func message(r pebble.Reader, thread string, id int64) (core.Message, bool, error) {
	sequence, found, err := get(r, idKey(nil, thread, id), decodeNumber)
	if err != nil || !found {
		return core.Message{}, false, err
	}
	return get(r, messageKey(nil, thread, sequence), func(v []byte) (core.Message, error) {
		return decodeMessage(sequence, v)
	})
}

// Messages returns a page, newest first. It reads the page's keys and a few
// more, however many messages the thread has.
func (s *Store) Messages(_ context.Context, q core.MessagesQuery) (core.MessagesPage, error) {
	page, _, err := s.messages(q)
	return page, err
}

// messages also returns what the iterator did, for the tests.
func (s *Store) messages(q core.MessagesQuery) (page core.MessagesPage, stats pebble.IteratorStats, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	h, found, err := head(snap, q.Thread)
	if err != nil || !found {
		return page, stats, err
	}
	page.Revision = h.Revision
	if q.Limit <= 0 {
		return page, stats, nil
	}
	lower := messageKey(nil, q.Thread, 0)
	upper := after(lower[:len(lower)-8])
	if q.Before > 0 {
		upper = messageKey(nil, q.Thread, q.Before)
	}
	it, err := snap.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return page, stats, err
	}
	for it.Last(); it.Valid() && len(page.Messages) < q.Limit; it.Prev() {
		m, err := decodeMessage(number(it.Key()), it.Value())
		if err != nil {
			return page, stats, errors.Join(err, it.Close())
		}
		// Versions fall with the sequence and never lie before the creation,
		// so nothing below is new enough either.
		if m.Version < q.Since {
			break
		}
		if m.CreatedOn >= q.Since {
			page.Messages = append(page.Messages, m)
		}
	}
	stats = it.Stats()
	return page, stats, it.Close()
}

// Receipts returns a thread's receipts by time of reading.
func (s *Store) Receipts(_ context.Context, thread string) ([]core.Receipt, uint64, error) {
	snap := s.durable.acquire()
	defer snap.release()
	h, found, err := head(snap, thread)
	if err != nil || !found {
		return nil, 0, err
	}
	lower := receiptKey(nil, thread, "")
	it, err := snap.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(lower)})
	if err != nil {
		return nil, 0, err
	}
	var rs []core.Receipt
	for it.First(); it.Valid(); it.Next() {
		r, err := decodeReceipt(memberOf(it.Key()), it.Value())
		if err != nil {
			return nil, 0, errors.Join(err, it.Close())
		}
		rs = append(rs, r)
	}
	slices.SortFunc(rs, func(a, b core.Receipt) int {
		return cmp.Or(cmp.Compare(a.ReadOn, b.ReadOn), cmp.Compare(a.User, b.User))
	})
	return rs, h.Revision, it.Close()
}

// Deleting returns the users whose deletion has begun and not ended.
func (s *Store) Deleting(context.Context) ([]core.User, error) {
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(kindRange(kindDeleting))
	if err != nil {
		return nil, err
	}
	var users []core.User
	for it.First(); it.Valid(); it.Next() {
		u, err := user(snap, string(it.Key()[1:]))
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		users = append(users, u)
	}
	return users, it.Close()
}

// Ending returns the threads that end first.
func (s *Store) Ending(_ context.Context, limit int) ([]core.Ending, error) {
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(kindRange(kindEnding))
	if err != nil {
		return nil, err
	}
	var es []core.Ending
	for it.First(); it.Valid() && len(es) < limit; it.Next() {
		e := endingOf(it.Key())
		h, found, err := head(snap, e.Thread)
		// An entry that does not fit its thread must not stand before those that
		// do; Check reports it. Of a head that cannot be read, whoever ends the
		// thread is told.
		if err != nil || found && h.EndsOn() == e.On {
			es = append(es, e)
		}
	}
	return es, it.Close()
}

// User returns a user's row.
func (s *Store) User(_ context.Context, id string) (core.User, error) {
	snap := s.durable.acquire()
	defer snap.release()
	return user(snap, id)
}

func user(r pebble.Reader, id string) (core.User, error) {
	u, _, err := get(r, userKey(id), func(v []byte) (core.User, error) { return decodeUser(id, v) })
	u.ID = id
	return u, err
}

// Events returns a piece of the log.
func (s *Store) Events(_ context.Context, after uint64, limit int) (core.EventsPage, error) {
	page := core.EventsPage{Position: after}
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(kindRange(kindPosition))
	if err != nil {
		return page, err
	}
	defer it.Close()
	for ok := it.First(); ok; {
		day := dayOf(it.Key())
		if ok = it.SeekGE(positionKey(nil, day, after+1)); !ok {
			break
		}
		for ; ok && dayOf(it.Key()) == day; ok = it.Next() {
			if len(page.Events) == limit {
				return page, it.Error()
			}
			e, err := event(snap, day, it.Value())
			if err != nil {
				return page, err
			}
			page.Events = append(page.Events, e)
			page.Position = e.Position
		}
	}
	page.Position = max(after, snap.position)
	return page, it.Error()
}

// event follows a position row to the event.
func event(r pebble.Reader, day uint32, value []byte) (core.Event, error) {
	thread, number, err := decodePosition(value)
	if err != nil {
		return core.Event{}, err
	}
	e, found, err := get(r, eventKey(nil, day, thread, number), func(v []byte) (core.Event, error) {
		return decodeEvent(day, thread, number, v)
	})
	if err == nil && !found {
		err = errShort
	}
	return e, err
}

func head(r pebble.Reader, thread string) (core.Head, bool, error) {
	return get(r, headKey(nil, thread), func(v []byte) (core.Head, error) { return decodeHead(thread, v) })
}

// get reads one key; found is false if it is not there.
func get[T any](r pebble.Reader, key []byte, decode func([]byte) (T, error)) (row T, found bool, err error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return row, false, nil
	}
	if err != nil {
		return row, false, err
	}
	defer closer.Close()
	row, err = decode(value)
	return row, err == nil, err
}

// after is the first key behind all that start with prefix.
func after(prefix []byte) []byte {
	upper := bytes.Clone(prefix)
	upper[len(upper)-1]++
	return upper
}
