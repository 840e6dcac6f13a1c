package pebble

import (
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
)

// Apply commits a batch with one sync; see core.Store.
func (s *Store) Apply(_ context.Context, b core.Batch) ([]core.Result, error) {
	if err := s.floor.check(time.Now()); err != nil {
		return nil, err
	}
	results, logged, err := s.write(b)
	if err != nil || logged == nil {
		return results, err
	}
	if err := s.sync(logged); err != nil {
		return nil, fmt.Errorf("sync a batch of %d changes: %w", len(b.Changes), err)
	}
	return results, nil
}

// write checks and numbers the changes and puts them into the log. Nothing is
// logged when none of them holds.
func (s *Store) write(b core.Batch) ([]core.Result, *logged, error) {
	s.applying.Lock()
	defer s.applying.Unlock()

	locked, err := s.gather(b)
	if err != nil {
		return nil, nil, fmt.Errorf("read the rows of a batch: %w", err)
	}
	ends := endings(b.Changes, locked)
	results, listings := core.Assign(b, locked)

	w := writer{batch: s.db.NewBatch()}
	for i, c := range b.Changes {
		if results[i].Status == core.Applied {
			w.change(c, locked)
		}
	}
	for _, l := range listings {
		w.listing(l)
	}
	for thread, was := range ends {
		w.ending(was, locked.Heads[thread])
	}
	if w.batch.Empty() {
		return results, nil, w.batch.Close()
	}
	s.position, s.day = locked.Position, locked.Day
	l, err := s.logBatch(w.batch)
	if err != nil {
		return nil, nil, fmt.Errorf("log a batch of %d changes: %w", len(b.Changes), err)
	}
	return results, l, nil
}

// endings are the times at which the threads end that the changes may give
// another one.
func endings(changes []*core.Change, l *core.Locked) map[string]int64 {
	var ends map[string]int64
	for _, c := range changes {
		if c.Properties == nil && !c.Purge {
			continue
		}
		if ends == nil {
			ends = map[string]int64{}
		}
		ends[c.Thread] = 0
		if h := l.Heads[c.Thread]; h != nil {
			ends[c.Thread] = h.EndsOn()
		}
	}
	return ends
}

// gather reads the rows that the changes name, as the log has them.
func (s *Store) gather(b core.Batch) (*core.Locked, error) {
	l := &core.Locked{
		Heads: make(map[string]*core.Head, len(b.Changes)), Users: map[string]core.User{},
		Sent: map[core.SendKey]int64{}, Answers: map[string]*core.CreateAnswer{},
		Versions: map[core.MessageKey]int64{}, Receipts: map[core.ReceiptKey]core.Receipt{},
		Position: s.position, Day: s.day,
	}
	var key []byte
	absent := map[string]bool{}
	for _, c := range b.Changes {
		if c.Thread != "" && l.Heads[c.Thread] == nil && !absent[c.Thread] {
			key = headKey(key[:0], c.Thread)
			h, found, err := get(s.db, key, func(v []byte) (core.Head, error) { return decodeHead(c.Thread, v) })
			if err != nil {
				return nil, err
			}
			if absent[c.Thread] = !found; found {
				l.Heads[c.Thread] = &h
			}
		}
		for _, u := range c.Users {
			if _, seen := l.Users[u.ID]; seen {
				continue
			}
			row, found, err := get(s.db, userKey(u.ID), func(v []byte) (core.User, error) { return decodeUser(u.ID, v) })
			if err != nil {
				return nil, err
			}
			if found {
				l.Users[u.ID] = row
			}
		}
		if c.SendToken != "" {
			k := core.SendKey{Thread: c.Thread, Caller: c.Caller, Token: c.SendToken}
			key = sentKey(key[:0], k)
			id, found, err := get(s.db, key, decodeNumber)
			if err != nil {
				return nil, err
			}
			if found {
				l.Sent[k] = int64(id)
			}
		}
		for _, r := range c.Rewrites {
			k := core.MessageKey{Thread: c.Thread, ID: r.ID}
			if _, seen := l.Versions[k]; seen {
				continue
			}
			m, _, err := message(s.db, k.Thread, k.ID)
			if err != nil {
				return nil, err
			}
			l.Versions[k] = m.Version
		}
		if c.Receipt != nil {
			k := core.ReceiptKey{Thread: c.Thread, User: c.Receipt.User}
			key = receiptKey(key[:0], k.Thread, k.User)
			r, found, err := get(s.db, key, func(v []byte) (core.Receipt, error) { return decodeReceipt(k.User, v) })
			if err != nil {
				return nil, err
			}
			if found {
				l.Receipts[k] = r
			}
		}
		if c.Answer != nil && l.Answers[c.Thread] == nil {
			key = answerKey(key[:0], c.Thread)
			a, found, err := get(s.db, key, decodeAnswer)
			if err != nil {
				return nil, err
			}
			if found {
				l.Answers[c.Thread] = a
			}
		}
	}
	return l, nil
}

// writer turns changes into keys and values; its buffers are used again.
type writer struct {
	batch      *pebble.Batch
	key, value []byte
	heads      map[string]bool // written already: the last state of a thread is enough
}

func (w *writer) set() { w.batch.Set(w.key, w.value, nil) }

func (w *writer) change(c *core.Change, l *core.Locked) {
	for _, u := range c.PutUsers {
		w.key, w.value = userKey(u.ID), encodeUser(w.value[:0], u)
		w.set()
		switch u.State {
		case core.UserDeleting:
			w.key, w.value = deletingKey(u.ID), encodeEntry(w.value[:0])
			w.set()
		case core.UserDeleted:
			w.batch.Delete(deletingKey(u.ID), nil)
		}
	}
	if c.Thread == "" {
		return
	}
	if w.heads == nil {
		w.heads = map[string]bool{}
	}
	if !w.heads[c.Thread] {
		w.heads[c.Thread] = true
		w.key, w.value = headKey(w.key[:0], c.Thread), encodeHead(w.value[:0], l.Heads[c.Thread])
		w.set()
	}
	for i := range c.Members {
		m := &c.Members[i]
		w.key, w.value = memberKey(w.key[:0], c.Thread, m.User), encodeMember(w.value[:0], m)
		w.set()
	}
	for i := range c.Messages {
		w.message(c.Thread, &c.Messages[i])
	}
	for i := range c.Rewrites {
		w.rewrite(c.Thread, &c.Rewrites[i])
	}
	w.receipts(c)
	if c.Purge {
		w.purge(c.Thread)
	}
	for i := range c.Events {
		w.logged(&c.Events[i])
	}
	if c.SendToken != "" {
		k := core.SendKey{Thread: c.Thread, Caller: c.Caller, Token: c.SendToken}
		w.key, w.value = sentKey(w.key[:0], k), encodeNumber(w.value[:0], uint64(c.Messages[0].ID))
		w.set()
	}
	if c.Answer != nil {
		w.key, w.value = answerKey(w.key[:0], c.Thread), encodeAnswer(w.value[:0], c.Answer)
		w.set()
	}
}

// ending moves a thread's entry among those that end.
func (w *writer) ending(was int64, h *core.Head) {
	if h == nil || h.EndsOn() == was { // a stale create has no head
		return
	}
	if was != 0 {
		w.batch.Delete(endingKey(was, h.ID), nil)
	}
	if on := h.EndsOn(); on != 0 {
		w.key, w.value = endingKey(on, h.ID), encodeEntry(w.value[:0])
		w.set()
	}
}

// message is the row and the way to it from its id.
func (w *writer) message(thread string, m *core.Message) {
	w.key, w.value = messageKey(w.key[:0], thread, m.Sequence), encodeMessage(w.value[:0], m)
	w.set()
	w.key, w.value = idKey(w.key[:0], thread, m.ID), encodeNumber(w.value[:0], m.Sequence)
	w.set()
}

// logged is an event of the log, and its place among all.
func (w *writer) logged(e *core.Event) {
	w.key, w.value = eventKey(w.key[:0], e.Day, e.Thread, e.Number), encodeEvent(w.value[:0], e)
	w.set()
	w.key, w.value = positionKey(w.key[:0], e.Day, e.Position), encodePosition(w.value[:0], e)
	w.set()
}

// rewrite moves a message to its new sequence; its id leads there.
func (w *writer) rewrite(thread string, r *core.Rewrite) {
	if r.Sequence != r.Was {
		w.key = messageKey(w.key[:0], thread, r.Was)
		w.batch.Delete(w.key, nil)
		w.key, w.value = idKey(w.key[:0], thread, r.ID), encodeNumber(w.value[:0], r.Sequence)
		w.set()
	}
	w.key, w.value = messageKey(w.key[:0], thread, r.Sequence), encodeMessage(w.value[:0], &r.Message)
	w.set()
}

func (w *writer) receipts(c *core.Change) {
	if c.Receipt != nil {
		w.key, w.value = receiptKey(w.key[:0], c.Thread, c.Receipt.User), encodeReceipt(w.value[:0], c.Receipt)
		w.set()
	}
	for _, user := range c.NoReceipts {
		w.key = receiptKey(w.key[:0], c.Thread, user)
		w.batch.Delete(w.key, nil)
	}
}

// purge takes away everything of a thread but its head, members, first answer
// and events.
func (w *writer) purge(thread string) {
	for _, kind := range []byte{kindMessage, kindID, kindSent, kindReceipt} {
		lower := text(append([]byte{kind}, thread...), "")
		w.batch.DeleteRange(lower, after(lower), nil)
	}
}

func (w *writer) listing(l core.Listing) {
	if l.From != 0 {
		w.key = listKey(w.key[:0], l.User, l.From, l.Thread)
		w.batch.Delete(w.key, nil)
	}
	w.key, w.value = listKey(w.key[:0], l.User, l.To, l.Thread), encodeEntry(w.value[:0])
	w.set()
}
