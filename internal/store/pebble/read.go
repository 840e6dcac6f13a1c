package pebble

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// Thread returns a thread with all its members, or nil if it does not exist.
func (s *Store) Thread(_ context.Context, id string) (*core.Thread, error) {
	snap := s.durable.acquire()
	defer snap.release()
	h, found, err := heads.get(snap, core.Head{ID: id})
	if err != nil || !found {
		return nil, err
	}
	ms, err := membersOf(snap, id)
	if err != nil {
		return nil, err
	}
	return core.NewThread(h, ms), nil
}

// membersOf returns the rows of all members of a thread, those who have left included, in the
// order of user ids.
func membersOf(r pebble.Reader, thread string) (ms []core.Member, err error) {
	err = members.each(r, part(thread), func(m core.ThreadMember) error {
		ms = append(ms, m.Member)
		return nil
	})
	return ms, err
}

// View returns a thread's head and the row of one member. The head is zero if the thread does
// not exist. The member is nil if the user has no row in the thread, or if member is "".
func (s *Store) View(_ context.Context, thread, member string) (core.View, error) {
	snap := s.durable.acquire()
	defer snap.release()
	return view(snap, thread, member)
}

// view reads a thread's head and the row of one member from r. The head is zero if the thread
// does not exist. The member is nil if the user has no row in the thread, or if user is "".
func view(r pebble.Reader, thread, user string) (v core.View, err error) {
	h, found, err := heads.get(r, core.Head{ID: thread})
	if err != nil || !found {
		return v, err
	}
	v.Head = h
	if user == "" {
		return v, nil
	}
	m, found, err := members.get(r, core.ThreadMember{Thread: thread, Member: core.Member{User: user}})
	if found {
		v.Member = &m.Member
	}
	return v, err
}

// message reads a message by its id: it looks up the sequence, then the row at that
// sequence. The bool is false if there is no such message.
func message(r pebble.Reader, thread string, id int64) (core.Message, bool, error) {
	at, found, err := ids.get(r, core.ThreadMessage{Thread: thread, Message: core.Message{ID: id}})
	if err == nil && found {
		at, found, err = messages.get(r, at)
	}
	return at.Message, found, err
}

// Messages returns a page of messages, newest first, or the messages with the ids q.IDs; see
// core.Store. Besides the rows of the page it reads few keys, however many messages the thread has.
func (s *Store) Messages(_ context.Context, q core.MessagesQuery) (core.MessagesPage, error) {
	page, _, err := s.messages(q)
	return page, err
}

// messages returns the page that Messages returns, and statistics of the keys that it read, for
// tests.
func (s *Store) messages(q core.MessagesQuery) (page core.MessagesPage, stats pebble.IteratorStats, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	page.View, err = view(snap, q.Thread, q.Reader)
	if err != nil || page.Head.ID == "" || q.Reader != "" && page.Member == nil {
		return page, stats, err
	}
	if q.IDs != nil {
		page.Messages, err = collect(q.IDs, func(id int64) (core.Message, bool, error) {
			m, found, err := message(snap, q.Thread, id)
			if err != nil || !found || page.Member == nil || page.Member.Sees(&m) {
				return m, found, err
			}
			return versionFor(snap, page.Member, q.Thread, id)
		})
		return page, stats, err
	}
	stats, err = fillPage(snap, q, &page)
	return page, stats, err
}

// fillPage adds to the page the messages that q selects and page.Member may read, newest first, and
// sets page.Next. If page.Member is nil, it adds all messages that q selects. It returns statistics
// of the keys that it read.
func fillPage(r pebble.Reader, q core.MessagesQuery, page *core.MessagesPage) (stats pebble.IteratorStats, err error) {
	if m := page.Member; m != nil {
		q.Since = max(q.Since, m.VisibleFrom())
		if m.Left != nil && (q.Before == 0 || q.Before > m.Left.Sequence) {
			q.Before = m.Left.Sequence + 1
		}
	}
	bounds := prefixRange(kindMessage, part(q.Thread))
	if q.Before > 0 {
		bounds.UpperBound = messages.key(nil, &core.ThreadMessage{Thread: q.Thread, Message: core.Message{Sequence: q.Before}})
	}
	it, err := r.NewIter(bounds)
	if err != nil {
		return stats, err
	}
	defer func() { err = errors.Join(err, closed(it)) }()
	old := versions{r: r, member: page.Member, thread: q.Thread}
	defer func() { err = errors.Join(err, old.close()) }()
	if err := old.open(q.Before); err != nil {
		return stats, err
	}
	var m core.Message
	bytes, most := 0, cmp.Or(q.Bytes, core.PageBytes)
	for ok := it.Last(); ; {
		floor := uint64(0) // sequence of the next message, or 0 if no message is left; find reads only superseded versions above it
		if ok {
			floor = number(it.Key())
		}
		if err := old.find(floor); err != nil {
			return stats, err
		}
		if !ok && old.at == 0 {
			break
		}
		older := old.at > floor
		size, err := old.or(older, it, &m)
		if err != nil {
			return stats, err
		}
		if bytes += size; bytes > most && len(page.Messages) > 0 {
			page.Next = page.Messages[len(page.Messages)-1].Sequence
			break
		}
		// Stop here. Messages are read newest first, so all remaining messages have lower versions,
		// except for deleted superseded messages. No message was created after its version, so all
		// remaining messages were created before q.Since.
		if m.Version < q.Since {
			break
		}
		if m.CreatedOn >= q.Since {
			if page.Messages == nil {
				page.Messages = make([]core.Message, 0, min(q.Limit, int(page.Head.LastSequence)))
			}
			if page.Messages = append(page.Messages, m); len(page.Messages) == q.Limit {
				page.Next = m.Sequence
				break
			}
		}
		if older {
			old.next()
		} else {
			ok = it.Prev()
		}
	}
	return it.Stats(), nil
}

// Receipts returns a thread's read receipts in the order of the times of reading, together with
// the thread's head and the member row of reader.
func (s *Store) Receipts(_ context.Context, thread, reader string) (page core.ReceiptsPage, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	if page.View, err = view(snap, thread, reader); err != nil {
		return page, err
	}
	err = receipts.each(snap, part(thread), func(r core.ThreadReceipt) error {
		page.Receipts = append(page.Receipts, r.Receipt)
		return nil
	})
	slices.SortFunc(page.Receipts, func(a, b core.Receipt) int {
		return cmp.Or(cmp.Compare(a.ReadOn, b.ReadOn), cmp.Compare(a.User, b.User))
	})
	return page, err
}

// Deleting returns all users whose deletion has begun but is not complete.
func (s *Store) Deleting(context.Context) (us []core.User, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	err = deleting.each(snap, "", func(u core.User) error {
		u, _, err := users.get(snap, u)
		us = append(us, u)
		return err
	})
	return us, err
}

// Expiring returns at most limit threads that have an expiry time, the earliest time first.
func (s *Store) Expiring(_ context.Context, limit int) ([]core.Expiry, error) {
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(kindRange(kindExpiry))
	if err != nil {
		return nil, err
	}
	var es []core.Expiry
	for it.First(); it.Valid() && len(es) < limit; it.Next() {
		e := row.Expiry.DecodeKey(it.Key()[1:])
		h, found, err := heads.get(snap, core.Head{ID: e.Thread})
		// Skip an entry of the index whose thread does not expire at this time. Otherwise many
		// such entries could fill the page and hide the entries behind them. Check reports
		// them. Keep an entry whose head cannot be read: the caller gets that error when it
		// reads the thread.
		if err != nil || found && h.ExpiresOn() == e.On {
			es = append(es, e)
		}
	}
	return es, closed(it)
}

// Users returns the users with these ids, in the order of ids. An id without a user is left out.
func (s *Store) Users(_ context.Context, ids []string) ([]core.User, error) {
	snap := s.durable.acquire()
	defer snap.release()
	return collect(ids, func(id string) (core.User, bool, error) { return users.get(snap, core.User{ID: id}) })
}

// UserByCustomID returns the user who has a custom id, or the zero User if nobody has it.
func (s *Store) UserByCustomID(_ context.Context, customID string) (core.User, error) {
	snap := s.durable.acquire()
	defer snap.release()
	entry, found, err := customIDs.get(snap, core.User{CustomID: customID})
	if err != nil || !found {
		return core.User{}, err
	}
	u, _, err := users.get(snap, core.User{ID: entry.ID})
	return u, err
}

// ListUsers returns at most limit users in ascending order of ids. It begins with the first id that
// is greater than the argument after.
func (s *Store) ListUsers(_ context.Context, after string, limit int) (us []core.User, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(kindRange(kindUser))
	if err != nil {
		return nil, err
	}
	first := append(users.key(nil, &core.User{ID: after}), 0) // the smallest key that is greater than the key of the user with the id after
	if after == "" {
		first = []byte{kindUser}
	}
	for ok := it.SeekGE(first); ok && err == nil && len(us) < limit; ok = it.Next() {
		var u core.User
		if u, err = users.decode(it.Key(), it.Value()); err == nil {
			us = append(us, u)
		}
	}
	return us, errors.Join(err, closed(it))
}

// ListHeads returns at most limit heads of threads in ascending order of ids. It begins with the
// first id that is greater than the argument after.
func (s *Store) ListHeads(_ context.Context, after string, limit int) (found []core.Head, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(kindRange(kindHead))
	if err != nil {
		return nil, err
	}
	first := append(heads.key(nil, &core.Head{ID: after}), 0) // the smallest key that is greater than the key of the thread with the id after
	if after == "" {
		first = []byte{kindHead}
	}
	for ok := it.SeekGE(first); ok && err == nil && len(found) < limit; ok = it.Next() {
		var h core.Head
		if h, err = heads.decode(it.Key(), it.Value()); err == nil {
			found = append(found, h)
		}
	}
	return found, errors.Join(err, closed(it))
}

// collect calls get for each key and returns the rows that exist, in the order of keys.
func collect[K, T any](keys []K, get func(K) (T, bool, error)) (found []T, err error) {
	for _, key := range keys {
		r, ok, err := get(key)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, r)
		}
	}
	return found, nil
}

// event returns the event at a position. key and value are the index row that maps the position to
// the event. It fails with row.ErrDamaged if the event does not exist.
func event(r pebble.Reader, key, value []byte) (core.Event, error) {
	at, err := positions.decode(key, value)
	if err != nil {
		return at, err
	}
	e, found, err := events.get(r, core.Event{Day: at.Day, Thread: at.Thread, Number: at.Number})
	if err == nil && !found {
		err = row.ErrDamaged
	}
	return e, err
}

// prefixEnd returns the smallest key that is greater than all keys that start with
// prefix. The last byte of prefix must not be 0xff.
func prefixEnd(prefix []byte) []byte {
	upper := bytes.Clone(prefix)
	upper[len(upper)-1]++
	return upper
}
