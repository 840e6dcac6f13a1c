package pebble

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// Threads returns a page of a user's threads, newest message first; see core.Store. The
// keys of the list have the minute of the last message only, so each minute's
// threads are sorted by the exact times in their heads.
func (s *Store) Threads(_ context.Context, q core.ThreadsQuery) (core.ThreadsPage, error) {
	page, _, err := s.threads(q)
	return page, err
}

// threads is Threads; it also returns the number of keys that it read, for tests.
func (s *Store) threads(q core.ThreadsQuery) (page core.ThreadsPage, keys int, err error) {
	before := q.Before
	if before == (core.ThreadsCursor{}) {
		before.On = math.MaxInt64
	}
	lower := append([]byte{kindList}, part(q.User)...)
	upper := prefixEnd(lower)
	if before.On != math.MaxInt64 { // read the cursor's whole minute: its keys are not in the order of the list
		upper = lists.key(nil, core.ListMove{User: q.User, To: core.MinuteOf(before.On) + 1})
	}
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return page, 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()

	var minute []core.ThreadEntry // the threads of the current minute
	current := int64(-1)
	// take moves the minute's threads into the page and reports whether some did not fit.
	take := func() (more bool) {
		slices.SortFunc(minute, newestFirst)
		n := min(len(minute), q.Limit-len(page.Threads))
		page.Threads = append(page.Threads, minute[:n]...)
		more = n < len(minute)
		minute = minute[:0]
		return more
	}
	// full sets the cursor of the next page.
	full := func() {
		last := page.Threads[len(page.Threads)-1]
		page.Next = core.ThreadsCursor{On: last.LastMessageOn, Thread: last.Thread}
	}
	for it.Last(); it.Valid(); it.Prev() {
		entry := row.ListEntry.DecodeKey(it.Key()[1:])
		m, thread := entry.To, entry.Thread
		if m != current {
			if take() || len(page.Threads) == q.Limit {
				full()
				return page, keys + 1, nil
			}
			current = m
		}
		if m < core.MinuteOf(q.Since) {
			break
		}
		keys += 3
		e, ok, err := listEntry(snap, q.User, thread)
		if err != nil {
			return page, keys, err
		}
		after := newestFirst(core.ThreadEntry{Thread: before.Thread, LastMessageOn: before.On}, e) < 0
		if ok && after && e.LastMessageOn >= q.Since {
			minute = append(minute, e)
		}
	}
	if take() {
		full()
	}
	return page, keys, nil
}

// ThreadsOf returns at most limit ids of threads in a user's list that are greater
// than after, in order. It reads the user's whole list, because the list is sorted by
// time.
func (s *Store) ThreadsOf(_ context.Context, user, after string, limit int) (ids []string, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	// cut keeps the n smallest ids.
	cut := func(n int) {
		slices.Sort(ids)
		ids = slices.Compact(ids)
		ids = ids[:min(n, len(ids))]
	}
	err = lists.each(snap, part(user), func(entry core.ListMove) error {
		if entry.Thread > after {
			ids = append(ids, entry.Thread)
		}
		if len(ids) >= 8*limit { // bounds the memory
			cut(limit)
		}
		return nil
	})
	cut(limit)
	return ids, err
}

// newestFirst compares two threads for a user's list: by time of the last message,
// then by id, both descending.
func newestFirst(a, b core.ThreadEntry) int {
	return cmp.Or(cmp.Compare(b.LastMessageOn, a.LastMessageOn), cmp.Compare(b.Thread, a.Thread))
}

// listEntry reads a thread as the user's list shows it: a user who has left sees the
// topic and the time of leaving. The bool is false if the user has no row in it.
func listEntry(r pebble.Reader, user, thread string) (core.ThreadEntry, bool, error) {
	v, err := view(r, thread, user)
	if err != nil || v.Member == nil {
		return core.ThreadEntry{}, false, err
	}
	e := core.ThreadEntry{Thread: thread, Topic: v.Head.Topic, DeletedOn: v.Head.DeletedOn, LastMessageOn: v.Head.LastMessageOn}
	if left := v.Member.Left; left != nil {
		e.Topic, e.LastMessageOn = left.Topic, left.On
	}
	return e, true, nil
}
