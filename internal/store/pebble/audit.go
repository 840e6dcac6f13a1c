package pebble

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
)

// audits writes audit rows.
func (w *writer) audits(rows []core.Audit) {
	for i := range rows {
		audits.put(w, &rows[i])
	}
}

// auditKey returns the Pebble key of the audit row that has the flag refused and the key k of
// package core.
func auditKey(refused bool, k core.AuditKey) []byte {
	return audits.key(nil, &core.Audit{AuditKey: k, Refused: refused})
}

// lastAudit is a key that is greater than the keys of all audit rows.
var lastAudit = core.AuditKey{At: math.MaxInt64, Number: math.MaxUint64}

// auditRange returns iterator options whose bounds enclose the audit rows with keys less than the
// argument before: the rows of refused attempts if refused is true, or else all other rows.
func auditRange(refused bool, before core.AuditKey) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: auditKey(refused, core.AuditKey{}), UpperBound: auditKey(refused, before)}
}

// AuditPage returns a page of the audit rows, the newest first; see core.Store. The rows of refused
// attempts are in one range of keys and the other rows in another one, so AuditPage merges two
// ranges.
func (s *Store) AuditPage(ctx context.Context, q core.AuditQuery) (page core.AuditPage, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	before := cmp.Or(q.Before, lastAudit)
	var its [2]*pebble.Iterator
	for i := range its {
		if its[i], err = snap.NewIter(auditRange(i == 1, before)); err != nil {
			return page, err
		}
		defer func() { err = errors.Join(err, closed(its[i])) }() // Close also returns the error of an earlier read of the iterator
		its[i].Last()
	}
	for looked := 1; ; looked++ {
		it := laterAudit(its[0], its[1])
		if it == nil {
			return page, nil
		}
		row, err := audits.decode(it.Key(), it.Value())
		if err != nil {
			return page, err
		}
		if q.Matches(&row) {
			page.Rows = append(page.Rows, row)
		}
		if len(page.Rows) == q.Limit || looked == core.AuditLooked {
			page.Next = row.AuditKey
			return page, nil
		}
		if looked%checkEvery == 0 && ctx.Err() != nil {
			return page, ctx.Err()
		}
		it.Prev()
	}
}

// laterAudit returns the one of two iterators whose audit row is later, or nil if neither has a
// row.
func laterAudit(a, b *pebble.Iterator) *pebble.Iterator {
	const refused = 2 // number of bytes before the time in a key: the letter of the kind and the byte refused
	switch {
	case !a.Valid() && !b.Valid():
		return nil
	case !b.Valid() || a.Valid() && bytes.Compare(a.Key()[refused:], b.Key()[refused:]) > 0:
		return a
	}
	return b
}

// TrimAudit deletes the audit rows that are older than the given time. Of the rows of refused
// attempts it keeps only the newest ones, up to the given number of bytes; see core.Store.
func (s *Store) TrimAudit(ctx context.Context, before int64, refused int) error {
	snap := s.durable.acquire()
	defer snap.release()
	first := core.AuditKey{At: max(before, 0)}
	kept, err := s.auditStart(ctx, snap, refused)
	if err != nil {
		return err
	}
	if kept.Compare(first) < 0 {
		kept = first
	}
	b := s.db.NewBatch()
	for i, to := range []core.AuditKey{first, kept} {
		old := auditRange(i == 1, to)
		any, err := hasRow(snap, old)
		if err != nil {
			return errors.Join(err, b.Close())
		}
		if any {
			b.DeleteRange(old.LowerBound, old.UpperBound, nil)
		}
	}
	if b.Empty() {
		return b.Close()
	}
	return s.commit(b)
}

// auditStart returns the key of the oldest row of a refused attempt such that this row and all
// later ones have at most the given number of bytes. It returns the zero key if all rows together
// have at most that many bytes.
func (s *Store) auditStart(ctx context.Context, r pebble.Reader, most int) (core.AuditKey, error) {
	it, err := r.NewIter(auditRange(true, lastAudit))
	if err != nil {
		return core.AuditKey{}, err
	}
	oldest, n := lastAudit, 0
	for ok := it.Last(); ok && err == nil; ok = it.Prev() {
		if most -= len(it.Key()) + len(it.Value()); most < 0 {
			return oldest, closed(it)
		}
		oldest = audits.schema.DecodeKey(it.Key()[1:]).AuditKey
		if n++; n%checkEvery == 0 {
			err = ctx.Err()
		}
	}
	return core.AuditKey{}, errors.Join(err, closed(it))
}

// hasRow reports whether a range of keys has a row.
func hasRow(r pebble.Reader, in *pebble.IterOptions) (bool, error) {
	it, err := r.NewIter(in)
	if err != nil {
		return false, err
	}
	found := it.First()
	return found, closed(it)
}
