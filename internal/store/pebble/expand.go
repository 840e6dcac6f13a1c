package pebble

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// expander adds the details that q.Expand selects to the entries of a user's list of threads.
type expander struct {
	r    pebble.Reader
	q    core.ThreadsQuery
	keys int // that were read, for tests

	// Both iterators span all threads, because to make a new iterator for each thread would take
	// longer than to read its keys. They are moved from greater to smaller keys.
	ids, messages *pebble.Iterator
	key           []byte // buffer
}

// expand sets LastMessage and Unread of the entries, and returns the number of keys that it read.
// It reads three keys of each thread, and two for each message that it looks at.
func expand(r pebble.Reader, q core.ThreadsQuery, entries []core.ThreadEntry) (keys int, err error) {
	x := &expander{r: r, q: q}
	if x.ids, err = r.NewIter(kindRange(kindID)); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, closed(x.ids)) }()
	if x.messages, err = r.NewIter(kindRange(kindMessage)); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, closed(x.messages)) }()
	for i := range entries {
		if err := x.entry(&entries[i]); err != nil {
			return x.keys, err
		}
	}
	return x.keys, nil
}

func (x *expander) entry(e *core.ThreadEntry) error {
	if x.q.Expand.Unread {
		e.Unread = new(int)
	}
	if e.DeletedOn != 0 {
		return nil
	}
	x.keys += 2
	v, err := view(x.r, e.Thread, x.q.User)
	if err != nil || v.Member == nil {
		return err
	}
	if v.Member.Left != nil {
		return x.asLeft(e, v)
	}
	return x.present(e, v.Member)
}

// asLeft sets the last message of a list entry for a user who has left the thread: the newest
// message that the user may read, usually the one that tells of its removal.
func (x *expander) asLeft(e *core.ThreadEntry, v core.View) error {
	if !x.q.Expand.LastMessage {
		return nil
	}
	page := core.MessagesPage{View: v}
	stats, err := fillPage(x.r, core.MessagesQuery{Thread: e.Thread, Reader: x.q.User, Limit: 1}, &page)
	x.keys += int(stats.InternalStats.PointCount)
	if err == nil && len(page.Messages) > 0 {
		e.LastMessage = page.Messages[0].Preview()
	}
	return err
}

// present sets the last message and the number of unread messages in e, for a user who is in the
// thread, as far as x.q.Expand requests them. It reads the messages of the thread from the greatest
// id down. It stops when it has both results, or after core.RecentMessages messages, and counts at
// most core.MaxUnread unread ones.
func (x *expander) present(e *core.ThreadEntry, me *core.Member) error {
	read := core.ThreadReceipt{Thread: e.Thread, Receipt: core.Receipt{User: me.User}}
	counting, seeking := x.q.Expand.Unread, x.q.Expand.LastMessage
	if counting {
		x.keys++
		if _, err := receipts.fill(x.r, &read); err != nil {
			return err
		}
	}
	bounds := prefixRange(kindID, part(e.Thread))
	at := core.ThreadMessage{Thread: e.Thread} // the rows at and m are reused for each message
	var m core.Message
	x.key = x.key[:0] // an empty key says that the messages iterator is not at a message of this thread yet
	ok := x.ids.SeekLT(bounds.UpperBound)
	for looked := 0; ok && bytes.HasPrefix(x.ids.Key(), bounds.LowerBound) && looked < core.RecentMessages; looked++ {
		x.keys++
		at.ID = int64(number(x.ids.Key()))
		counting = counting && at.ID > read.MessageID && *e.Unread < core.MaxUnread
		if !counting && !seeking {
			break
		}
		if err := ids.schema.Fill(x.ids.Value(), &at); err != nil {
			return err
		}
		if err := x.find(&at); err != nil {
			return err
		}
		m = core.Message{Sequence: at.Sequence}
		if err := row.Message.FillFirst(row.MessageSender, x.messages.Value(), &m); err != nil {
			return err
		}
		if counting && m.UnreadBy(me) {
			*e.Unread++
		}
		if seeking && me.Sees(&m) {
			m = core.Message{Sequence: at.Sequence}
			if err := row.Message.Fill(x.messages.Value(), &m); err != nil {
				return err
			}
			e.LastMessage, seeking = m.Preview(), false
		}
		ok = x.ids.Prev()
	}
	return x.ids.Error()
}

// find moves the messages iterator to the row of a message. It first tries the row before the
// current one, which is the right row unless one of the two messages was edited. It fails with
// row.ErrDamaged if the message has no row.
func (x *expander) find(m *core.ThreadMessage) error {
	x.keys++
	near := len(x.key) > 0
	x.key = messages.key(x.key[:0], m)
	if near && x.messages.Prev() && bytes.Equal(x.messages.Key(), x.key) {
		return nil
	}
	x.key = append(x.key, 0) // the smallest key that is greater than the key of m
	found := x.messages.SeekLT(x.key)
	x.key = x.key[:len(x.key)-1]
	if !found || !bytes.Equal(x.messages.Key(), x.key) {
		return errors.Join(row.ErrDamaged, x.messages.Error())
	}
	return nil
}
