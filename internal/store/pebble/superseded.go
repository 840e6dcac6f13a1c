package pebble

import (
	"bytes"
	"context"
	"errors"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// Superseded returns up to limit superseded messages of a thread after a key; see core.Store. The
// deletion of a thread deletes its superseded messages at once, so no deleted thread has any.
func (s *Store) Superseded(_ context.Context, after core.SupersededKey, limit int) (found []core.ThreadSuperseded, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	bounds := prefixRange(kindSuperseded, part(after.Thread))
	bounds.LowerBound = superseded.key(nil, &core.ThreadSuperseded{Thread: after.Thread, Superseded: core.Superseded{
		Message: core.Message{ID: after.ID, Sequence: after.Sequence},
	}})
	if after.Sequence != 0 { // begin after the superseded version whose key is the argument after
		bounds.LowerBound = append(bounds.LowerBound, 0)
	}
	it, err := snap.NewIter(bounds)
	if err != nil {
		return nil, err
	}
	for it.First(); it.Valid() && err == nil && len(found) < limit; it.Next() {
		var r core.ThreadSuperseded
		if r, err = superseded.decode(it.Key(), it.Value()); err == nil {
			found = append(found, r)
		}
	}
	return found, errors.Join(err, closed(it))
}

// SupersededThreads returns up to limit ids of threads with superseded messages, in ascending
// order; see core.Store. It begins with the first id that is greater than the argument after. It
// reads one key of each thread.
func (s *Store) SupersededThreads(_ context.Context, after string, limit int) (found []string, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	it, err := snap.NewIter(kindRange(kindSuperseded))
	if err != nil {
		return nil, err
	}
	ok := it.First()
	if after != "" {
		ok = it.SeekGE(prefixRange(kindSuperseded, part(after)).UpperBound)
	}
	for ok && len(found) < limit {
		thread, _, _ := bytes.Cut(it.Key()[1:], []byte{0})
		found = append(found, string(thread))
		ok = it.SeekGE(prefixRange(kindSuperseded, part(string(thread))).UpperBound)
	}
	return found, closed(it)
}

// versionsOf returns iterator options whose bounds enclose the superseded versions of a
// message with sequences before the given one.
func versionsOf(thread string, id int64, before uint64) *pebble.IterOptions {
	at := func(sequence uint64) []byte {
		return superseded.key(nil, &core.ThreadSuperseded{Thread: thread, Superseded: core.Superseded{Message: core.Message{ID: id, Sequence: sequence}}})
	}
	return &pebble.IterOptions{LowerBound: at(0), UpperBound: at(before)}
}

// spans returns the sequences of all superseded versions of a message. The bool is false if there
// are none. It does not read the texts of the versions, because a batch calls it while it holds the
// lock of the store.
func spans(r pebble.Reader, thread string, id int64) (all []core.Span, found bool, err error) {
	it, err := r.NewIter(versionsOf(thread, id, math.MaxUint64))
	if err != nil {
		return nil, false, err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		v := superseded.schema.DecodeKey(it.Key()[1:])
		if err = superseded.schema.FillFirst(1, it.Value(), &v); err == nil { // Until
			all = append(all, core.Span{Sequence: v.Sequence, Until: v.Until})
		}
	}
	return all, len(all) > 0, errors.Join(err, closed(it))
}

// versionFor returns the superseded version of a message that a member who has left may read.
// The bool is false if there is none, or if the member has not left.
func versionFor(r pebble.Reader, m *core.Member, thread string, id int64) (version core.Message, found bool, err error) {
	if m.Left == nil {
		return version, false, nil
	}
	// Each version replaced the one before. The member may read the version that was current when
	// it left: the last version whose sequence is not greater than the sequence at which it left.
	it, err := r.NewIter(versionsOf(thread, id, m.Left.Sequence+1))
	if err != nil {
		return version, false, err
	}
	if it.Last() {
		var v core.ThreadSuperseded
		v, err = superseded.decode(it.Key(), it.Value())
		version, found = v.Message, err == nil && m.SeesVersion(&v.Superseded)
	}
	return version, found, errors.Join(err, closed(it))
}

// versions iterates over the superseded messages of a thread that a member who has left may
// read, from the greatest sequence down. It has none for a member who has not left.
type versions struct {
	r      pebble.Reader
	member *core.Member
	thread string
	it     *pebble.Iterator // iterator over the index of superseded messages; nil if there is nothing to read
	ok     bool             // it is at a version
	at     uint64           // sequence of the next version; 0 if it is not known yet
	id     int64            // of its message

	decoder row.Decoder // of the messages of a page
}

// open moves to the last version whose sequence is less than the argument before.
func (v *versions) open(before uint64) (err error) {
	if v.member == nil || v.member.Left == nil {
		return nil
	}
	bounds := prefixRange(kindSupersededAt, part(v.thread))
	bounds.UpperBound = supersededAt.key(nil, &core.ThreadSuperseded{Thread: v.thread, Superseded: core.Superseded{Message: core.Message{Sequence: before}}})
	if v.it, err = v.r.NewIter(bounds); err != nil {
		return err
	}
	v.ok = v.it.Last()
	return nil
}

// next moves from the version at v.at to the one with the next lower sequence.
func (v *versions) next() { v.at, v.ok = 0, v.it.Prev() }

// find looks for the next version that the member may read, among those with sequences greater than
// floor. It reads no version at or below floor, so a page reads only the versions between its
// messages.
func (v *versions) find(floor uint64) error {
	for ; v.at == 0 && v.ok && number(v.it.Key()) > floor; v.ok = v.it.Prev() {
		r, err := supersededAt.decode(v.it.Key(), v.it.Value())
		if err != nil {
			return err
		}
		if r.Until > v.member.Left.Sequence {
			v.at, v.id = r.Sequence, r.ID
			break
		}
	}
	return nil
}

// or decodes a message into *m: the superseded message at v.at if older is true, otherwise the
// message at the iterator it. size is the size of the message's row in bytes.
func (v *versions) or(older bool, it *pebble.Iterator, m *core.Message) (size int, err error) {
	if !older {
		*m = core.Message{Sequence: number(it.Key())}
		return len(it.Value()), row.Message.FillWith(&v.decoder, it.Value(), m)
	}
	r := core.ThreadSuperseded{Thread: v.thread, Superseded: core.Superseded{Message: core.Message{ID: v.id, Sequence: v.at}}}
	value, closer, err := v.r.Get(superseded.key(nil, &r))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, row.ErrDamaged // the index has an entry for this version, so its row must exist
	}
	if err != nil {
		return 0, legible(err)
	}
	size, err = len(value), superseded.schema.FillWith(&v.decoder, value, &r)
	*m = r.Message
	return size, errors.Join(err, closer.Close())
}

// close closes the iterator if open has created one.
func (v *versions) close() error {
	if v.it == nil {
		return nil
	}
	return closed(v.it)
}
