package pebble

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
)

// mendThreads mends each thread of which at least one row was salvaged.
func (m *mender) mendThreads() error {
	snap := m.store.db.NewSnapshot()
	defer snap.Close()
	lost, err := m.headless(snap)
	if err != nil {
		return err
	}
	for _, id := range lost {
		if err := m.mendThread(snap, id); err != nil {
			return err
		}
	}
	return heads.each(snap, "", func(h core.Head) error { return m.mendThread(snap, h.ID) })
}

// headless returns the threads that have rows but no head.
func (m *mender) headless(r pebble.Reader) (lost []string, err error) {
	for id := range m.threads {
		_, found, err := heads.get(r, core.Head{ID: id})
		if err != nil {
			return nil, err
		}
		if !found {
			lost = append(lost, id)
		}
	}
	for _, kind := range []byte{kindMember, kindMessage, kindSuperseded, kindAnswer, kindSent, kindReceipt} {
		it, err := r.NewIter(kindRange(kind))
		if err != nil {
			return nil, err
		}
		for ok := it.First(); ok && err == nil; {
			id, _, _ := bytes.Cut(it.Key()[1:], []byte{0})
			thread := string(id)
			var found bool
			if _, found, err = heads.get(r, core.Head{ID: thread}); err == nil && !found {
				lost = append(lost, thread)
			}
			ok = it.SeekGE(append(append([]byte{kind}, thread...), 1)) // the first key behind the thread's
		}
		if err := errors.Join(err, it.Close()); err != nil {
			return nil, err
		}
	}
	slices.Sort(lost)
	return slices.Compact(lost), nil
}

// found has the properties of a thread's head that follow from the thread's other rows.
type found struct {
	ids          map[int64]core.Message // the messages without their content, by id
	lastID       int64
	lastEvent    uint64
	lastSequence uint64
	left         uint64 // the greatest sequence with which a member left
	lastOn       int64  // time at which the last message was created
	created      int64  // time at which the first message was created
	by           string
	topic        string
	topicAt      uint64 // sequence of the message that sets the topic
}

// mendThread changes the rows of a thread so that they agree with each other and with the event
// log.
func (m *mender) mendThread(r pebble.Reader, id string) error {
	h, exists, err := heads.get(r, core.Head{ID: id})
	if err != nil {
		return err
	}
	log := m.threads[id]
	if log == nil {
		log = &threadEvents{}
	}
	if log.deleted != 0 && h.DeletedOn == 0 && exists {
		m.report.repaired("threads deleted, as the event log says", "%s", id)
		h.DeletedOn = log.deleted
	}
	f := found{ids: map[int64]core.Message{}}
	if h.DeletedOn != 0 || !exists && log.deleted != 0 {
		err = m.purgeThread(r, id)
	} else {
		err = cmp.Or(m.mendMessages(r, id, &f), m.mendSuperseded(r, id, &f))
	}
	if err != nil {
		return err
	}
	if !exists && len(f.ids) == 0 {
		// Neither the head nor a message was salvaged. Drop the thread, because it may have
		// been deleted: a live thread has at least one message.
		return m.dropThread(r, id)
	}
	if err := m.mendMembers(r, id, &h, &f); err != nil {
		return err
	}
	if err := receipts.each(r, part(id), func(t core.ThreadReceipt) error {
		f.lastID = max(f.lastID, t.MessageID)
		return nil
	}); err != nil {
		return err
	}
	f.lastEvent = max(f.lastEvent, log.last)
	if !exists {
		h = rebuilt(id, &f)
		m.report.repaired("threads whose properties were rebuilt from their rows", "%s", id)
	}
	was := h
	h.LastID, h.LastEvent = max(h.LastID, f.lastID), max(h.LastEvent, f.lastEvent)
	h.LastMessageOn = max(h.LastMessageOn, f.lastOn)
	h.Revision = max(h.Revision, 1)
	h.LastSequence = max(h.LastSequence, f.left)
	if h.DeletedOn == 0 {
		h.LastSequence = f.lastSequence
	}
	if exists && was.Counters != h.Counters {
		m.report.repaired("threads whose counters were corrected", "%s", id)
	}
	log.last = h.LastEvent
	heads.put(&m.writer, &h)
	return m.next()
}

// rebuilt returns a new head, made from the thread's other rows, for a thread whose head is
// lost.
func rebuilt(id string, f *found) core.Head {
	h := core.Head{ID: id, Revision: max(f.lastEvent, 1)} // no less than the lost revision, because each change of the revision has an event
	h.Topic, h.CreatedBy, h.CreatedOn = f.topic, f.by, f.created
	return h
}

// mendMessages drops the messages of erased users, older versions of edited messages, and
// idempotency tokens whose messages are lost. It adds the other messages to f.
func (m *mender) mendMessages(r pebble.Reader, thread string, f *found) error {
	err := messages.each(r, part(thread), func(t core.ThreadMessage) error {
		if m.erased[t.Sender] && t.DeletedOn == 0 {
			m.report.repaired("messages dropped of users who were erased", "message %d of thread %s", t.ID, thread)
			messages.remove(&m.writer, &t)
			return m.next()
		}
		if before, ok := f.ids[t.ID]; ok { // the message has a second row: an edit moved the message, and its old row came back
			old := core.ThreadMessage{Thread: thread, Message: before}
			if cmp.Or(cmp.Compare(t.Version, before.Version), cmp.Compare(t.Sequence, before.Sequence)) < 0 {
				old.Message = t.Message
			}
			m.report.repaired("older versions of messages dropped", "message %d of thread %s", t.ID, thread)
			messages.remove(&m.writer, &old)
			if old.Sequence == t.Sequence {
				return m.next()
			}
		}
		f.add(&t.Message)
		if m.forget(&t.Message) {
			m.report.repaired("names removed from messages of users who were erased", "message %d of thread %s", t.ID, thread)
			messages.put(&m.writer, &t)
		}
		return m.next()
	})
	if err != nil {
		return err
	}
	for _, k := range f.ids {
		f.lastSequence = max(f.lastSequence, k.Sequence)
		ids.put(&m.writer, &core.ThreadMessage{Thread: thread, Message: k}) // mendEvents looks it up
		if err := m.next(); err != nil {
			return err
		}
	}
	return sent.each(r, part(thread), func(t core.SentToken) error {
		if _, ok := f.ids[t.MessageID]; ok {
			return nil
		}
		m.report.repaired("idempotency tokens dropped whose messages are lost", "message %d of thread %s", t.MessageID, thread)
		sent.remove(&m.writer, &t)
		return m.next()
	})
}

// mendSuperseded drops a superseded version if its message is lost or older than the version,
// or if the version must not come back because its message was deleted or its sender erased.
func (m *mender) mendSuperseded(r pebble.Reader, thread string, f *found) error {
	return superseded.each(r, part(thread), func(t core.ThreadSuperseded) error {
		now, ok := f.ids[t.ID]
		if ok && t.Until <= now.Sequence && t.Sequence < t.Until && !m.erased[t.Sender] && (now.DeletedOn == 0 || t.DeletedOn != 0) {
			return m.next()
		}
		m.report.repaired("superseded versions of messages dropped", "message %d of thread %s", t.ID, thread)
		superseded.remove(&m.writer, &t)
		return m.next()
	})
}

// forget removes from a message the display names of users who were erased. It reports whether
// it removed one.
func (m *mender) forget(msg *core.Message) (changed bool) {
	if m.erased[msg.Sender] && msg.SenderDisplayName != "" {
		msg.SenderDisplayName, changed = "", true
	}
	for i := range msg.Participants {
		if p := &msg.Participants[i]; m.erased[p.User] && p.DisplayName != "" {
			p.DisplayName, changed = "", true
		}
	}
	return changed
}

// add adds to f the properties of the thread's head that follow from a message.
func (f *found) add(m *core.Message) {
	f.ids[m.ID] = core.Message{ID: m.ID, Version: m.Version, Sequence: m.Sequence, DeletedOn: m.DeletedOn}
	f.lastID = max(f.lastID, m.ID, m.Version)
	f.lastOn = max(f.lastOn, m.CreatedOn)
	if f.created == 0 || m.CreatedOn < f.created {
		f.created, f.by = m.CreatedOn, cmp.Or(m.Initiator, m.Sender)
	}
	if m.Kind == core.TopicUpdated && m.Sequence > f.topicAt {
		f.topic, f.topicAt = m.Content, m.Sequence
	}
}

// mendMembers corrects members who left the thread after the last message that was salvaged. It
// makes that message the last one that they may read. Otherwise they could see new messages, which
// get the sequences of lost ones.
func (m *mender) mendMembers(r pebble.Reader, thread string, h *core.Head, f *found) error {
	return members.each(r, part(thread), func(t core.ThreadMember) error {
		for _, in := range t.Intervals {
			f.lastEvent = max(f.lastEvent, in.From, in.To)
		}
		if m.erased[t.User] && (t.DisplayName != "" || len(t.Metadata) > 0) {
			m.report.repaired("names of members removed who were erased", "%s in thread %s", t.User, thread)
			t.DisplayName, t.Metadata = "", nil
			members.put(&m.writer, &t)
		}
		f.left = max(f.left, t.LastSequence())
		if t.Left == nil || h.DeletedOn != 0 || t.Left.Sequence <= f.lastSequence {
			return m.next()
		}
		if f.lastSequence == 0 { // drop the member: one who left at the sequence 0 would see no message
			m.report.repaired("members dropped who left a thread without messages that can be read", "%s in thread %s", t.User, thread)
			members.remove(&m.writer, &t)
			return m.next()
		}
		left := *t.Left
		left.Sequence = f.lastSequence
		t.Left = &left
		m.report.repaired("members who left behind the last message that can be read", "%s in thread %s", t.User, thread)
		members.put(&m.writer, &t)
		return m.next()
	})
}

// purgeThread drops the rows that the deletion of a thread deletes: messages, superseded ones too,
// tokens and receipts.
func (m *mender) purgeThread(r pebble.Reader, thread string) error {
	for _, kind := range []byte{kindMessage, kindSuperseded, kindSent, kindReceipt} {
		prefix := append([]byte{kind}, part(thread)...)
		it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
		if err != nil {
			return err
		}
		for ok := it.First(); ok; ok = it.Next() {
			m.report.repaired("rows dropped of deleted threads", "%q", it.Key())
			m.batch.Delete(it.Key(), nil)
		}
		if err := it.Close(); err != nil {
			return err
		}
	}
	return nil
}

// dropThread drops all rows of a thread, its events too.
func (m *mender) dropThread(r pebble.Reader, thread string) error {
	m.report.repaired("threads dropped of which neither properties nor messages can be read", "%s", thread)
	for _, kind := range []byte{kindMember, kindAnswer, kindSent, kindReceipt, kindMessage, kindSuperseded} {
		prefix := append([]byte{kind}, part(thread)...)
		if kind == kindAnswer { // the key of an answer ends with the thread's id, without the zero byte that prefix has
			answers.remove(&m.writer, &core.ThreadAnswer{Thread: thread})
			continue
		}
		m.batch.DeleteRange(prefix, prefixEnd(prefix), nil)
	}
	if log := m.threads[thread]; log != nil {
		log.last = 0 // with last 0, mendEvents drops all events of the thread
	}
	return m.next()
}

// mendEvents gives the salvaged events new positions without gaps, in their old order. It does
// not change the numbers of a thread's events, because the rows of members refer to them.
// Instead, if an event of a thread is lost, it writes a new event with this number and without
// a message, about which no client is told.
func (m *mender) mendEvents() error {
	sorted, err := m.sortEvents()
	if err != nil {
		return err
	}
	defer sorted.db.Close()
	for _, kind := range []byte{kindEvent, kindPosition} {
		m.batch.DeleteRange([]byte{kind}, []byte{kind + 1}, nil)
	}
	if err := m.flush(); err != nil {
		return err
	}
	p := placer{mender: m}
	it, err := sorted.db.NewIter(nil)
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var e core.Event
		if e, err = sortedEvent(it.Key(), it.Value()); err == nil {
			err = p.put(e)
		}
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return err
	}
	return p.end()
}

// sortEvents returns a temporary store that has the salvaged events in the order of their
// positions.
func (m *mender) sortEvents() (*values, error) {
	v, err := openRaw(m.work.fs, m.work.fs.PathJoin(m.work.dir, "events"), m.work)
	if err != nil {
		return nil, err
	}
	err = events.each(m.store.db, "", func(e core.Event) error {
		key := binary.BigEndian.AppendUint64(nil, e.Position)
		key = append(key, events.key(nil, &e)...)
		if err := v.batch.Set(key, events.schema.Encode(nil, &e), nil); err != nil || v.batch.Len() < importBatch {
			return err
		}
		return v.commit()
	})
	if err = errors.Join(err, v.commit()); err != nil {
		return nil, errors.Join(err, v.db.Close())
	}
	return v, nil
}

func sortedEvent(key, value []byte) (core.Event, error) { return events.decode(key[8:], value) }

// placer writes events to the new store and gives them consecutive positions.
type placer struct {
	*mender
	position uint64
	day      uint32
	at       int64
}

// put writes an event at the next position. Before it, put writes an event without a message
// for each event that is missing between it and the previous event of its thread.
func (p *placer) put(e core.Event) error {
	p.day, p.at = max(p.day, e.Day), max(p.at, e.At)
	if e.Thread == "" {
		return p.place(e)
	}
	t := p.threads[e.Thread]
	switch {
	case t == nil || t.last == 0:
		p.report.repaired("events dropped of threads that were dropped", "event %d of thread %s", e.Number, e.Thread)
		return nil
	case e.Number <= t.written:
		p.report.repaired("events dropped that are older values", "event %d of thread %s", e.Number, e.Thread)
		return nil
	}
	if t.written != 0 {
		if err := p.fill(e.Thread, t, e.Number-1); err != nil {
			return err
		}
	}
	if e.MessageID != 0 && e.Kind != core.ReceiptReceived {
		kept, err := p.hasMessage(e)
		if err != nil {
			return err
		}
		if !kept {
			p.report.repaired("events whose messages are lost", "event %d of thread %s", e.Number, e.Thread)
			e.MessageID = 0
		}
	}
	t.written = e.Number
	err := p.place(e)
	t.at = p.position
	return err
}

// fill writes an event without a message for each number of a thread from the one after
// t.written to last.
func (p *placer) fill(thread string, t *threadEvents, last uint64) error {
	for t.written < last {
		t.written++
		p.report.repaired("events added in place of lost ones", "event %d of thread %s", t.written, thread)
		if err := p.place(core.Event{Thread: thread, Number: t.written, Kind: core.MessageReceived, At: p.at}); err != nil {
			return err
		}
		t.at = p.position
	}
	return nil
}

// end writes the events that are missing at the end of each thread, after its last written event
// and up to the last one that the thread's head counts.
func (p *placer) end() error {
	for _, id := range slices.Sorted(maps.Keys(p.threads)) {
		if t := p.threads[id]; t.written != 0 {
			if err := p.fill(id, t, t.last); err != nil {
				return err
			}
		}
	}
	return nil
}

// place writes an event at the next position.
func (p *placer) place(e core.Event) error {
	p.position++
	e.Position, e.Day = p.position, p.day
	if e.Thread == "" {
		e.Number = e.Position
	}
	p.putEvent(&e)
	return p.next()
}

// hasMessage reports whether the message of an event exists. It also returns true if the thread
// was deleted, since its messages were purged.
func (p *placer) hasMessage(e core.Event) (bool, error) {
	h, _, err := heads.get(p.store.db, core.Head{ID: e.Thread})
	if err != nil || h.DeletedOn != 0 {
		return true, err
	}
	_, found, err := ids.get(p.store.db, core.ThreadMessage{Thread: e.Thread, Message: core.Message{ID: e.MessageID}})
	return found, err
}

// mendPositions sets the position of the last event in each thread's head.
func (m *mender) mendPositions() error {
	snap := m.store.db.NewSnapshot()
	defer snap.Close()
	return heads.each(snap, "", func(h core.Head) error {
		h.LastPosition = 0
		if t := m.threads[h.ID]; t != nil {
			h.LastPosition = t.at
		}
		heads.put(&m.writer, &h)
		return m.next()
	})
}
