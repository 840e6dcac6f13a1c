package pebble

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
)

var (
	_ core.Exporter = (*Store)(nil)
	_ core.Importer = (*Store)(nil)
	_ core.Checker  = (*Store)(nil)
)

// askEvery is how many rows pass between two looks at the context.
const askEvery = 1024

// Export yields the rows of one snapshot; see core.Exporter.
func (s *Store) Export(ctx context.Context, yield func(core.Record) error) error {
	snap := s.durable.acquire()
	defer snap.release()
	resource, err := readResource(snap)
	if err != nil {
		return s.damaged("the resource", err)
	}
	if err := yield(resource); err != nil {
		return err
	}
	first, err := firstPosition(snap)
	if err != nil {
		return s.damaged("the event log", err)
	}
	for _, k := range exported(snap, first) {
		if err := s.scan(ctx, snap, k.kind, func(key, value []byte) error {
			record, err := k.read(key, value)
			if err != nil {
				return s.damaged(fmt.Sprintf("row %q", key), err)
			}
			return yield(record)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) damaged(what string, err error) error {
	return fmt.Errorf("store %s is %w: %s: %w", s.dir, ErrDamaged, what, err)
}

// scan goes through all rows of a kind. Key and value are good until f returns.
func (s *Store) scan(ctx context.Context, r pebble.Reader, kind byte, f func(key, value []byte) error) error {
	it, err := r.NewIter(kindRange(kind))
	if err != nil {
		return err
	}
	n := 0
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if n++; n%askEvery == 0 {
			err = ctx.Err()
		}
		if err == nil {
			err = f(it.Key(), it.Value())
		}
	}
	if cerr := it.Close(); err == nil && cerr != nil {
		err = s.damaged(fmt.Sprintf("rows of kind %c", kind), cerr)
	}
	return err
}

// exportedKind says how the rows of a kind become records.
type exportedKind struct {
	kind byte
	read func(key, value []byte) (core.Record, error)
}

// exported are the kinds in the order of core.Record. Positions count from the
// first one that the log still has; there are no gaps behind it.
func exported(snap pebble.Reader, first uint64) []exportedKind {
	last := first - 1
	return []exportedKind{
		{kindUser, func(key, value []byte) (core.Record, error) { return decodeUser(string(key[1:]), value) }},
		{kindHead, func(key, value []byte) (core.Record, error) {
			h, err := decodeHead(string(key[1:]), value)
			h.LastPosition = max(h.LastPosition, first-1) - (first - 1)
			return h, err
		}},
		{kindMember, func(key, value []byte) (core.Record, error) {
			m, err := decodeMember(memberOf(key), value)
			return core.ThreadMember{Thread: threadOf(key), Member: m}, err
		}},
		{kindMessage, func(key, value []byte) (core.Record, error) {
			m, err := decodeMessage(number(key), value)
			return core.ThreadMessage{Thread: threadOf(key), Message: m}, err
		}},
		{kindAnswer, func(key, value []byte) (core.Record, error) {
			a, err := decodeAnswer(value)
			if err != nil {
				return nil, err
			}
			return core.ThreadAnswer{Thread: string(key[1:]), CreateAnswer: *a}, nil
		}},
		{kindSent, func(key, value []byte) (core.Record, error) {
			id, err := decodeNumber(value)
			return core.SentToken{SendKey: sendKeyOf(key), MessageID: int64(id)}, err
		}},
		{kindReceipt, func(key, value []byte) (core.Record, error) {
			r, err := decodeReceipt(memberOf(key), value)
			return core.ThreadReceipt{Thread: threadOf(key), Receipt: r}, err
		}},
		{kindPosition, func(key, value []byte) (core.Record, error) {
			if last++; number(key) != last {
				return nil, fmt.Errorf("position %d is missing", last)
			}
			e, err := event(snap, dayOf(key), value)
			e.Position = last - (first - 1)
			return e, err
		}},
	}
}

// firstPosition is the lowest one in the event log, or 1.
func firstPosition(r pebble.Reader) (uint64, error) {
	it, err := r.NewIter(kindRange(kindPosition))
	if err != nil {
		return 0, err
	}
	first := uint64(1)
	if it.First() {
		first = max(number(it.Key()), 1)
	}
	return first, it.Close()
}

// threadOf returns the thread of a key of which it is not the last part.
func threadOf(key []byte) string { return string(key[1:bytes.IndexByte(key, 0)]) }

// sendKeyOf takes the key of a send token apart.
func sendKeyOf(key []byte) core.SendKey {
	thread, rest, _ := bytes.Cut(key[1:], []byte{0})
	caller, token, _ := bytes.Cut(rest, []byte{0})
	return core.SendKey{Thread: string(thread), Caller: string(caller), Token: string(token)}
}
