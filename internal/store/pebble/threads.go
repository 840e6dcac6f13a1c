package pebble

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// Threads returns a page of a user's threads, the one with the newest message first; see
// core.Store. The keys of the list only have the minute of the last message. So Threads reads
// the heads of all threads of a minute and sorts them by their exact times, unless there are more
// than core.MaxSortedMinute.
func (s *Store) Threads(_ context.Context, q core.ThreadsQuery) (core.ThreadsPage, error) {
	page, _, err := s.threads(q)
	return page, err
}

// threads returns the page that Threads returns, and the number of keys that it read, for
// tests.
func (s *Store) threads(q core.ThreadsQuery) (page core.ThreadsPage, keys int, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	l, err := newLister(snap, q)
	if err != nil {
		return page, 0, err
	}
	defer func() { err = errors.Join(err, closed(l.it)) }()
	rest := false
	for !rest && len(l.page.Threads) < q.Limit && l.next() {
		if rest, err = l.minute(); err != nil {
			return page, l.keys, err
		}
	}
	if page = l.page; rest || l.next() {
		page.Next = l.after
	}
	// Sort only now, because page.Next was set to the cursor after the entry that was added last.
	slices.SortFunc(page.Threads, core.NewestFirst)
	if q.Expand != (core.Expand{}) {
		read, err := expand(snap, q, page.Threads)
		return page, l.keys + read, err
	}
	return page, l.keys, nil
}

// lister reads a page of a user's list of threads.
type lister struct {
	r      pebble.Reader
	q      core.ThreadsQuery
	it     *pebble.Iterator
	before core.ThreadEntry // only threads after this one in the order of times are shown
	byID   int64            // the minute of the cursor if it is a cursor by thread id, or else -1
	page   core.ThreadsPage
	after  core.ThreadsCursor // the cursor after the last entry of the page
	keys   int                // that were read

	entry core.ListMove // the next entry of the list
	have  bool          // the list has a next entry

	// late has the moves of list entries that relistings have not made yet. moved has the moves in
	// late from the current entry on. The page shows each moved thread at the minute to which the
	// move leads.
	late, moved []core.ListMove
	indexed     core.ListMove // at the iterator
	valid       bool          // the iterator is at an entry
}

func newLister(r *snapshot, q core.ThreadsQuery) (*lister, error) {
	l := &lister{r: r, q: q, before: core.ThreadEntry{LastMessageOn: math.MaxInt64}, byID: -1}
	end := core.ListMove{User: q.User, To: math.MaxInt64} // the page begins after it
	if minute, ok := q.Before.ByID(); ok {
		l.byID = minute
		end.To, end.Thread = minute, q.Before.Thread
	} else if q.Before != (core.ThreadsCursor{}) { // include the whole minute of the cursor, because the keys of a minute are in the order of ids
		l.before = core.ThreadEntry{Thread: q.Before.Thread, LastMessageOn: q.Before.On}
		end.To = core.MinuteOf(q.Before.On) + 1
	}
	if r.relisted {
		var err error
		if l.late, l.keys, err = lateMoves(r, q.User); err != nil {
			return nil, err
		}
		n, _ := slices.BinarySearchFunc(l.late, end, listOrder)
		if l.moved = l.late[n:]; len(l.moved) > 0 && listOrder(l.moved[0], end) == 0 {
			l.moved = l.moved[1:]
		}
	}
	bounds := prefixRange(kindList, part(q.User))
	bounds.UpperBound = lists.key(nil, &end)
	it, err := r.NewIter(bounds)
	if err != nil {
		return nil, err
	}
	l.it = it
	it.Last()
	l.read()
	l.choose()
	return l, nil
}

// read reads the entry at the iterator, if there is one. It skips entries that a relisting will
// move.
func (l *lister) read() {
	for l.valid = l.it.Valid(); l.valid; l.valid = l.it.Prev() {
		l.keys++
		l.indexed = row.ListEntry.DecodeKey(l.it.Key()[1:])
		if !slices.ContainsFunc(l.late, func(m core.ListMove) bool { return m.Thread == l.indexed.Thread }) {
			return
		}
	}
}

// choose sets l.entry to the next entry of the list, which is either in the index or one that is
// yet to be moved.
func (l *lister) choose() {
	l.entry, l.have = l.indexed, l.valid
	if len(l.moved) > 0 && (!l.valid || listOrder(l.moved[0], l.indexed) < 0) {
		l.entry, l.have = l.moved[0], true
	}
}

// advance goes on to the entry after the present one.
func (l *lister) advance() {
	if len(l.moved) > 0 && l.entry == l.moved[0] {
		l.moved = l.moved[1:]
	} else {
		l.it.Prev()
		l.read()
	}
	l.choose()
}

// next reports whether the list has a next entry whose minute is not before the minute of q.Since.
func (l *lister) next() bool { return l.have && l.entry.To >= core.MinuteOf(l.q.Since) }

// minute adds the threads of the next entry's minute to the page, up to q.Limit in all. It reports
// whether the minute has more threads. In a crowded minute, threads that are not shown because of
// q.Since also count towards the limit, so that a page reads few threads.
func (l *lister) minute() (rest bool, err error) {
	minute, room := l.entry.To, l.q.Limit-len(l.page.Threads)
	most := room + 1
	if minute != l.byID {
		most = max(most, core.MaxSortedMinute+1)
	}
	var threads []string
	for ; l.have && l.entry.To == minute && len(threads) < most; l.advance() {
		threads = append(threads, l.entry.Thread)
	}
	crowded := minute == l.byID || len(threads) > core.MaxSortedMinute
	if rest = crowded && len(threads) > room; rest {
		threads = threads[:room]
	}
	first := len(l.page.Threads)
	for _, thread := range threads {
		l.keys += 2
		e, found, err := listEntry(l.r, l.q.User, thread)
		if err != nil {
			return false, err
		}
		if found && e.LastMessageOn >= l.q.Since && (crowded || core.NewestFirst(l.before, e) < 0) {
			l.page.Threads = append(l.page.Threads, e)
		}
	}
	if crowded {
		l.after = core.CursorByID(minute, threads[len(threads)-1])
		return rest, nil
	}
	slices.SortFunc(l.page.Threads[first:], core.NewestFirst)
	if rest = len(l.page.Threads) > l.q.Limit; rest {
		l.page.Threads = l.page.Threads[:l.q.Limit]
	}
	if n := len(l.page.Threads); n > first {
		l.after = core.ThreadsCursor{On: l.page.Threads[n-1].LastMessageOn, Thread: l.page.Threads[n-1].Thread}
	}
	return rest, nil
}

// ThreadsOf returns at most limit ids of threads in a user's list, in ascending order. It begins
// with the first id that is greater than the argument after. It reads the user's whole list, which
// is in the order of times.
func (s *Store) ThreadsOf(_ context.Context, user, after string, limit int) (ids []string, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	// cut sorts ids, removes duplicates, and drops all but the first limit.
	cut := func() {
		slices.Sort(ids)
		ids = slices.Compact(ids)
		ids = ids[:min(limit, len(ids))]
	}
	err = lists.each(snap, part(user), func(entry core.ListMove) error {
		if entry.Thread > after {
			ids = append(ids, entry.Thread)
		}
		if len(ids) >= 8*limit { // bounds the memory
			cut()
		}
		return nil
	})
	cut()
	return ids, err
}

// listEntry reads a thread as the user's list shows it. A user who has left gets the topic and
// time from when it left. The bool is false if the user has no row in the thread.
func listEntry(r pebble.Reader, user, thread string) (core.ThreadEntry, bool, error) {
	v, err := view(r, thread, user)
	if err != nil || v.Member == nil {
		return core.ThreadEntry{}, false, err
	}
	e := core.ThreadEntry{
		Thread: thread, Topic: v.Head.Topic, DeletedOn: v.Head.DeletedOn, LastMessageOn: v.Head.LastMessageOn, ExpiresOn: v.Head.ExpiresOn(),
	}
	if left := v.Member.Left; left != nil {
		e.Topic, e.LastMessageOn = left.Topic, left.On
	}
	return e, true, nil
}
