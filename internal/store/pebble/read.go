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
	ms, err := members(snap, id)
	if err != nil {
		return nil, err
	}
	return core.NewThread(h, ms), nil
}

func members(r pebble.Reader, thread string) (ms []core.Member, err error) {
	err = scanPrefix(r, memberKey(nil, thread, ""), func(key, value []byte) error {
		m, err := decodeMember(memberOf(key), value)
		ms = append(ms, m)
		return err
	})
	return ms, err
}

// scanPrefix reads all rows whose keys start with a prefix, in order. Key and
// value are good until f returns.
func scanPrefix(r pebble.Reader, prefix []byte, f func(key, value []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	for it.First(); it.Valid() && err == nil; it.Next() {
		err = f(it.Key(), it.Value())
	}
	return errors.Join(err, it.Close())
}

// View returns a thread's head and the row of one of its members.
func (s *Store) View(_ context.Context, thread, member string) (core.View, error) {
	snap := s.durable.acquire()
	defer snap.release()
	return view(snap, thread, member)
}

func view(r pebble.Reader, thread, user string) (v core.View, err error) {
	var found bool
	if v.Head, found, err = head(r, thread); err != nil || !found || user == "" {
		return v, err
	}
	m, found, err := member(r, thread, user)
	if found {
		v.Member = &m
	}
	return v, err
}

func member(r pebble.Reader, thread, user string) (core.Member, bool, error) {
	return get(r, memberKey(nil, thread, user), func(v []byte) (core.Member, error) { return decodeMember(user, v) })
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

// Messages returns a page, newest first, or messages by id. A page reads its own
// keys and a few more, however many messages the thread has.
func (s *Store) Messages(_ context.Context, q core.MessagesQuery) (core.MessagesPage, error) {
	page, _, err := s.messages(q)
	return page, err
}

// messages also returns what the iterator did, for the tests.
func (s *Store) messages(q core.MessagesQuery) (page core.MessagesPage, stats pebble.IteratorStats, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	page.View, err = view(snap, q.Thread, q.Reader)
	if err != nil || page.Head.ID == "" || q.Reader != "" && page.Member == nil {
		return page, stats, err
	}
	for _, id := range q.IDs {
		m, found, err := message(snap, q.Thread, id)
		if err != nil {
			return page, stats, err
		}
		if found && (page.Member == nil || page.Member.Sees(&m)) {
			page.Messages = append(page.Messages, m)
		}
	}
	if q.IDs != nil {
		return page, stats, nil
	}
	if m := page.Member; m != nil {
		q.Since = max(q.Since, m.VisibleFrom())
		if last := m.LastSequence(); last > 0 && (q.Before == 0 || q.Before > last) {
			q.Before = last + 1
		}
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
	bytes, most := 0, cmp.Or(q.Bytes, core.PageBytes)
	for it.Last(); it.Valid(); it.Prev() {
		if bytes += len(it.Value()); bytes > most && len(page.Messages) > 0 {
			page.Next = page.Messages[len(page.Messages)-1].Sequence
			break
		}
		m, err := decodeMessage(number(it.Key()), it.Value())
		if err != nil {
			return page, stats, errors.Join(err, it.Close())
		}
		// Versions fall with the sequence and never lie before the creation,
		// so nothing below is new enough either.
		if m.Version < q.Since {
			break
		}
		if m.CreatedOn < q.Since {
			continue
		}
		if page.Messages = append(page.Messages, m); len(page.Messages) == q.Limit {
			page.Next = m.Sequence
			break
		}
	}
	stats = it.Stats()
	return page, stats, it.Close()
}

// Receipts returns a thread's receipts by time of reading.
func (s *Store) Receipts(_ context.Context, thread, reader string) (page core.ReceiptsPage, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	if page.View, err = view(snap, thread, reader); err != nil {
		return page, err
	}
	err = scanPrefix(snap, receiptKey(nil, thread, ""), func(key, value []byte) error {
		r, err := decodeReceipt(memberOf(key), value)
		page.Receipts = append(page.Receipts, r)
		return err
	})
	slices.SortFunc(page.Receipts, func(a, b core.Receipt) int {
		return cmp.Or(cmp.Compare(a.ReadOn, b.ReadOn), cmp.Compare(a.User, b.User))
	})
	return page, err
}

// Deleting returns the users whose deletion has begun and not ended.
func (s *Store) Deleting(context.Context) (us []core.User, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	err = scanPrefix(snap, []byte{kindDeleting}, func(key, _ []byte) error {
		u, _, err := user(snap, string(key[1:]))
		us = append(us, u)
		return err
	})
	return us, err
}

// Expiring returns the threads that expire first.
func (s *Store) Expiring(_ context.Context, limit int) ([]core.Expiry, error) {
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(kindRange(kindExpiry))
	if err != nil {
		return nil, err
	}
	var es []core.Expiry
	for it.First(); it.Valid() && len(es) < limit; it.Next() {
		e := expiryOf(it.Key())
		h, found, err := head(snap, e.Thread)
		// An entry that does not fit its thread must not stand before those that
		// do; Check reports it. Of a head that cannot be read, the error is for the
		// sweep that reads it next.
		if err != nil || found && h.ExpiresOn() == e.On {
			es = append(es, e)
		}
	}
	return es, it.Close()
}

// Users returns the rows of those of the users that exist.
func (s *Store) Users(_ context.Context, ids []string) (us []core.User, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	for _, id := range ids {
		u, found, err := user(snap, id)
		if err != nil {
			return nil, err
		}
		if found {
			us = append(us, u)
		}
	}
	return us, nil
}

func user(r pebble.Reader, id string) (core.User, bool, error) {
	return get(r, userKey(id), func(v []byte) (core.User, error) { return decodeUser(id, v) })
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
