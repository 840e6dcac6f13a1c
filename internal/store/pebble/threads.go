package pebble

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
)

// Threads returns a page of a user's threads. The list is kept by minutes;
// within one, the heads' exact times decide.
func (s *Store) Threads(_ context.Context, q core.ThreadsQuery) (core.ThreadsPage, error) {
	page, _, err := s.threads(q)
	return page, err
}

// threads also returns how many keys were read, for the tests.
func (s *Store) threads(q core.ThreadsQuery) (page core.ThreadsPage, keys int, err error) {
	before := q.Before
	if before == (core.ThreadsCursor{}) {
		before.On = math.MaxInt64
	}
	lower := text(append([]byte{kindList}, q.User...), "")
	upper := after(lower)
	if before.On != math.MaxInt64 { // all of the cursor's own minute: its order is not that of the keys
		upper = listKey(nil, q.User, core.MinuteOf(before.On)+1, "")
	}
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return page, 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()

	var minute []core.ThreadEntry // those of the minute that is being read
	current := int64(-1)
	// take moves the minute's entries into the page and says whether it is full.
	take := func() bool {
		slices.SortFunc(minute, newestFirst)
		for _, e := range minute {
			if len(page.Threads) == q.Limit {
				page.More = true
				return true
			}
			page.Threads = append(page.Threads, e)
		}
		minute = minute[:0]
		return false
	}
	for it.Last(); it.Valid(); it.Prev() {
		m, thread := listOf(it.Key())
		if m != current {
			if take() || len(page.Threads) == q.Limit {
				page.More = true
				return page, keys + 1, nil
			}
			current = m
		}
		if m < core.MinuteOf(q.Since) {
			break
		}
		keys += 3
		e, ok, err := listed(snap, q.User, thread)
		if err != nil {
			return page, keys, err
		}
		after := newestFirst(core.ThreadEntry{Thread: before.Thread, LastMessageOn: before.On}, e) < 0
		if ok && after && e.LastMessageOn >= q.Since {
			minute = append(minute, e)
		}
	}
	take()
	return page, keys, nil
}

// newestFirst is the order of a user's list.
func newestFirst(a, b core.ThreadEntry) int {
	return cmp.Or(cmp.Compare(b.LastMessageOn, a.LastMessageOn), cmp.Compare(b.Thread, a.Thread))
}

// listed reads a thread as it stands in the user's list.
func listed(r pebble.Reader, user, thread string) (core.ThreadEntry, bool, error) {
	h, found, err := head(r, thread)
	if err != nil || !found {
		return core.ThreadEntry{}, false, err
	}
	m, found, err := get(r, memberKey(nil, thread, user), func(v []byte) (core.Member, error) { return decodeMember(user, v) })
	if err != nil || !found {
		return core.ThreadEntry{}, false, err
	}
	e := core.ThreadEntry{Thread: thread, Topic: h.Topic, DeletedOn: h.DeletedOn, LastMessageOn: h.LastMessageOn}
	if m.Left != nil {
		e.Topic, e.LastMessageOn = m.Left.Topic, m.Left.On
	}
	return e, true, nil
}
