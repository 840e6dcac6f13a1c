package pebble

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
)

// Relist moves up to limit entries of users' lists; see core.Store.
func (s *Store) Relist(_ context.Context, limit int) (more bool, err error) {
	if err := s.disk.check(0); err != nil {
		return false, err
	}
	thread, l, err := s.relist(limit)
	if err == nil && l != nil {
		err = s.sync(l)
	}
	if err != nil {
		return false, fmt.Errorf("move thread %s in the lists of its participants: %w", thread, err)
	}
	return l != nil, nil
}

// relist moves up to limit entries of one thread in users' lists, and appends the moves to the
// write-ahead log without waiting for the disk. It returns the thread's id, or "" and a nil *logged
// if no thread has entries to be moved.
func (s *Store) relist(limit int) (string, *logged, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	r := s.nextRelisting()
	if r == nil {
		return "", nil, nil
	}
	s.relisted = r.Thread
	w := writer{batch: s.db.NewBatch(), key: s.key, value: s.value}
	next, more, err := w.relist(s.db, *r, limit)
	s.key, s.value = w.key, w.value
	if err != nil {
		return r.Thread, nil, errors.Join(err, w.batch.Close())
	}
	if more {
		s.relistings[r.Thread] = &next
	} else {
		delete(s.relistings, r.Thread)
	}
	l, err := s.logBatch(w.batch)
	return r.Thread, l, err
}

// nextRelisting returns the relisting with the least thread id after s.relisted. If there is none,
// it returns the relisting with the least id, or nil if there are no relistings.
func (s *Store) nextRelisting() (next *core.Relisting) {
	wrapped := func(r *core.Relisting) bool { return r.Thread <= s.relisted }
	for _, r := range s.relistings {
		if next == nil || wrapped(next) && !wrapped(r) || wrapped(next) == wrapped(r) && r.Thread < next.Thread {
			next = r
		}
	}
	return next
}

// relist adds to the batch the moves of the next members' list entries and the new state of the
// relisting, which it also returns. It looks at up to limit members, including members who have
// left. The bool is false if no entry is left to be moved; the relisting is then deleted.
func (w *writer) relist(r pebble.Reader, at core.Relisting, limit int) (next core.Relisting, more bool, err error) {
	it, err := r.NewIter(prefixRange(kindMember, part(at.Thread)))
	if err != nil {
		return at, false, err
	}
	defer func() { err = errors.Join(err, closed(it)) }()
	ok := it.First()
	if at.Through != "" {
		after := members.key(nil, &core.ThreadMember{Thread: at.Thread, Member: core.Member{User: at.Through}})
		ok = it.SeekGE(append(after, 0))
	}
	next, more = at, true
	for n := 0; ok && n < limit; n++ {
		m, err := members.decode(it.Key(), it.Value())
		if err != nil {
			return at, false, err
		}
		if m.Left == nil {
			w.listMove(&core.ListMove{User: m.User, Thread: at.Thread, From: at.From, To: at.To})
		}
		next.Through = m.User
		ok = it.Next()
	}
	if !ok {
		h, _, err := heads.get(r, core.Head{ID: at.Thread})
		if err != nil {
			return at, false, err
		}
		next, more = at.Next(core.MinuteOf(h.LastMessageOn))
	}
	if more {
		relistings.put(w, &next)
	} else {
		relistings.remove(w, &at)
	}
	return next, more, nil
}

// lateMoves returns the moves that relistings have yet to make in the user's list, in the order of
// the list, and the number of keys that it read.
func lateMoves(r pebble.Reader, user string) (late []core.ListMove, keys int, err error) {
	err = relistings.each(r, "", func(at core.Relisting) error {
		keys += 2
		m, found, err := members.get(r, core.ThreadMember{Thread: at.Thread, Member: core.Member{User: user}})
		if err != nil || !found || m.Left != nil {
			return err
		}
		keys++
		h, _, err := heads.get(r, core.Head{ID: at.Thread})
		move := core.ListMove{User: user, Thread: at.Thread, From: at.Place(user, 0), To: core.MinuteOf(h.LastMessageOn)}
		if move.From != move.To {
			late = append(late, move)
		}
		return err
	})
	slices.SortFunc(late, listOrder)
	return late, keys, err
}

// listOrder compares two entries of a user's list of threads. It returns a negative number if the
// list shows a before b.
func listOrder(a, b core.ListMove) int {
	return cmp.Or(cmp.Compare(b.To, a.To), cmp.Compare(b.Thread, a.Thread))
}
