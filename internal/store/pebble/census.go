package pebble

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/confab-chat/confab/internal/core"
)

// Census has the number of rows and a checksum for each kind of row in a store. Two stores with the
// same rows have equal Censuses. A store and one that imported its export differ only in the
// endpoints and in Position: an export has no endpoints and numbers positions from 1. If the first
// store was moving list entries at the time of the export, the two also differ in list entries and
// in relistings, because an import writes all entries where they belong.
type Census struct {
	Position uint64       `json:"position"` // position of the last event of the log, or 0
	Kinds    []KindCensus `json:"kinds"`    // all kinds, always in the same order
}

// KindCensus has the number of rows of one kind, and their checksum.
type KindCensus struct {
	Kind string `json:"kind"`
	Rows uint64 `json:"rows"`
	// Sum is a checksum of all rows, in 32 hexadecimal digits: the sum of a hash of each row,
	// so that the order of the rows does not matter. It does not depend on the formats of the
	// rows, on the state of an unfinished erasure, or on where the event log begins.
	Sum string `json:"sum"`
}

// Rows returns the number of rows of the kind with this name, or 0 if there is no such kind.
func (c Census) Rows(kind string) uint64 {
	for _, k := range c.Kinds {
		if k.Kind == kind {
			return k.Rows
		}
	}
	return 0
}

// Census reads all durable rows in one snapshot and returns the count and the checksum of each
// kind. It fails with ErrDamaged if a row cannot be read.
func (s *Store) Census(ctx context.Context) (Census, error) {
	snap := s.durable.acquire()
	defer snap.release()
	start, err := logStart(snap)
	if err != nil {
		return Census{}, s.damaged("the event log", err)
	}
	all := newTallies(start.Position)
	for _, t := range all.kinds {
		err := s.scan(ctx, snap, t.letter, func(key, value []byte) error {
			if err := t.add(key, value); err != nil {
				return s.damaged(fmt.Sprintf("row %q", key), err)
			}
			return nil
		})
		if err != nil {
			return Census{}, err
		}
	}
	return all.census(), nil
}

// tallies counts the rows of a store, and adds up their hashes, for each kind of row.
type tallies struct {
	kinds []*tally
	last  uint64 // the greatest position
}

// tally has the count and the checksum of the rows of one kind. sum is a number of 128 bits,
// the high half first.
type tally struct {
	letter byte
	name   string
	rows   uint64
	sum    [2]uint64
	add    func(key, value []byte) error // decodes a row and adds it
}

// newTallies returns empty tallies for a store whose event log begins after the position floor.
func newTallies(floor uint64) *tallies {
	all := &tallies{last: floor}
	all.kinds = []*tally{
		tallyOf("users", users, 2, func(u *core.User) { u.ErasedTo = "" }), // exports have no ErasedTo
		tallyOf("threads", heads, 1, func(h *core.Head) { h.LastPosition = max(h.LastPosition, floor) - floor }),
		tallyOf("members", members, 2, nil),
		tallyOf("messages", messages, 1, nil),
		tallyOf("message ids", ids, 1, nil),
		tallyOf("superseded messages", superseded, 1, nil),
		tallyOf("superseded sequences", supersededAt, 1, nil),
		tallyOf("answers", answers, 1, nil),
		tallyOf("tokens", sent, 1, nil),
		tallyOf("receipts", receipts, 1, nil),
		tallyOf("list entries", lists, 1, nil),
		tallyOf("relistings", relistings, 1, nil),
		tallyOf("users in deletion", deleting, 1, nil),
		tallyOf("custom ids", customIDs, 1, nil),
		tallyOf("expiries", expiries, 1, nil),
		tallyOf("events", events, 2, func(e *core.Event) { e.Check = 0; fromFloor(e, floor) }),
		tallyOf("positions", positions, 1, func(e *core.Event) {
			all.last = max(all.last, e.Position)
			fromFloor(e, floor)
		}),
		tallyOf("endpoints", endpoints, 2, nil),
		tallyOf("audit rows", audits, 1, nil),
	}
	return all
}

// fromFloor subtracts floor, the position before the first event of the log, from the position
// of an event. The result is the position that the event has in an export.
func fromFloor(e *core.Event, floor uint64) {
	e.Position -= floor
	if e.Thread == "" {
		e.Number = e.Position
	}
}

// of returns the tally of the kind of row whose keys begin with this letter. It panics if there
// is none.
func (all *tallies) of(letter byte) *tally {
	for _, t := range all.kinds {
		if t.letter == letter {
			return t
		}
	}
	panic("pebble: no rows of this kind are counted")
}

// tallyOf returns an empty tally of a kind of row. base is the format that the kind had when
// backups began to contain checksums. Rows are hashed in that format, or in the earliest later one
// that has all of their fields, so that the checksums in older backups remain valid. If normal is
// not nil, it is called for each row before the row is hashed, and removes what differs between
// stores with the same content.
func tallyOf[T any](name string, k kind[T], base byte, normal func(*T)) *tally {
	t := &tally{letter: k.letter, name: name}
	var b []byte
	t.add = func(key, value []byte) error {
		r, err := k.parse(key, value)
		if err != nil {
			return err
		}
		if normal != nil {
			normal(&r)
		}
		b = append(b[:0], 0, 0, 0, 0) // room for the length of the key, which marks where the value begins
		b = k.key(b, &r)
		binary.BigEndian.PutUint32(b, uint32(len(b)-4))
		b = k.schema.EncodeEarliest(b, base, &r)
		h := sha256.Sum256(b)
		var carry uint64
		t.sum[1], carry = bits.Add64(t.sum[1], binary.BigEndian.Uint64(h[8:]), 0)
		t.sum[0], _ = bits.Add64(t.sum[0], binary.BigEndian.Uint64(h[:]), carry)
		t.rows++
		return nil
	}
	return t
}

// census returns the counts and checksums of the rows that were added so far.
func (all *tallies) census() Census {
	c := Census{Position: all.last}
	for _, t := range all.kinds {
		c.Kinds = append(c.Kinds, KindCensus{t.name, t.rows, fmt.Sprintf("%016x%016x", t.sum[0], t.sum[1])})
	}
	return c
}

// errKey is the error for a key that does not have the fields of its kind.
var errKey = errors.New("the key does not have the form of its kind")

// parse decodes a row as decode does, but fails instead of panicking if the key is malformed.
// It is used for stores that may be damaged.
func (k kind[T]) parse(key, value []byte) (r T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errKey
		}
	}()
	if r, err = k.decode(key, value); err != nil {
		return r, err
	}
	if !bytes.Equal(k.key(make([]byte, 0, len(key)+1), &r), key) {
		err = errKey
	}
	return r, err
}
