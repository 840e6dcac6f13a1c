package pebble

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// Check compares all rows of the store with each other and returns the number of rows of each
// kind that an export has; see core.Checker. The error wraps ErrDamaged if a row cannot be read
// or contradicts another.
func (s *Store) Check(ctx context.Context) (core.Counts, error) {
	snap := s.durable.acquire()
	defer snap.release()
	c, err := check(ctx, snap, func(fault string) error { return &Damage{Dir: s.dir, What: fault} })
	if pebble.IsCorruptionError(err) {
		err = s.damaged("", err)
	}
	return counts(c), err
}

// counts copies from a census the number of rows of each kind that an export has.
func counts(c Census) core.Counts {
	return core.Counts{
		Users: c.Rows("users"), Threads: c.Rows("threads"), Members: c.Rows("members"), Messages: c.Rows("messages"),
		Superseded: c.Rows("superseded messages"), Answers: c.Rows("answers"), Tokens: c.Rows("tokens"), Receipts: c.Rows("receipts"), Events: c.Rows("events"), Audit: c.Rows("audit rows"),
	}
}

// check reads every row of a store and compares the rows with each other. It calls report for
// each fault, with one line that names the row, and stops if report returns an error. It
// returns an error, instead of calling report, if rows cannot be read because a file is
// damaged.
//
// For each thread it reads the head and then the thread's rows of each kind; all iterators move
// in key order, so each row is read once. Its memory grows with the number of threads that have
// events in the log.
func check(ctx context.Context, r pebble.Reader, report func(fault string) error) (Census, error) {
	c := &checker{ctx: ctx, r: r, report: report}
	if _, err := settings(r); pebble.IsCorruptionError(err) {
		return Census{}, err
	} else if err != nil {
		if err := report(fmt.Sprintf("the settings: %v", err)); err != nil {
			return Census{}, err
		}
	}
	var err error
	if c.floor, err = logStart(r); pebble.IsCorruptionError(err) {
		return Census{}, err
	} else if err != nil {
		if err := report(fmt.Sprintf("the start of the event log: %v", err)); err != nil {
			return Census{}, err
		}
	}
	if c.schema, _, err = value(r, metaKey(metaSchema), row.Number); err != nil {
		c.schema = schema
	}
	c.tallies = newTallies(c.floor.Position)
	for _, step := range []func() error{c.users, c.moves, c.threads, c.expiries, c.lists, c.events, c.positions, c.endpoints, c.audits, c.others} {
		if err := step(); err != nil {
			return Census{}, err
		}
	}
	return c.tallies.census(), nil
}

// checker is the state of one run of check. Several fields are sums of hashes that compare two
// kinds of rows that must have the same entries. The hashes of one kind's entries are added, and
// the hashes of the other kind's entries are subtracted, so the sum is zero if the kinds agree.
// Only if the sum is not zero does check look up each row in the other kind, to name the rows that
// differ. This look-up takes ten times as long as reading all rows.
type checker struct {
	ctx     context.Context
	r       pebble.Reader
	report  func(fault string) error
	floor   core.Cursor // the cursor right before the first event in the log
	schema  uint64
	tallies *tallies
	rows    int // number of rows read so far
	moving  map[string]*core.Relisting

	seen      seen              // the rows of the current thread
	deletions uint64            // sum of hashes that is 0 if users and the index of users in deletion agree
	named     uint64            // sum of hashes that is 0 if users and the index of custom ids agree
	expiring  uint64            // sum of hashes that is 0 if heads and the index of threads that expire agree
	listed    uint64            // sum of hashes that is 0 if members and the users' lists of threads agree
	placed    uint64            // sum of hashes that is 0 if events and the index of events by position agree
	numbers   map[string]uint64 // number of the latest event of each thread
	last      uint64            // the greatest position
}

// seen has the counts and the sums of hashes of the messages and ids that were read of one
// thread.
type seen struct {
	messages, ids uint64
	last          uint64 // sequence of the last message
	pairs         uint64 // sum of hashes that is 0 if messages and the index of message ids agree
	kept          uint64 // sum of hashes that is 0 if superseded messages and their index agree
}

var hashSeed = maphash.MakeSeed()

// hash returns the hash of one entry. checker adds and subtracts such hashes to compare two kinds
// of rows.
func hash(user, thread string, a, b uint64) uint64 {
	return maphash.Comparable(hashSeed, struct {
		user, thread string
		a, b         uint64
	}{user, thread, a, b})
}

// fault reports a fault of the row with this key, in one line that names the key.
func (c *checker) fault(key []byte, format string, args ...any) error {
	return c.report(fmt.Sprintf("row %q: %s", key, fmt.Sprintf(format, args...)))
}

// read decodes a row and adds it to the census. If the row cannot be decoded, read reports the
// fault and returns ok == false.
func read[T any](c *checker, k kind[T], key, value []byte) (r T, ok bool, err error) {
	if c.rows++; c.rows%checkEvery == 0 && c.ctx.Err() != nil {
		return r, false, c.ctx.Err()
	}
	if r, err = k.parse(key, value); err == nil {
		err = c.tallies.of(k.letter).add(key, value)
	}
	if err != nil {
		return r, false, c.fault(key, "%v", err)
	}
	return r, true, nil
}

// eachRow calls f for each row of a kind. It reports a row that cannot be decoded as a fault,
// without calling f.
func eachRow[T any](c *checker, k kind[T], f func(key []byte, r T) error) error {
	it, err := c.r.NewIter(kindRange(k.letter))
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var r T
		var readable bool
		if r, readable, err = read(c, k, it.Key(), it.Value()); readable && err == nil {
			err = f(it.Key(), r)
		}
	}
	return cmp.Or(err, it.Close()) // Close returns an error of an earlier read too
}

// users reads all users, the index of users whose deletion is not complete and the index of
// custom ids, and reports where they differ.
func (c *checker) users() error {
	err := eachRow(c, users, func(key []byte, u core.User) error {
		if u.CustomID != "" {
			c.named += hash(u.ID, u.CustomID, 0, 0)
			if u.State != core.UserLive {
				return c.fault(key, "the user is deleted, and has a custom id")
			}
		}
		if u.State == core.UserDeleting {
			c.deletions += hash(u.ID, "", 0, 0)
		}
		return nil
	})
	if err == nil {
		err = eachRow(c, deleting, func(_ []byte, u core.User) error {
			c.deletions -= hash(u.ID, "", 0, 0)
			return nil
		})
	}
	if err == nil {
		err = eachRow(c, customIDs, func(_ []byte, u core.User) error {
			c.named -= hash(u.ID, u.CustomID, 0, 0)
			return nil
		})
	}
	if err == nil && c.named != 0 {
		err = c.pairCustomIDs()
	}
	if err != nil || c.deletions == 0 {
		return err
	}
	if err := users.each(c.r, "", func(u core.User) error {
		_, found, err := deleting.get(c.r, core.User{ID: u.ID})
		if err == nil && !found && u.State == core.UserDeleting {
			err = c.report(fmt.Sprintf("user %s is in deletion, and not in the index of such users", u.ID))
		}
		return err
	}); err != nil {
		return err
	}
	return deleting.each(c.r, "", func(entry core.User) error {
		u, _, err := users.get(c.r, core.User{ID: entry.ID})
		if err == nil && u.State != core.UserDeleting {
			err = c.report(fmt.Sprintf("user %s is in the index of users in deletion, and not in deletion", entry.ID))
		}
		return err
	})
}

// pairCustomIDs reports each custom id of a user that the index does not have for this user, and
// each entry of the index whose user does not have the custom id.
func (c *checker) pairCustomIDs() error {
	err := users.each(c.r, "", func(u core.User) error {
		if u.CustomID == "" {
			return nil
		}
		entry, found, err := customIDs.get(c.r, core.User{CustomID: u.CustomID})
		if err == nil && (!found || entry.ID != u.ID) {
			err = c.report(fmt.Sprintf("user %s has a custom id that the index of custom ids does not have for it", u.ID))
		}
		return err
	})
	if err != nil {
		return err
	}
	return customIDs.each(c.r, "", func(entry core.User) error {
		u, _, err := users.get(c.r, core.User{ID: entry.ID})
		if err == nil && u.CustomID != entry.CustomID {
			err = c.report(fmt.Sprintf("the index of custom ids has an entry for user %s, who does not have that custom id", entry.ID))
		}
		return err
	})
}

// cursor iterates over the rows of one kind, of all threads, in key order.
type cursor struct {
	*pebble.Iterator
	letter byte
	read   func(h *core.Head, key, value []byte) error
}

// reading returns a cursor whose read decodes a row of the kind k and calls f with the row and
// the head of its thread.
func reading[T any](c *checker, k kind[T], f func(h *core.Head, key []byte, r *T) error) *cursor {
	return &cursor{letter: k.letter, read: func(h *core.Head, key, value []byte) error {
		r, ok, err := read(c, k, key, value)
		if !ok || err != nil {
			return err
		}
		return f(h, key, &r)
	}}
}

// take calls k.read for each row of the thread h, and stops at the first row of a later thread.
// The caller calls take for all heads in key order, so a row of an earlier thread has no head;
// take reports such a row as a fault.
func (c *checker) take(k *cursor, h *core.Head) error {
	for ; k.Valid(); k.Next() {
		thread, _, _ := bytes.Cut(k.Key()[1:], []byte{0})
		var err error
		switch bytes.Compare(thread, []byte(h.ID)) {
		case -1:
			err = c.fault(k.Key(), "its thread has no head")
		case 1:
			return nil
		default:
			err = k.read(h, k.Key(), k.Value())
		}
		if err != nil {
			return err
		}
	}
	return k.Error()
}

// threads reads each head together with the thread's rows of all kinds, and reports where they
// disagree.
func (c *checker) threads() (err error) {
	cursors := []*cursor{
		reading(c, messages, c.message), reading(c, ids, c.id), reading(c, superseded, c.superseded), reading(c, supersededAt, c.supersededAt),
		reading(c, members, c.member),
		reading(c, answers, func(*core.Head, []byte, *core.ThreadAnswer) error { return nil }),
		reading(c, sent, c.token), reading(c, receipts, c.receipt),
	}
	for _, k := range cursors {
		it, err := c.r.NewIter(kindRange(k.letter))
		if err != nil {
			return err
		}
		defer func() { err = cmp.Or(err, it.Close()) }()
		it.First()
		k.Iterator = it
	}
	all := func(h *core.Head) error {
		c.seen = seen{}
		for _, k := range cursors {
			if err := c.take(k, h); err != nil {
				return err
			}
		}
		return nil
	}
	err = eachRow(c, heads, func(_ []byte, h core.Head) error {
		if on := h.ExpiresOn(); on != 0 {
			c.expiring += hash("", h.ID, uint64(on), 0)
		}
		if err := all(&h); err != nil {
			return err
		}
		return c.thread(&h)
	})
	if err != nil {
		return err
	}
	return all(&core.Head{ID: "\xff"}) // this id is greater than every thread id, so that the rows that are left are reported as rows without a head
}

// message counts a message of the thread with the head h and adds its hash to c.seen. It reports a
// fault if the message is newer than the last one that the head counts.
func (c *checker) message(h *core.Head, key []byte, m *core.ThreadMessage) error {
	c.seen.messages++
	c.seen.last = m.Sequence
	c.seen.pairs += hash("", "", uint64(m.ID), m.Sequence)
	if m.Sequence > h.LastSequence || max(m.ID, m.Version) > h.LastID {
		return c.fault(key, "message %d is newer than its thread's head", m.ID)
	}
	return nil
}

func (c *checker) id(_ *core.Head, _ []byte, m *core.ThreadMessage) error {
	c.seen.ids++
	c.seen.pairs -= hash("", "", uint64(m.ID), m.Sequence)
	return nil
}

// superseded reads the old version of a message that an edit moved to a later sequence. It
// reports the row if the message does not exist or is not at a later sequence.
func (c *checker) superseded(h *core.Head, key []byte, r *core.ThreadSuperseded) error {
	c.seen.kept += hash("", "", uint64(r.ID), r.Sequence) + r.Until
	at, found, err := ids.get(c.r, core.ThreadMessage{Thread: r.Thread, Message: core.Message{ID: r.ID}})
	switch {
	case err != nil:
		return err
	case !found:
		return c.fault(key, "message %d does not exist", r.ID)
	case r.Sequence >= r.Until || r.Until > at.Sequence || at.Sequence > h.LastSequence || r.Version > h.LastID:
		return c.fault(key, "message %d was replaced at sequence %d, and is at %d of %d", r.ID, r.Until, at.Sequence, h.LastSequence)
	}
	return nil
}

func (c *checker) supersededAt(_ *core.Head, _ []byte, r *core.ThreadSuperseded) error {
	c.seen.kept -= hash("", "", uint64(r.ID), r.Sequence) + r.Until
	return nil
}

func (c *checker) member(h *core.Head, key []byte, m *core.ThreadMember) error {
	c.listed += hash(m.User, m.Thread, uint64(c.listMinute(h, &m.Member)), 0)
	for i, in := range m.Intervals {
		open := in.To == 0
		if open != (i == len(m.Intervals)-1 && m.Left == nil) || !open && in.To < in.From || max(in.From, in.To) > h.LastEvent {
			return c.fault(key, "the member was in the thread from event %d to %d, of %d", in.From, in.To, h.LastEvent)
		}
	}
	if m.LastSequence() > h.LastSequence {
		return c.fault(key, "the member left after message %d, of %d", m.LastSequence(), h.LastSequence)
	}
	return nil
}

// listMinute returns the minute that a thread's entry must have in a member's list of threads. This
// is the minute of the thread's last message or, for a member who has left, of the time of leaving.
// It is an earlier minute if the entry has yet to be moved.
func (c *checker) listMinute(h *core.Head, m *core.Member) int64 {
	if m.Left != nil {
		return core.MinuteOf(m.Left.On)
	}
	return c.moving[h.ID].Place(m.User, core.MinuteOf(h.LastMessageOn))
}

// moves reads the relistings: the rows of threads whose list entries are being moved to another
// minute. It reports a row whose thread has no head, or whose new minute is not later than the old
// one or is later than the thread's last message.
func (c *checker) moves() error {
	c.moving = map[string]*core.Relisting{}
	return eachRow(c, relistings, func(key []byte, r core.Relisting) error {
		c.moving[r.Thread] = &r
		h, found, err := heads.get(c.r, core.Head{ID: r.Thread})
		switch minute := core.MinuteOf(h.LastMessageOn); {
		case err != nil:
			return nil // reported with the thread
		case !found:
			return c.fault(key, "its thread has no head")
		case r.From >= r.To || r.To > minute:
			return c.fault(key, "list entries are moved from minute %d to %d, and the last message is at minute %d", r.From, r.To, minute)
		}
		return nil
	})
}

func (c *checker) token(_ *core.Head, key []byte, t *core.SentToken) error {
	_, found, err := ids.get(c.r, core.ThreadMessage{Thread: t.Thread, Message: core.Message{ID: t.MessageID}})
	if err == nil && !found {
		err = c.fault(key, "message %d does not exist", t.MessageID)
	}
	return err
}

func (c *checker) receipt(h *core.Head, key []byte, r *core.ThreadReceipt) error {
	if r.MessageID > h.LastID {
		return c.fault(key, "message %d is newer than its thread's head", r.MessageID)
	}
	return nil
}

// thread reports the faults that show up when all rows of a thread have been read, from the
// counts and sums in c.seen.
func (c *checker) thread(h *core.Head) error {
	t := c.seen
	switch {
	case t.ids != t.messages || t.pairs != 0:
		return c.pairMessages(h)
	case t.kept != 0:
		return c.pairSuperseded(h)
	// The thread's last sequence must have a message, unless the messages were purged.
	case h.DeletedOn == 0 && t.last != h.LastSequence:
		return c.report(fmt.Sprintf("thread %s has no message with sequence %d: its last one has %d", h.ID, h.LastSequence, t.last))
	}
	return nil
}

// pairMessages reports each message of a thread that the index of ids does not have, and each
// entry of that index without its message.
func (c *checker) pairMessages(h *core.Head) error {
	err := messages.each(c.r, part(h.ID), func(m core.ThreadMessage) error {
		at, found, err := ids.get(c.r, core.ThreadMessage{Thread: h.ID, Message: core.Message{ID: m.ID}})
		if err == nil && (!found || at.Sequence != m.Sequence) {
			err = c.report(fmt.Sprintf("thread %s has message %d with sequence %d, which the index of ids does not have", h.ID, m.ID, m.Sequence))
		}
		return err
	})
	if err != nil {
		return err
	}
	return ids.each(c.r, part(h.ID), func(at core.ThreadMessage) error {
		m, found, err := messages.get(c.r, at)
		if err == nil && (!found || m.ID != at.ID) {
			err = c.report(fmt.Sprintf("thread %s has no message %d with sequence %d, which the index of ids has", h.ID, at.ID, at.Sequence))
		}
		return err
	})
}

// pairSuperseded reports each superseded message of a thread that the index of sequences does
// not have, and each entry of that index without its superseded message.
func (c *checker) pairSuperseded(h *core.Head) error {
	err := superseded.each(c.r, part(h.ID), func(r core.ThreadSuperseded) error {
		at, found, err := supersededAt.get(c.r, core.ThreadSuperseded{Thread: h.ID, Superseded: core.Superseded{Message: core.Message{Sequence: r.Sequence}}})
		if err == nil && (!found || at.ID != r.ID || at.Until != r.Until) {
			err = c.report(fmt.Sprintf("thread %s has superseded message %d with sequence %d, which the index of sequences does not have", h.ID, r.ID, r.Sequence))
		}
		return err
	})
	if err != nil {
		return err
	}
	return supersededAt.each(c.r, part(h.ID), func(at core.ThreadSuperseded) error {
		r, found, err := superseded.get(c.r, at)
		if err == nil && (!found || r.Until != at.Until) {
			err = c.report(fmt.Sprintf("thread %s has no superseded message %d with sequence %d, which the index of sequences has", h.ID, at.ID, at.Sequence))
		}
		return err
	})
}

// expiries reads the index of threads by expiry time and reports where it differs from the
// heads.
func (c *checker) expiries() error {
	if c.schema < 2 {
		return nil // stores of schema 1 do not have the index of threads by expiry time
	}
	err := eachRow(c, expiries, func(_ []byte, e core.Expiry) error {
		c.expiring -= hash("", e.Thread, uint64(e.On), 0)
		return nil
	})
	if err != nil || c.expiring == 0 {
		return err
	}
	if err := heads.each(c.r, "", func(h core.Head) error {
		if h.ExpiresOn() == 0 {
			return nil
		}
		_, found, err := expiries.get(c.r, core.Expiry{On: h.ExpiresOn(), Thread: h.ID})
		if err == nil && !found {
			err = c.report(fmt.Sprintf("thread %s expires, and is not in the index of such threads", h.ID))
		}
		return err
	}); err != nil {
		return err
	}
	return expiries.each(c.r, "", func(e core.Expiry) error {
		h, _, err := heads.get(c.r, core.Head{ID: e.Thread})
		if err == nil && h.ExpiresOn() != e.On {
			err = c.report(fmt.Sprintf("thread %s is in the index of threads that expire, and does not expire at %d", e.Thread, e.On))
		}
		return err
	})
}

// lists reads the users' lists of threads and reports where they differ from the members.
func (c *checker) lists() error {
	err := eachRow(c, lists, func(_ []byte, l core.ListMove) error {
		c.listed -= hash(l.User, l.Thread, uint64(l.To), 0)
		return nil
	})
	if err != nil || c.listed == 0 {
		return err
	}
	var h core.Head
	var exists bool
	if err := members.each(c.r, "", func(m core.ThreadMember) error {
		if h.ID != m.Thread {
			var err error
			if h, exists, err = heads.get(c.r, core.Head{ID: m.Thread}); err != nil {
				return err
			}
		}
		_, found, err := lists.get(c.r, core.ListMove{User: m.User, Thread: m.Thread, To: c.listMinute(&h, &m.Member)})
		if err == nil && exists && !found {
			err = c.report(fmt.Sprintf("member %s of thread %s does not have it in its list at minute %d", m.User, m.Thread, c.listMinute(&h, &m.Member)))
		}
		return err
	}); err != nil {
		return err
	}
	return lists.each(c.r, "", func(l core.ListMove) error {
		v, err := view(c.r, l.Thread, l.User)
		if err == nil && (v.Member == nil || c.listMinute(&v.Head, v.Member) != l.To) {
			err = c.report(fmt.Sprintf("the list of user %s has thread %s at minute %d, where it does not belong", l.User, l.Thread, l.To))
		}
		return err
	})
}

// events reads the event log and reports where it contradicts the heads. The numbers of a
// thread's events must have no gaps, from the first event in the log to the last one that the
// head counts.
func (c *checker) events() error {
	c.numbers = map[string]uint64{}
	var h core.Head
	var found bool
	err := eachRow(c, events, func(key []byte, e core.Event) error {
		c.placed += hash("", e.Thread, e.Position, e.Number) + uint64(e.Day)
		if e.Thread == "" {
			return nil
		}
		if h.ID != e.Thread {
			var err error
			if h, found, err = heads.get(c.r, core.Head{ID: e.Thread}); err != nil {
				return err
			}
		}
		before, later := c.numbers[e.Thread]
		c.numbers[e.Thread] = e.Number
		switch {
		case !found:
			return c.fault(key, "its thread has no head")
		case e.Number > h.LastEvent:
			return c.fault(key, "its thread's head says that there are %d events", h.LastEvent)
		case later && e.Number != before+1:
			return c.fault(key, "the event before it has number %d", before)
		case e.Number == h.LastEvent && e.Position != h.LastPosition:
			return c.fault(key, "it has position %d, and its thread's head says %d", e.Position, h.LastPosition)
		}
		return c.eventMessage(key, &h, &e)
	})
	if err != nil {
		return err
	}
	return heads.each(c.r, "", func(h core.Head) error {
		if n := c.numbers[h.ID]; n != h.LastEvent && (n != 0 || h.LastPosition > c.floor.Position) {
			return c.report(fmt.Sprintf("thread %s has no event %d, at position %d: its last one is %d", h.ID, h.LastEvent, h.LastPosition, n))
		}
		return nil
	})
}

// eventMessage reports an event whose message does not exist, unless the thread's messages were
// purged.
func (c *checker) eventMessage(key []byte, h *core.Head, e *core.Event) error {
	if e.MessageID == 0 || h.DeletedOn != 0 || e.Kind == core.ReceiptReceived {
		return nil
	}
	_, found, err := ids.get(c.r, core.ThreadMessage{Thread: e.Thread, Message: core.Message{ID: e.MessageID}})
	if err == nil && !found {
		err = c.fault(key, "message %d does not exist", e.MessageID)
	}
	return err
}

// positions reads the index of events by position. It reports gaps between positions, entries
// without their event, and events without their entry.
func (c *checker) positions() error {
	c.last = c.floor.Position
	err := eachRow(c, positions, func(key []byte, e core.Event) error {
		c.placed -= hash("", e.Thread, e.Position, e.Number) + uint64(e.Day)
		was := c.last
		c.last = e.Position
		if e.Position != was+1 {
			return c.fault(key, "position %d is missing", was+1)
		}
		return nil
	})
	if err != nil || c.placed == 0 {
		return err
	}
	if err := positions.each(c.r, "", func(at core.Event) error {
		e, found, err := events.get(c.r, core.Event{Day: at.Day, Thread: at.Thread, Number: at.Number})
		if err == nil && (!found || e.Position != at.Position) {
			err = c.report(fmt.Sprintf("position %d has no event: it names event %d of thread %q on day %d", at.Position, at.Number, at.Thread, at.Day))
		}
		return err
	}); err != nil {
		return err
	}
	return events.each(c.r, "", func(e core.Event) error {
		at, found, err := positions.get(c.r, core.Event{Day: e.Day, Position: e.Position})
		if err == nil && (!found || at.Thread != e.Thread || at.Number != e.Number) {
			err = c.report(fmt.Sprintf("event %d of thread %q on day %d is not at its position %d", e.Number, e.Thread, e.Day, e.Position))
		}
		return err
	})
}

// endpoints reports each client that has answered a later event than the last one in the log.
func (c *checker) endpoints() error {
	return eachRow(c, endpoints, func(key []byte, e core.Endpoint) error {
		if e.At.Epoch == c.floor.Epoch && e.At.Position > c.last {
			return c.fault(key, "the client has answered the event at position %d, and the last one is at %d", e.At.Position, c.last)
		}
		return nil
	})
}

// audits reports audit rows that cannot be read. They refer to no other row.
func (c *checker) audits() error {
	return eachRow(c, audits, func([]byte, core.Audit) error { return nil })
}

// others reports keys whose first letter belongs to no kind of row. For each such letter it reports
// only the first key.
func (c *checker) others() error {
	it, err := c.r.NewIter(nil)
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; {
		letter := byte(0)
		if key := it.Key(); len(key) > 0 {
			letter = key[0]
		}
		known := letter == kindMeta || letter == kindKey
		for _, t := range c.tallies.kinds {
			known = known || t.letter == letter
		}
		if !known {
			err = c.fault(it.Key(), "no kind of row has this letter")
		}
		ok = letter < 0xff && it.SeekGE([]byte{letter + 1})
	}
	return cmp.Or(err, it.Close())
}

// settings reads the resource's id, the epoch of the event log and the access keys: the rows
// whose keys have no fields. It fails if one of them is missing or empty.
func settings(r pebble.Reader) (core.Resource, error) {
	resource, err := readResource(r)
	switch {
	case err != nil:
		return resource, err
	case resource.ID == "":
		return resource, errors.New("the row of the resource's id is missing")
	case resource.Epoch == "":
		return resource, errors.New("the row of the epoch is missing")
	}
	for i, k := range resource.Keys {
		if len(k.Secret) == 0 {
			return resource, fmt.Errorf("the row of access key %d is missing", i+1)
		}
	}
	if _, found, err := value(r, metaKey(metaSchema), row.Number); err != nil || !found {
		return resource, errors.Join(errors.New("the row of the schema is missing"), err)
	}
	return resource, nil
}
