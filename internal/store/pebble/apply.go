package pebble

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
)

// Apply commits a batch with one sync; see core.Store.
func (s *Store) Apply(_ context.Context, b core.Batch) ([]core.Outcome, error) {
	if err := s.floor.check(time.Now()); err != nil {
		return nil, err
	}
	outcomes, logged, err := s.write(b)
	if err != nil || logged == nil {
		return outcomes, err
	}
	if err := s.sync(logged); err != nil {
		return nil, fmt.Errorf("sync a batch of %d changes: %w", len(b.Changes), err)
	}
	return outcomes, nil
}

// write checks and numbers the changes and puts them into the log. Nothing is
// logged when none of them holds.
func (s *Store) write(b core.Batch) ([]core.Outcome, *logged, error) {
	s.applying.Lock()
	defer s.applying.Unlock()

	state := core.NewBatchState(b)
	state.Position, state.Day = s.position, s.day
	if err := load(s.db, state); err != nil {
		return nil, nil, fmt.Errorf("read the rows of a batch: %w", err)
	}
	var expiries map[string]int64 // before the batch
	for id, h := range state.Heads {
		if on := h.ExpiresOn(); on != 0 {
			if expiries == nil {
				expiries = map[string]int64{}
			}
			expiries[id] = on
		}
	}
	outcomes := core.Assign(b, state)

	w := writer{batch: s.db.NewBatch(), expiries: expiries}
	for i := range outcomes {
		if outcomes[i].Status == core.Applied {
			w.change(&outcomes[i], state)
		}
	}
	if w.batch.Empty() {
		return outcomes, nil, w.batch.Close()
	}
	s.position, s.day = state.Position, state.Day
	l, err := s.logBatch(w.batch)
	if err != nil {
		return nil, nil, fmt.Errorf("log a batch of %d changes: %w", len(b.Changes), err)
	}
	return outcomes, l, nil
}

// load reads the rows that the batch names, as the log has them.
func load(r pebble.Reader, s *core.BatchState) error {
	for id, withMembers := range s.Reads.Threads {
		h, found, err := head(r, id)
		if err != nil {
			return err
		}
		if found {
			s.Heads[id] = &h
		}
		if withMembers {
			if s.Members[id], err = members(r, id); err != nil {
				return err
			}
		}
	}
	users := func(id string) (core.User, bool, error) { return user(r, id) }
	sent := func(k core.SendKey) (int64, bool, error) {
		return get(r, sentKey(nil, k), func(v []byte) (int64, error) {
			id, err := decodeNumber(v)
			return int64(id), err
		})
	}
	receipts := func(k core.ReceiptKey) (core.Receipt, bool, error) {
		return get(r, receiptKey(nil, k.Thread, k.User), func(v []byte) (core.Receipt, error) { return decodeReceipt(k.User, v) })
	}
	messages := func(k core.MessageKey) (core.Message, bool, error) { return message(r, k.Thread, k.ID) }
	answers := func(thread string) (*core.CreateAnswer, bool, error) {
		return get(r, answerKey(nil, thread), decodeAnswer)
	}
	return errors.Join(
		loadRows(s.Users, s.Reads.Users, users), loadRows(s.Sent, s.Reads.Sent, sent), loadRows(s.Receipts, s.Reads.Receipts, receipts),
		loadRows(s.Messages, s.Reads.Messages, messages), loadRows(s.Answers, s.Reads.Answers, answers))
}

// loadRows reads those of the named rows that exist.
func loadRows[K comparable, V any](to map[K]V, names map[K]struct{}, get func(K) (V, bool, error)) error {
	for k := range names {
		v, found, err := get(k)
		if err != nil {
			return err
		}
		if found {
			to[k] = v
		}
	}
	return nil
}

// writer turns changes into keys and values; its buffers are used again.
type writer struct {
	batch      *pebble.Batch
	key, value []byte
	heads      map[string]bool  // written already: the last state of a thread is enough
	expiries   map[string]int64 // of threads, as their entries have them
}

func (w *writer) set() { w.batch.Set(w.key, w.value, nil) }

// change writes the rows of an applied change.
func (w *writer) change(o *core.Outcome, s *core.BatchState) {
	c := o.Change
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
		w.key, w.value = headKey(w.key[:0], c.Thread), encodeHead(w.value[:0], s.Heads[c.Thread])
		w.set()
		w.expiry(w.expiries[c.Thread], s.Heads[c.Thread])
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
	for _, m := range o.ListMoves {
		w.listMove(m)
	}
}

// expiry moves a thread's entry among those that expire.
func (w *writer) expiry(was int64, h *core.Head) {
	if h.ExpiresOn() == was {
		return
	}
	if was != 0 {
		w.batch.Delete(expiryKey(was, h.ID), nil)
	}
	if on := h.ExpiresOn(); on != 0 {
		w.key, w.value = expiryKey(on, h.ID), encodeEntry(w.value[:0])
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
	if r.Sequence != r.OldSequence {
		w.key = messageKey(w.key[:0], thread, r.OldSequence)
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
	for _, user := range c.DropReceipts {
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

func (w *writer) listMove(l core.ListMove) {
	if l.From != 0 {
		w.key = listKey(w.key[:0], l.User, l.From, l.Thread)
		w.batch.Delete(w.key, nil)
	}
	w.key, w.value = listKey(w.key[:0], l.User, l.To, l.Thread), encodeEntry(w.value[:0])
	w.set()
}
