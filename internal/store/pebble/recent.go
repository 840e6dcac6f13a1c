package pebble

import (
	"errors"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// recentSends returns the messages that q asks for. It reads the newest messages of the thread,
// without their texts, and stops at the first one that is too old. It also finds messages that are
// not durable yet.
//
// If rows are damaged, recentSends leaves them out and logs that. A send must not fail because an
// earlier message cannot be read; the only harm is that a repeated send of a damaged message adds a
// second message.
func (s *Store) recentSends(q core.RecentQuery) (sends []core.RecentSend) {
	bounds := prefixRange(kindMessage, part(q.Thread))
	bounds.LowerBound = messages.key(nil, &core.ThreadMessage{Thread: q.Thread, Message: core.Message{Sequence: q.After + 1}})
	it, err := s.counted(s.db).NewIter(bounds)
	if err == nil {
		for n, ok := 0, it.Last(); ok && n < core.MaxRecentSends; n, ok = n+1, it.Prev() {
			var m core.Message
			if bad := row.Message.FillFirst(row.MessageHeader, it.Value(), &m); bad != nil {
				err = errors.Join(err, bad)
				continue
			}
			// Versions of messages increase with their sequences, and no message was created after
			// its version. So all remaining messages are too old.
			if m.Version < q.Since {
				break
			}
			if m.CreatedOn >= q.Since && !m.Fingerprint.IsZero() {
				sends = append(sends, core.RecentSend{ID: m.ID, CreatedOn: m.CreatedOn, Fingerprint: m.Fingerprint})
			}
		}
		err = errors.Join(err, closed(it))
	}
	if err != nil {
		s.log.Warn("store: recent messages of a thread cannot be read, so a repeated send may be stored twice", "thread", q.Thread, "error", plain{err})
	}
	return sends
}
