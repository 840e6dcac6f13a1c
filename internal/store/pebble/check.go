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
	if err := c.run(ctx); err != nil {
		return core.Counts{}, err
	}
	return c.counts, nil
}

// checker is one run of Check.
type checker struct {
	*Store
	snap   pebble.Reader
	counts core.Counts
}

func (c *checker) run(ctx context.Context) error {
	if _, err := readResource(c.snap); err != nil {
		return c.damaged("the resource", err)
	}
	err := c.scan(ctx, c.snap, kindUser, func(key, value []byte) error {
		return c.row(key, c.count(users.exported(key, value)))
	})
	if err != nil {
		return err
	}
	if err := c.threads(ctx); err != nil {
		return err
	}
	return c.events(ctx)
}

// count adds r to the counts unless err is set, and returns err.
func (c *checker) count(r core.Record, err error) error {
	if err == nil {
		c.counts.Add(r)
	}
	return err
}

// row returns err, if it is not nil, as damage of the row with this key.
func (c *checker) row(key []byte, err error) error {
	if err == nil {
		return nil
	}
	return c.damaged(fmt.Sprintf("row %q", key), err)
}

// threadRows iterates over the rows of one kind, of all threads, in key order.
type threadRows struct {
	*pebble.Iterator
	read func(h *core.Head, key, value []byte) error
}

// take calls read for each row of the thread h and stops at the first row of a later
// thread. Threads come in key order, so a row of an earlier thread has no head: that
// is an error.
func (r *threadRows) take(h *core.Head) error {
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
func (c *checker) threads(ctx context.Context) (err error) {
	var seen tally
	var kinds []*threadRows
	defer func() {
		for _, k := range kinds {
			if cerr := k.Close(); err == nil && cerr != nil {
				err = c.damaged("rows of threads", cerr)
			}
		}
	}()
	for kind, read := range c.readers(&seen) {
		it, err := c.snap.NewIter(kindRange(kind))
		if err != nil {
			return err
		}
		it.First()
		kinds = append(kinds, &threadRows{it, read})
	}
	var expiring uint64
	err = c.scan(ctx, c.snap, kindHead, func(key, value []byte) error {
		h, err := heads.decode(key, value)
		if err != nil {
			return c.row(key, err)
		}
		if on := h.ExpiresOn(); on != 0 {
			expiring++
			_, found, err := expiries.get(c.snap, core.Expiry{On: on, Thread: h.ID})
			if err == nil && !found {
				err = errors.New("it is missing in the index of threads that expire")
			}
			if err != nil {
				return c.damaged("thread "+h.ID, err)
			}
		}
		seen = tally{}
		for _, k := range kinds {
			if err := k.take(&h); err != nil {
				return c.damaged("thread "+h.ID, err)
			}
		}
		if err := seen.verify(h); err != nil {
			return c.damaged("thread "+h.ID, err)
		}
		c.counts.Threads++
		c.counts.Messages += seen.messages
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range kinds {
		if k.Valid() {
			return c.damaged("the threads", fmt.Errorf("row %q belongs to no thread", k.Key()))
		}
	}
	err = c.scan(ctx, c.snap, kindExpiry, func([]byte, []byte) error {
		expiring--
		return nil
	})
	if err == nil && expiring != 0 {
		err = c.damaged("the threads that expire", errors.New("their index has more entries than there are such threads"))
	}
	return err
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

// verify fails if message rows and id rows differ, or if the last message does not
// have the last sequence of the head.
func (t tally) verify(h core.Head) error {
	switch {
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

// readers returns, for each kind of row that belongs to a thread, the function that
// verifies a row of that kind and adds it to the counts and to seen.
func (c *checker) readers(seen *tally) map[byte]func(h *core.Head, key, value []byte) error {
	counting := func(read func(key, value []byte) (core.Record, error)) func(*core.Head, []byte, []byte) error {
		return func(_ *core.Head, key, value []byte) error { return c.count(read(key, value)) }
	}
	return map[byte]func(h *core.Head, key, value []byte) error{
		kindMember: counting(members.exported), kindAnswer: counting(answers.exported),
		kindSent: counting(sent.exported), kindReceipt: counting(receipts.exported),
		kindMessage: func(h *core.Head, key, value []byte) error {
			seen.messages++
			m, err := messages.decode(key, value)
			seen.last = m.Sequence
			seen.checksum += hash(m.ID, m.Sequence)
			if err == nil && (m.Sequence > h.LastSequence || max(m.ID, m.Version) > h.LastID) {
				err = fmt.Errorf("message %d is newer than its thread's head", m.ID)
			}
			return err
		},
		kindID: func(_ *core.Head, key, value []byte) error {
			seen.ids++
			m, err := ids.decode(key, value)
			seen.checksum -= hash(m.ID, m.Sequence)
			return err
		},
	}
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
		if err == nil && e.Number > h.LastEvent {
			err = fmt.Errorf("its thread's head says that there are %d events", h.LastEvent)
		}
		return c.row(key, err)
	})
	if err != nil {
		return err
	}
	last, err := firstPosition(c.snap)
	if err != nil {
		return c.damaged("the event log", err)
	}
	last--
	var n uint64
	err = c.scan(ctx, c.snap, kindPosition, func(key, value []byte) error {
		n++
		_, err := positions.decode(key, value)
		if last++; err == nil && number(key) != last {
			err = fmt.Errorf("position %d is missing", last)
		}
		return c.row(key, err)
	})
	if err == nil && n != c.counts.Events {
		err = c.damaged("the event log", fmt.Errorf("it has %d events and %d positions", c.counts.Events, n))
	}
	return err
}
