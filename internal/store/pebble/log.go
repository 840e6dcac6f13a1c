package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// Sequence returns nothing: in this engine, Apply gives events their positions.
func (s *Store) Sequence(context.Context) ([]core.Placed, error) { return nil, nil }

// Tip returns the cursor after the last event of the log.
func (s *Store) Tip(context.Context) (core.Cursor, error) {
	snap := s.durable.acquire()
	defer snap.release()
	return logEnd(snap)
}

// logEnd returns the cursor after the last event in a snapshot.
func logEnd(r pebble.Reader) (core.Cursor, error) {
	end, err := logStart(r)
	if err != nil {
		return end, err
	}
	it, err := r.NewIter(kindRange(kindPosition))
	if err != nil {
		return end, err
	}
	if it.Last() {
		e, err := event(r, it.Key(), it.Value())
		if err != nil {
			return end, errors.Join(err, closed(it))
		}
		end.Position, end.Check = e.Position, e.Check
	}
	return end, closed(it)
}

// logStart returns the cursor right before the first event that has not been trimmed.
func logStart(r pebble.Reader) (c core.Cursor, err error) {
	if c, _, err = value(r, metaKey(metaFloor), row.Floor); err != nil {
		return c, err
	}
	c.Epoch, _, err = value(r, metaKey(metaEpoch), row.Text)
	return c, err
}

// Log returns up to limit events after a cursor, in the order of positions. If the events after the
// cursor are not in the log, the page instead says which kind of gap there is; see core.Store.
func (s *Store) Log(_ context.Context, after core.Cursor, limit int) (page core.LogPage, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	start, err := logStart(snap)
	if err != nil {
		return page, err
	}
	it, err := snap.NewIter(kindRange(kindPosition))
	if err != nil {
		return page, err
	}
	defer func() { err = errors.Join(err, closed(it)) }()

	page.Next, page.Tip = after, snap.position
	ok := seekPosition(it, max(after.Position, start.Position+1))
	switch {
	case after.Epoch != start.Epoch:
		page.Gap = core.GapEpoch
	case after.Position < start.Position:
		page.Gap = core.GapTrimmed
	case after.Position == start.Position:
		if after.Check != start.Check {
			page.Gap = core.GapLost
		}
	case !ok:
		page.Gap = core.GapLost
	default: // the event at the cursor's position must still be in the log, with the cursor's check number
		e, err := event(snap, it.Key(), it.Value())
		if err != nil {
			return page, err
		}
		if e.Position != after.Position || e.Check != after.Check {
			page.Gap = core.GapLost
		}
		ok = it.Next()
	}
	if page.Gap != 0 {
		page.Next, err = logEnd(snap)
		return page, err
	}
	for ; ok && len(page.Events) < limit; ok = it.Next() {
		e, err := event(snap, it.Key(), it.Value())
		if err != nil {
			return page, err
		}
		page.Events = append(page.Events, e)
		page.Next.Position, page.Next.Check = e.Position, e.Check
	}
	return page, nil
}

// LogBefore returns up to limit events whose positions are less than the argument before, the
// greatest position first; see core.Store. It needs one seek for each day of the log after that
// position.
func (s *Store) LogBefore(_ context.Context, before uint64, limit int) (found []core.Event, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(kindRange(kindPosition))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closed(it)) }()
	ok := it.Last()
	for ok && before != 0 && number(it.Key()) >= before { // skip the positions of this day that are greater than or equal to the argument before
		day := row.Position.DecodeKey(it.Key()[1:]).Day
		ok = it.SeekLT(positions.key(nil, &core.Event{Day: day, Position: before}))
	}
	for ; ok && len(found) < limit; ok = it.Prev() {
		e, err := event(snap, it.Key(), it.Value())
		if err != nil {
			return nil, err
		}
		found = append(found, e)
	}
	return found, nil
}

// seekPosition moves an iterator over the keys of positions to the first position that is at
// least p, and reports whether there is one. It needs one seek for each day of the log before
// that position.
func seekPosition(it *pebble.Iterator, p uint64) bool {
	ok := it.First()
	for ok && number(it.Key()) < p { // skip the positions of this day that are less than p
		day := row.Position.DecodeKey(it.Key()[1:]).Day
		ok = it.SeekGE(positions.key(nil, &core.Event{Day: day, Position: p}))
	}
	return ok
}

// errLongList means that a user's list has more threads than the log has threads with new events.
var errLongList = errors.New("the user's list has more threads than the log has with new events")

// mostRows is the greatest number of events that News reads from the log. News keeps their threads
// in memory, about 100 bytes for each.
const mostRows = 1 << 16

// News returns up to limit threads of a user's list that have events after the position after;
// see core.Store. It reads two keys for each thread in the list. For a thread with such events
// it reads one more key and these events. If the list turns out to be long, News reads the events
// of the log after the position instead, whoever may see them, and one key for each of their
// threads. It does about twice the work of the cheaper of the two ways, or less.
func (s *Store) News(ctx context.Context, user string, after uint64, limit int) ([]core.News, error) {
	news, _, err := s.news(ctx, user, after, limit)
	return news, err
}

// news returns what News returns, and the number of keys that it read, for tests.
func (s *Store) news(ctx context.Context, user string, after uint64, limit int) (news []core.News, keys int, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	events := snap.position - min(after, snap.position)
	threads := uint64(0)
	var fresh map[string]uint64 // what firstEvents returns, or nil before it is called
	err = lists.each(snap, part(user), func(entry core.ListMove) error {
		keys++
		if threads++; threads%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if len(news) == limit {
			return nil
		}
		if fresh == nil && 4*threads > events && events <= mostRows { // the head of a thread costs more than four rows of the log
			var err error
			if fresh, err = firstEvents(ctx, snap, after); err != nil {
				return err
			}
			keys += int(events)
		}
		if fresh != nil && threads > uint64(len(fresh)) {
			return errLongList
		}
		h, _, err := heads.get(snap, core.Head{ID: entry.Thread})
		keys++
		if err != nil || h.LastPosition <= after {
			return err
		}
		n := core.News{View: core.View{Head: h}}
		m, found, err := members.get(snap, core.ThreadMember{Thread: entry.Thread, Member: core.Member{User: user}})
		keys++
		if err != nil || !found {
			return err
		}
		n.Member = &m.Member
		var read int
		n.First, read, err = firstAfter(snap, h.ID, after)
		keys += read
		if n.First != 0 {
			news = append(news, n)
		}
		return err
	})
	if errors.Is(err, errLongList) {
		var read int
		news, read, err = newsOf(ctx, snap, user, fresh, limit)
		keys += read
	}
	return news, keys, err
}

// firstEvents reads the events of the log after a position. It returns the threads that have such
// events, and the number of the first such event of each.
func firstEvents(ctx context.Context, snap *snapshot, after uint64) (_ map[string]uint64, err error) {
	it, err := snap.NewIter(kindRange(kindPosition))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closed(it)) }()
	first := map[string]uint64{}
	for ok, rows := seekPosition(it, min(after, snap.position)+1), 1; ok; ok, rows = it.Next(), rows+1 {
		if rows%checkEvery == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		e, err := positions.decode(it.Key(), it.Value())
		if err != nil {
			return nil, err
		}
		if e.Thread != "" && first[e.Thread] == 0 { // the end of a user's tokens is an event without a thread
			first[e.Thread] = e.Number
		}
	}
	return first, nil
}

// newsOf returns up to limit of the threads that firstEvents has returned: those in which the user
// has a row. It also returns the number of keys that it read.
func newsOf(ctx context.Context, snap *snapshot, user string, fresh map[string]uint64, limit int) (news []core.News, keys int, err error) {
	for thread, first := range fresh {
		if len(news) == limit {
			break
		}
		if keys++; keys%checkEvery == 0 && ctx.Err() != nil {
			return nil, keys, ctx.Err()
		}
		m, found, err := members.get(snap, core.ThreadMember{Thread: thread, Member: core.Member{User: user}})
		if err != nil {
			return nil, keys, err
		}
		if !found {
			continue
		}
		h, found, err := heads.get(snap, core.Head{ID: thread})
		keys++
		if err != nil {
			return nil, keys, err
		}
		if found {
			news = append(news, core.News{View: core.View{Head: h, Member: &m.Member}, First: first})
		}
	}
	return news, keys, nil
}

// firstAfter returns the number of the first event of a thread after a position, or 0 if there
// is none, and the number of events that it read. It walks back from the thread's newest event,
// because a later event has both a greater number and a greater position.
func firstAfter(r pebble.Reader, thread string, after uint64) (first uint64, read int, err error) {
	it, err := r.NewIter(kindRange(kindEvent))
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, closed(it)) }()
	day := uint32(math.MaxUint32)
	for ok := it.Last(); ok; {
		at := row.Event.DecodeKey(it.Key()[1:])
		if at.Thread != thread { // the iterator is not at an event of this thread: seek one on this day, then on the day before
			if at.Day < day {
				day = at.Day
			} else if day--; day == math.MaxUint32 {
				break
			}
			ok = it.SeekLT(events.key(nil, &core.Event{Day: day, Thread: thread, Number: math.MaxUint64}))
			continue
		}
		day = at.Day
		e, err := events.decode(it.Key(), it.Value())
		read++
		if err != nil || e.Position <= after {
			return first, read, err
		}
		first = e.Number
		ok = it.Prev()
	}
	return first, read, nil
}

// ThreadEvents returns up to limit events of a thread in the order of their numbers. It begins with
// the first event whose number is at least the argument from.
func (s *Store) ThreadEvents(_ context.Context, thread string, from uint64, limit int) (found []core.Event, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(kindRange(kindEvent))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closed(it)) }()
	day := uint32(0)
	for ok := it.First(); ok && len(found) < limit; {
		at := row.Event.DecodeKey(it.Key()[1:])
		if at.Thread != thread || at.Number < from { // the iterator is before the first event to return: seek it on this day, then on the day after
			if at.Day > day {
				day = at.Day
			} else {
				day++
			}
			ok = it.SeekGE(events.key(nil, &core.Event{Day: day, Thread: thread, Number: from}))
			continue
		}
		day = at.Day
		e, err := events.decode(it.Key(), it.Value())
		if err != nil {
			return nil, err
		}
		found = append(found, e)
		ok = it.Next()
	}
	return found, nil
}

// Tell returns each event together with the rows that it refers to; see core.Store.
func (s *Store) Tell(_ context.Context, es []core.Event) ([]core.Happening, error) {
	snap := s.durable.acquire()
	defer snap.release()
	told := make([]core.Happening, len(es))
	type thread struct {
		head    core.Head
		members []core.Member
	}
	threads := map[string]*thread{}
	for i, e := range es {
		told[i].Event = e
		if e.Thread == "" {
			continue
		}
		t := threads[e.Thread]
		if t == nil {
			h, _, err := heads.get(snap, core.Head{ID: e.Thread})
			if err != nil {
				return nil, err
			}
			t = &thread{head: h}
			threads[e.Thread] = t
		}
		if e.Kind.ChangesMembers() && t.members == nil {
			var err error
			if t.members, err = membersOf(snap, e.Thread); err != nil {
				return nil, err
			}
		}
		var m *core.Message
		if id := e.MessageRow(); id != 0 {
			row, found, err := message(snap, e.Thread, id)
			if err != nil {
				return nil, err
			}
			if found {
				m = &row
			}
		}
		told[i].Tell(t.head, t.members, m)
	}
	return told, nil
}

// Trim deletes the events of days before day from the log; see core.Store. It writes the
// deletions and the new start of the log in one batch.
func (s *Store) Trim(_ context.Context, day uint32) error {
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(kindRange(kindPosition))
	if err != nil {
		return err
	}
	if !it.SeekLT(positions.key(nil, &core.Event{Day: day})) {
		return closed(it) // there is nothing to trim: the log has no event before that day
	}
	last, err := event(snap, it.Key(), it.Value())
	if err := errors.Join(err, closed(it)); err != nil {
		return err
	}
	b := s.db.NewBatch()
	b.Set(metaKey(metaFloor), row.Floor.Encode(nil, &core.Cursor{Position: last.Position, Check: last.Check}), nil)
	for _, k := range []byte{kindEvent, kindPosition} {
		b.DeleteRange([]byte{k}, binary.BigEndian.AppendUint32([]byte{k}, day), nil)
	}
	return s.commit(b)
}

// RenewEpoch replaces the epoch of the event log, unless the present epoch differs from was. It
// returns when the new epoch is durable.
func (s *Store) RenewEpoch(_ context.Context, was, epoch string) error {
	now, _, err := value(s.db, metaKey(metaEpoch), row.Text)
	if err != nil || now != was {
		return err
	}
	return s.set(metaKey(metaEpoch), row.Text.Encode(nil, &epoch))
}
