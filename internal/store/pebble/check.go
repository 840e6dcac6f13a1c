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

// Check reads every row; see core.Checker. It follows the heads and, beside
// them, what belongs to their threads, all in the order of their keys.
func (s *Store) Check(ctx context.Context) (core.Counts, error) {
	snap := s.durable.acquire()
	defer snap.release()
	c := checker{Store: s, snap: snap}
	if err := c.run(ctx); err != nil {
		return core.Counts{}, err
	}
	return c.counts, nil
}

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

// count counts a record that was read.
func (c *checker) count(r core.Record, err error) error {
	if err == nil {
		c.counts.Add(r)
	}
	return err
}

func (c *checker) row(key []byte, err error) error {
	if err == nil {
		return nil
	}
	return c.damaged(fmt.Sprintf("row %q", key), err)
}

// threadRows are the rows of a kind, to be taken thread by thread.
type threadRows struct {
	*pebble.Iterator
	read func(h *core.Head, key, value []byte) error
}

// take reads the rows of the thread. One of a thread before it has no head.
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

// threads holds the heads against everything that hangs on them.
func (c *checker) threads(ctx context.Context) (err error) {
	var of tally
	var kinds []*threadRows
	defer func() {
		for _, k := range kinds {
			if cerr := k.Close(); err == nil && cerr != nil {
				err = c.damaged("rows of threads", cerr)
			}
		}
	}()
	for kind, read := range c.readers(&of) {
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
				err = errors.New("it is not among those that expire")
			}
			if err != nil {
				return c.damaged("thread "+h.ID, err)
			}
		}
		of = tally{}
		for _, k := range kinds {
			if err := k.take(&h); err != nil {
				return c.damaged("thread "+h.ID, err)
			}
		}
		if err := of.fits(h); err != nil {
			return c.damaged("thread "+h.ID, err)
		}
		c.counts.Threads++
		c.counts.Messages += of.messages
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
		err = c.damaged("the threads that expire", errors.New("there are more entries than such threads"))
	}
	return err
}

// tally is what was read of a thread.
type tally struct {
	ids, messages, last uint64
	ways                uint64 // hashes of all messages' ids and places, less those of the ids' rows
}

var waySeed = maphash.MakeSeed()

// way is a hash of a message's id and place. To look every id up would take ten
// times as long as to read all rows.
func way(id int64, sequence uint64) uint64 {
	return maphash.Comparable(waySeed, [2]uint64{uint64(id), sequence})
}

func (t tally) fits(h core.Head) error {
	switch {
	case t.ids != t.messages:
		return fmt.Errorf("it has %d messages and %d ids of messages", t.messages, t.ids)
	case t.ways != 0:
		return errors.New("the ids of its messages lead to other places")
	// The last place is always taken, unless the thread's end took the message.
	case t.last != h.LastSequence && h.DeletedOn == 0:
		return fmt.Errorf("its last message has place %d in place of %d", t.last, h.LastSequence)
	}
	return nil
}

// readers read a row of each kind that belongs to threads.
func (c *checker) readers(of *tally) map[byte]func(h *core.Head, key, value []byte) error {
	counting := func(read func(key, value []byte) (core.Record, error)) func(*core.Head, []byte, []byte) error {
		return func(_ *core.Head, key, value []byte) error { return c.count(read(key, value)) }
	}
	return map[byte]func(h *core.Head, key, value []byte) error{
		kindMember: counting(members.exported), kindAnswer: counting(answers.exported),
		kindSent: counting(sent.exported), kindReceipt: counting(receipts.exported),
		kindMessage: func(h *core.Head, key, value []byte) error {
			of.messages++
			m, err := messages.decode(key, value)
			of.last = m.Sequence
			of.ways += way(m.ID, of.last)
			if err == nil && (of.last > h.LastSequence || max(m.ID, m.Version) > h.LastID) {
				err = fmt.Errorf("message %d is newer than its thread knows", m.ID)
			}
			return err
		},
		kindID: func(_ *core.Head, key, value []byte) error {
			of.ids++
			m, err := ids.decode(key, value)
			of.ways -= way(m.ID, m.Sequence)
			return err
		},
	}
}

// events holds the log against its index by position, and against the heads.
func (c *checker) events(ctx context.Context) error {
	var h core.Head
	err := c.scan(ctx, c.snap, kindEvent, func(key, value []byte) error {
		c.counts.Events++
		e, err := events.decode(key, value)
		if err == nil && h.ID != e.Thread {
			h, _, err = heads.get(c.snap, core.Head{ID: e.Thread})
		}
		if err == nil && e.Number > h.LastEvent {
			err = fmt.Errorf("its thread knows %d events", h.LastEvent)
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
