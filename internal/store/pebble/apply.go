package pebble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// Apply commits a batch of changes with one sync, and returns the outcome of each change when
// all are durable; see core.Store. It returns core.ErrStorageFull if too little disk space is
// free.
func (s *Store) Apply(_ context.Context, b core.Batch) ([]core.Outcome, error) {
	if err := s.disk.check(0); err != nil {
		return nil, err
	}
	outcomes, logged, err := s.write(b)
	if err != nil {
		return nil, err
	}
	if logged == nil {
		return outcomes, s.syncDecisions(outcomes)
	}
	if err := s.sync(logged); err != nil {
		return nil, fmt.Errorf("sync a batch of %d changes: %w: %w", len(b.Changes), core.ErrUnknown, err)
	}
	return outcomes, nil
}

// syncDecisions waits until the write-ahead log is on the disk if a change was refused or
// changed nothing. The reason for such an outcome may be a row that another batch has written
// to the log and that is not durable yet.
func (s *Store) syncDecisions(outcomes []core.Outcome) error {
	decided := func(o core.Outcome) bool { return o.Status == core.Refused || o.Status == core.Unchanged }
	if !slices.ContainsFunc(outcomes, decided) {
		return nil
	}
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		s.fatal(err)
		return fmt.Errorf("sync the log before a decision is answered: %w", err)
	}
	return nil
}

// maxKeptValue is the greatest capacity, in bytes, of an encoding buffer that is reused for the
// next batch. A larger buffer is dropped.
const maxKeptValue = 64 << 10

// bigBatch is the size of a batch, in bytes, above which its size is added to the free space
// that the disk must have. Smaller batches fit into the space that is always kept free.
const bigBatch = 512 << 10

// write decides which changes of b apply, gives them their ids, sequences and positions, and
// appends their rows to the write-ahead log without waiting for the disk. The returned
// *logged is nil if no change applied.
func (s *Store) write(b core.Batch) ([]core.Outcome, *logged, error) {
	s.applying.Lock()
	defer s.applying.Unlock()

	state := core.NewBatchState(b)
	state.Position, state.Day = s.position, s.day
	if state.RelistingsInAll = len(s.relistings); state.RelistingsInAll > 0 {
		state.Relistings = maps.Clone(s.relistings)
	}
	if err := load(s.counted(s.db), s.heads, state); err != nil {
		return nil, nil, fmt.Errorf("read the rows of a batch: %w", err)
	}
	for _, q := range s.recent.Load(state, b.At) {
		s.recent.Learn(state, q, s.recentSends(q), b.At)
	}
	written := false
	defer func() {
		if !written {
			s.recent.Forget(state)
			s.heads.clear()
		}
	}()
	var expiries map[string]int64 // expiry time of each thread in the stored index, from before this batch
	for id, h := range state.Heads {
		if on := h.ExpiresOn(); on != 0 {
			if expiries == nil {
				expiries = map[string]int64{}
			}
			expiries[id] = on
		}
	}
	var custom map[string]string // custom id of each user in the stored index, from before this batch
	for id, u := range state.Users {
		if u.CustomID != "" {
			if custom == nil {
				custom = map[string]string{}
			}
			custom[id] = u.CustomID
		}
	}
	outcomes := core.Assign(b, state)

	w := writer{batch: s.db.NewBatch(), key: s.key, value: s.value, heads: make(map[string]bool, len(state.Heads)), expiries: expiries, custom: custom}
	for i := range outcomes {
		if outcomes[i].Status == core.Applied {
			w.change(&outcomes[i], state)
		}
	}
	if s.key = w.key; cap(w.value) <= maxKeptValue {
		s.value = w.value
	}
	if w.batch.Empty() {
		written = true // there is nothing to write
		return outcomes, nil, w.batch.Close()
	}
	if n := w.batch.Len(); n > bigBatch {
		if err := s.disk.check(uint64(n)); err != nil {
			return nil, nil, errors.Join(err, w.batch.Close())
		}
	}
	s.position, s.day = state.Position, state.Day
	for i := range outcomes {
		if r := outcomes[i].Relisting; r != nil {
			s.relistings[r.Thread] = r
		}
	}
	l, err := s.logBatch(w.batch)
	if err != nil {
		return nil, nil, fmt.Errorf("log a batch of %d changes: %w: %w", len(b.Changes), core.ErrUnknown, err)
	}
	written = true
	s.heads.put(state.Heads)
	return outcomes, l, nil
}

// load reads the rows that a batch needs into s. It takes the heads of threads from the cache if
// the cache has them. It also finds rows that earlier batches have written to the write-ahead log
// and that are not durable yet.
func load(r pebble.Reader, cached *headCache, s *core.BatchState) error {
	memory := make([]core.Head, len(s.Reads.Threads))
	for id, withMembers := range s.Reads.Threads {
		h := &memory[0]
		memory = memory[1:]
		found := cached.get(id, h)
		var err error
		if !found {
			h.ID = id
			if found, err = heads.fill(r, h); err != nil {
				return err
			}
		}
		if found {
			s.Heads[id] = h
		}
		if withMembers {
			ms, err := membersOf(r, id)
			if err != nil {
				return err
			}
			s.Members[id] = core.NewRoster(ms)
		}
	}
	return errors.Join(
		loadRows(s.Users, s.Reads.Users, func(id string) (core.User, bool, error) { return users.get(r, core.User{ID: id}) }),
		loadRows(s.CustomIDs, s.Reads.CustomIDs, func(id string) (string, bool, error) {
			u, found, err := customIDs.get(r, core.User{CustomID: id})
			return u.ID, found, err
		}),
		loadRows(s.Messages, s.Reads.Messages, func(k core.MessageKey) (core.Message, bool, error) { return message(r, k.Thread, k.ID) }),
		loadRows(s.Superseded, s.Reads.Superseded, func(k core.MessageKey) ([]core.Span, bool, error) { return spans(r, k.Thread, k.ID) }),
		loadRows(s.Sent, s.Reads.Sent, func(k core.SendKey) (int64, bool, error) {
			t, found, err := sent.get(r, core.SentToken{SendKey: k})
			return t.MessageID, found, err
		}),
		loadRows(s.Receipts, s.Reads.Receipts, func(k core.ReceiptKey) (core.Receipt, bool, error) {
			t, found, err := receipts.get(r, core.ThreadReceipt{Thread: k.Thread, Receipt: core.Receipt{User: k.User}})
			return t.Receipt, found, err
		}),
		loadRows(s.Answers, s.Reads.Answers, func(thread string) (*core.CreateAnswer, bool, error) {
			t, found, err := answers.get(r, core.ThreadAnswer{Thread: thread})
			return &t.CreateAnswer, found, err
		}))
}

// loadRows calls get for each key in names. It stores each row that get finds in the map named to,
// under the row's key.
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

// writer adds the rows of changes to a Pebble batch.
type writer struct {
	batch      *pebble.Batch
	key, value []byte             // buffers, reused for each row
	row        core.ThreadMessage // thread, id and sequence of the message that is being added
	heads      map[string]bool    // threads whose head row the batch already has; the row is the head after all changes of the batch, so it is written once
	expiries   map[string]int64   // expiry time of each thread in the stored expiry rows
	custom     map[string]string  // each user's custom id in the stored index; nil if no user in the batch has one
}

// change adds all rows of an applied change to the batch.
func (w *writer) change(o *core.Outcome, s *core.BatchState) {
	c := o.Change
	for i := range c.PutUsers {
		w.user(&c.PutUsers[i])
	}
	for i := range c.Events {
		w.putEvent(&c.Events[i])
	}
	w.audits(c.Audits)
	if c.Thread == "" {
		return
	}
	if !w.heads[c.Thread] {
		w.heads[c.Thread] = true
		heads.put(w, s.Heads[c.Thread])
		w.expiry(w.expiries[c.Thread], s.Heads[c.Thread])
	}
	for _, m := range c.Members {
		members.put(w, &core.ThreadMember{Thread: c.Thread, Member: m})
	}
	for i := range c.Messages {
		w.message(c.Thread, &c.Messages[i])
	}
	for i := range c.Rewrites {
		w.rewrite(c.Thread, &c.Rewrites[i])
	}
	for i := range c.Superseded {
		w.keep(&core.ThreadSuperseded{Thread: c.Thread, Superseded: c.Superseded[i]})
	}
	for _, k := range c.DropSuperseded {
		r := core.ThreadSuperseded{Thread: k.Thread, Superseded: core.Superseded{Message: core.Message{ID: k.ID, Sequence: k.Sequence}}}
		superseded.remove(w, &r)
		supersededAt.remove(w, &r)
	}
	if c.Receipt != nil {
		receipts.put(w, &core.ThreadReceipt{Thread: c.Thread, Receipt: *c.Receipt})
	}
	for _, user := range c.DropReceipts {
		receipts.remove(w, &core.ThreadReceipt{Thread: c.Thread, Receipt: core.Receipt{User: user}})
	}
	if c.Purge {
		w.purge(c.Thread)
	}
	if c.SendToken != "" {
		k := core.SendKey{Thread: c.Thread, Caller: c.Caller, Token: c.SendToken}
		sent.put(w, &core.SentToken{SendKey: k, MessageID: c.Messages[0].ID})
	}
	if c.Answer != nil {
		answers.put(w, &core.ThreadAnswer{Thread: c.Thread, CreateAnswer: *c.Answer})
	}
	for i := range o.ListMoves {
		w.listMove(&o.ListMoves[i])
	}
	if o.Relisting != nil {
		relistings.put(w, o.Relisting)
	}
}

// user writes a user's row, and adds or removes the user in the index of users whose
// deletion is not complete and in the index of custom ids.
func (w *writer) user(u *core.User) {
	users.put(w, u)
	if had := w.custom[u.ID]; had != u.CustomID {
		w.customID(u, had)
	}
	switch u.State {
	case core.UserDeleting:
		deleting.put(w, u)
	case core.UserDeleted:
		deleting.remove(w, u)
	}
}

// customID replaces the entry of a user in the index of custom ids. had is the custom id that the
// index has for the user, or "" if it has none.
func (w *writer) customID(u *core.User, had string) {
	if had != "" {
		customIDs.remove(w, &core.User{CustomID: had})
		delete(w.custom, u.ID)
	}
	if u.CustomID == "" {
		return
	}
	customIDs.put(w, u)
	if w.custom == nil {
		w.custom = map[string]string{}
	}
	w.custom[u.ID] = u.CustomID
}

// expiry updates the index of threads by expiry time after the head h has changed. was is the
// time that the index has for the thread, in epoch milliseconds, or 0 if the thread is not in
// it.
func (w *writer) expiry(was int64, h *core.Head) {
	on := h.ExpiresOn()
	if was != 0 && was != on {
		expiries.remove(w, &core.Expiry{On: was, Thread: h.ID})
	}
	if on != 0 && was != on {
		expiries.put(w, &core.Expiry{On: on, Thread: h.ID})
	}
}

// message writes a message's row, and the index row that maps its id to its sequence.
func (w *writer) message(thread string, m *core.Message) {
	w.row.Thread, w.row.ID, w.row.Sequence = thread, m.ID, m.Sequence
	w.key, w.value = messages.schema.EncodeKey(append(w.key[:0], kindMessage), &w.row), row.Message.Encode(w.value[:0], m)
	w.batch.Set(w.key, w.value, nil) // write the same row as messages.put does, but without two function calls for each field
	ids.put(w, &w.row)
}

// putEvent writes an event's row, and the index row that maps its position to its
// thread and number.
func (w *writer) putEvent(e *core.Event) {
	events.put(w, e)
	positions.put(w, e)
}

// rewrite writes the new state of a message. If the message's sequence changed, it deletes the
// row at the old sequence.
func (w *writer) rewrite(thread string, r *core.Rewrite) {
	if r.Sequence != r.OldSequence {
		messages.remove(w, &core.ThreadMessage{Thread: thread, Message: core.Message{Sequence: r.OldSequence}})
	}
	w.message(thread, &r.Message)
}

// keep writes the row of a superseded message, and the index row that maps the message's
// sequence to its id.
func (w *writer) keep(r *core.ThreadSuperseded) {
	superseded.put(w, r)
	supersededAt.put(w, r)
}

// purge deletes a thread's messages, superseded ones too, the index of their ids, and the
// thread's idempotency tokens and receipts. The head, the members, the stored answer to the
// thread's creation and the events stay.
func (w *writer) purge(thread string) {
	for _, kind := range []byte{kindMessage, kindID, kindSuperseded, kindSupersededAt, kindSent, kindReceipt} {
		lower := append([]byte{kind}, part(thread)...)
		w.batch.DeleteRange(lower, prefixEnd(lower), nil)
	}
}

// listMove moves a thread's entry in a user's list of threads to another minute.
func (w *writer) listMove(m *core.ListMove) {
	if m.From != 0 {
		lists.remove(w, &core.ListMove{User: m.User, Thread: m.Thread, To: m.From})
	}
	lists.put(w, m)
}
