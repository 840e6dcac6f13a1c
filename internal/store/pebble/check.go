package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
)

// Check verifies the store and returns the number of rows of each kind; see
// core.Checker. The error wraps ErrDamaged if a row cannot be read or contradicts
// another. It reads the heads and the threads' rows of each kind side by side, all in
// key order. It does not read the users' lists of threads or the index of users in
// deletion.
func (s *Store) Check(ctx context.Context) (core.Counts, error) {
	snap := s.durable.acquire()
	defer snap.release()
	c := checker{Store: s, snap: snap}
	if _, err := readResource(snap); err != nil {
		return core.Counts{}, s.damaged("the resource", err)
	}
	err := s.scan(ctx, snap, kindUser, func(key, value []byte) error {
		_, err := users.decode(key, value)
		c.counts.Users++
		return c.row(key, err)
	})
	if err == nil {
		err = s.scan(ctx, snap, kindEndpoint, func(key, value []byte) error {
			_, err := endpoints.decode(key, value)
			return c.row(key, err)
		})
	}
	if err == nil {
		err = c.threads(ctx)
	}
	if err == nil {
		err = c.events(ctx)
	}
	if err != nil {
		return core.Counts{}, err
	}
	return c.counts, nil
}

// checker is one run of Check.
type checker struct {
	*Store
	snap     pebble.Reader
	counts   core.Counts
	seen     tally  // of the current thread
	expiring uint64 // number of threads that expire
}

// row returns nil if err is nil. Otherwise it returns an error that wraps ErrDamaged
// and err, and names the row with this key.
func (c *checker) row(key []byte, err error) error {
	if err == nil {
		return nil
	}
	return c.damaged(fmt.Sprintf("row %q", key), err)
}

// cursor iterates over the rows of one kind, of all threads, in key order.
type cursor struct {
	*pebble.Iterator
	letter byte
	read   func(h *core.Head, key, value []byte) error
}

// counting returns a cursor that decodes the rows of a kind and adds them to n.
func counting[T any](k kind[T], n *uint64) *cursor {
	return &cursor{letter: k.letter, read: func(_ *core.Head, key, value []byte) error {
		*n++
		_, err := k.decode(key, value)
		return err
	}}
}

// take calls read for each row of the thread h and stops at the first row of a later
// thread. It fails if read fails, and for a row of an earlier thread: take is called
// for all heads in key order, so that row has no head.
func (r *cursor) take(h *core.Head) error {
	for ; r.Valid(); r.Next() {
		thread, _, _ := bytes.Cut(r.Key()[1:], []byte{0})
		switch bytes.Compare(thread, []byte(h.ID)) {
		case -1:
			return fmt.Errorf("row %q belongs to no thread", r.Key())
		case 1:
			return nil
		}
		if err := r.read(h, r.Key(), r.Value()); err != nil {
			return fmt.Errorf("row %q: %w", r.Key(), err)
		}
	}
	return r.Error()
}

// threads verifies each head against its thread's rows, and the index of threads by
// expiry time against the heads.
func (c *checker) threads(ctx context.Context) error {
	cursors := []*cursor{
		counting(members, &c.counts.Members), counting(answers, &c.counts.Answers),
		counting(sent, &c.counts.Tokens), counting(receipts, &c.counts.Receipts),
		{letter: kindMessage, read: c.message}, {letter: kindID, read: c.id},
	}
	for _, k := range cursors {
		it, err := c.snap.NewIter(kindRange(k.letter))
		if err != nil {
			return err
		}
		defer it.Close()
		it.First()
		k.Iterator = it
	}
	err := c.scan(ctx, c.snap, kindHead, func(key, value []byte) error {
		h, err := heads.decode(key, value)
		if err != nil {
			return c.row(key, err)
		}
		c.counts.Threads++
		if err := c.thread(&h, cursors); err != nil {
			return c.damaged("thread "+h.ID, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Every thread id is less than this one, so the call fails if rows are left. Such
	// rows have no head.
	if err := c.thread(&core.Head{ID: "\xff"}, cursors); err != nil {
		return c.damaged("the threads", err)
	}
	err = c.scan(ctx, c.snap, kindExpiry, func([]byte, []byte) error {
		c.expiring--
		return nil
	})
	if err == nil && c.expiring != 0 {
		err = c.damaged("the threads that expire", errors.New("their index has more entries than there are such threads"))
	}
	return err
}

// thread verifies the rows of a thread: message rows and id rows must agree, and the
// last message must have the last sequence of the head.
func (c *checker) thread(h *core.Head, cursors []*cursor) error {
	if on := h.ExpiresOn(); on != 0 {
		c.expiring++
		_, found, err := expiries.get(c.snap, core.Expiry{On: on, Thread: h.ID})
		if err != nil {
			return err
		}
		if !found {
			return errors.New("it is missing in the index of threads that expire")
		}
	}
	c.seen = tally{}
	for _, k := range cursors {
		if err := k.take(h); err != nil {
			return err
		}
	}
	c.counts.Messages += c.seen.messages
	switch t := c.seen; {
	case t.ids != t.messages:
		return fmt.Errorf("it has %d messages and %d ids of messages", t.messages, t.ids)
	case t.checksum != 0:
		return errors.New("the rows of its messages' ids have other sequences than the messages")
	// The last sequence always has a message, unless the thread was deleted and its
	// messages purged.
	case t.last != h.LastSequence && h.DeletedOn == 0:
		return fmt.Errorf("its last message has sequence %d instead of %d", t.last, h.LastSequence)
	}
	return nil
}

// tally summarizes the message rows and the id rows of one thread.
type tally struct {
	messages, ids uint64 // number of message rows and of id rows
	last          uint64 // sequence of the last message
	checksum      uint64 // zero if message rows and id rows have the same pairs of id and sequence
}

var hashSeed = maphash.MakeSeed()

// hash returns a hash of a message's id and sequence. The tally's checksum adds the
// hashes of all message rows and subtracts those of all id rows. To look up each id
// instead would take ten times as long as reading all rows.
func hash(id int64, sequence uint64) uint64 {
	return maphash.Comparable(hashSeed, [2]uint64{uint64(id), sequence})
}

// message verifies a message row of the thread h and adds it to the tally.
func (c *checker) message(h *core.Head, key, value []byte) error {
	m, err := messages.decode(key, value)
	c.seen.messages++
	c.seen.last = m.Sequence
	c.seen.checksum += hash(m.ID, m.Sequence)
	if err == nil && (m.Sequence > h.LastSequence || max(m.ID, m.Version) > h.LastID) {
		err = fmt.Errorf("message %d is newer than its thread's head", m.ID)
	}
	return err
}

// id adds an id row, which maps a message's id to its sequence, to the tally.
func (c *checker) id(_ *core.Head, key, value []byte) error {
	m, err := ids.decode(key, value)
	c.seen.ids++
	c.seen.checksum -= hash(m.ID, m.Sequence)
	return err
}

// events verifies the event log: no event has a number above its head's last one,
// positions have no gaps, and there are as many positions as events.
func (c *checker) events(ctx context.Context) error {
	var h core.Head
	err := c.scan(ctx, c.snap, kindEvent, func(key, value []byte) error {
		c.counts.Events++
		e, err := events.decode(key, value)
		if err == nil && h.ID != e.Thread {
			h, _, err = heads.get(c.snap, core.Head{ID: e.Thread})
		}
		if err == nil && e.Thread != "" && e.Number > h.LastEvent {
			err = fmt.Errorf("its thread's head says that there are %d events", h.LastEvent)
		}
		return c.row(key, err)
	})
	if err != nil {
		return err
	}
	floor, err := logStart(c.snap)
	if err != nil {
		return c.damaged("the event log", err)
	}
	start := floor.Position + 1
	next := start
	err = c.scan(ctx, c.snap, kindPosition, func(key, value []byte) error {
		_, err := positions.decode(key, value)
		if err == nil && number(key) != next {
			err = fmt.Errorf("position %d is missing", next)
		}
		next++
		return c.row(key, err)
	})
	if err == nil && next-start != c.counts.Events {
		err = c.damaged("the event log", fmt.Errorf("it has %d events and %d positions", c.counts.Events, next-start))
	}
	return err
}
