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

// Threads returns a page of a user's threads, the one with the newest message first; see
// core.Store. The keys of the list only have the minute of the last message. So Threads reads
// whole minutes, and sorts the threads by the exact times in their heads.
func (s *Store) Threads(_ context.Context, q core.ThreadsQuery) (core.ThreadsPage, error) {
	page, _, err := s.threads(q)
	return page, err
}

// threads returns the page that Threads returns, and the number of keys that it read, for
// tests.
func (s *Store) threads(q core.ThreadsQuery) (page core.ThreadsPage, keys int, err error) {
	before := core.ThreadEntry{LastMessageOn: math.MaxInt64}
	bounds := prefixRange(kindList, part(q.User))
	if q.Before != (core.ThreadsCursor{}) { // read the cursor's whole minute: its keys are not in the order of the list
		before = core.ThreadEntry{Thread: q.Before.Thread, LastMessageOn: q.Before.On}
		bounds.UpperBound = lists.key(nil, &core.ListMove{User: q.User, To: core.MinuteOf(q.Before.On) + 1})
	}
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(bounds)
	if err != nil {
		return page, 0, err
	}
	defer func() { err = errors.Join(err, closed(it)) }()

	more := false        // whether other threads may follow the page
	current := int64(-1) // the minute of the last entry
	for it.Last(); it.Valid(); it.Prev() {
		entry := row.ListEntry.DecodeKey(it.Key()[1:])
		if more = entry.To != current && len(page.Threads) >= q.Limit; more {
			keys++
			break
		}
		if entry.To < core.MinuteOf(q.Since) {
			break
		}
		current = entry.To
		keys += 3
		e, found, err := listEntry(snap, q.User, entry.Thread)
		if err != nil {
			return page, keys, err
		}
		if found && newestFirst(before, e) < 0 && e.LastMessageOn >= q.Since {
			page.Threads = append(page.Threads, e)
		}
	}
	slices.SortFunc(page.Threads, newestFirst)
	if more || len(page.Threads) > q.Limit {
		page.Threads = page.Threads[:q.Limit]
		last := page.Threads[q.Limit-1]
		page.Next = core.ThreadsCursor{On: last.LastMessageOn, Thread: last.Thread}
	}
	if q.Expand != (core.Expand{}) {
		read, err := expand(snap, q, page.Threads)
		return page, keys + read, err
	}
	return page, keys, nil
}

// ThreadsOf returns at most limit ids of threads in a user's list that are greater than after,
// in ascending order. It reads the user's whole list, which is in the order of times.
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

// newestFirst compares two threads for a user's list: by time of the last message,
// then by id, both descending.
func newestFirst(a, b core.ThreadEntry) int {
	return cmp.Or(cmp.Compare(b.LastMessageOn, a.LastMessageOn), cmp.Compare(b.Thread, a.Thread))
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
