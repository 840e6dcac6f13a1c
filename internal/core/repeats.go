package core

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Fingerprint identifies the request that sent a message. An SDK repeats a request whose answer it
// did not get, with the same x-ms-client-request-id. So a request with the fingerprint of a recent
// message is another try of the call that has sent the message.
//
// The first half is from a hash of the caller and the id, the second from a hash of these and of
// the command. A program may set the id itself and use it for many calls; then the second halves
// differ. The hash of the command includes the id, so that nobody can find the content of a deleted
// message by hashing guesses, unless they have the id, from an access log or a recording.
//
// It is zero for a request without such an id and for a request with an idempotency token.
type Fingerprint [16]byte

// IsZero reports whether f is the zero Fingerprint.
func (f Fingerprint) IsZero() bool { return f == Fingerprint{} }

// call returns the half that is equal for all requests of the caller with the same id.
func (f Fingerprint) call() [8]byte { return [8]byte(f[:8]) }

// fingerprintOf returns the fingerprint of a caller's request to send a message. It is zero if the
// request has an idempotency token, or an id that is not a UUID.
func fingerprintOf(caller string, cmd *SendMessage) (f Fingerprint) {
	if cmd.Token != "" || !isUUID(cmd.RequestID) {
		return f
	}
	var buffer [1024]byte // a short command needs no other memory
	b := appendPart(buffer[:0], caller)
	b = appendPart(b, strings.ToLower(cmd.RequestID))
	id := sha256.Sum256(b)
	b = slices.Grow(b, len(cmd.Content)+len(cmd.SenderDisplayName)+64)
	b = append(b, byte(cmd.Kind), 0)
	if cmd.High {
		b[len(b)-1] = 1
	}
	b = appendPart(appendPart(b, cmd.Content), cmd.SenderDisplayName)
	if len(cmd.Metadata) > 0 {
		for _, k := range slices.Sorted(maps.Keys(cmd.Metadata)) {
			b = appendPart(appendPart(b, k), cmd.Metadata[k])
		}
	}
	command := sha256.Sum256(b)
	copy(f[:8], id[:])
	copy(f[8:], command[:])
	return f
}

// appendPart appends the length of s and s to b.
func appendPart(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// isUUID reports whether s has the form of a UUID: 32 hexadecimal digits of either case, in groups
// of 8, 4, 4, 4 and 12 with hyphens between them.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return false
		}
	}
	return true
}

// Bounds of the search for an earlier try of a send: the age of its message, in milliseconds, and
// the number of messages of the thread since then.
const (
	repeatWindow   = 5 * MillisPerMinute
	MaxRecentSends = 512
)

// maxRecent is the greatest size of a Recent, in messages of 32 bytes: 32 MiB. A thread counts as
// recentThreadSize messages more. So a Recent holds 2,000 threads with MaxRecentSends messages each.
const (
	maxRecent        = 1 << 20
	recentThreadSize = 8
)

// RecentSend is a message with a fingerprint.
type RecentSend struct {
	ID, CreatedOn int64
	Fingerprint   Fingerprint
}

// RecentSends has the messages with fingerprints among the newest messages of a thread.
type RecentSends struct {
	through uint64 // Head.LastSequence when the thread was last looked at, or 0
	lastID  int64  // Head.LastID then
	others  bool   // when it was last looked up, another server had added messages
	latest  int64  // time of the last lookup
	sends   []RecentSend
	owner   *Recent
}

// tooOld reports whether a message that was created on createdOn is outside of the window at the
// time at. Nothing is known of the age of a message that is further in the future than the window is
// long: the clock was wrong when the message was created. It counts as too old.
func tooOld(createdOn, at int64) bool {
	age := at - createdOn
	return age > repeatWindow || age < -repeatWindow
}

// find returns the id of the first message that a try of the same call has added. It returns 0 if
// there is none, or if the caller used the same request id for another command, and so not for the
// tries of one call.
func (r *RecentSends) find(f Fingerprint, at int64) (id int64) {
	for i := range r.sends {
		s := &r.sends[i]
		if s.Fingerprint.call() != f.call() || tooOld(s.CreatedOn, at) {
			continue
		}
		if s.Fingerprint != f {
			return 0
		}
		if id == 0 || s.ID < id {
			id = s.ID
		}
	}
	return id
}

// add adds a message, in place of one that is too old or, if there are MaxRecentSends, of the
// oldest. It does nothing if the message is already there or older than all of them.
func (r *RecentSends) add(s RecentSend, at int64) {
	replace, oldest := -1, s.ID
	for i := range r.sends {
		switch was := &r.sends[i]; {
		case was.ID == s.ID:
			return
		case tooOld(was.CreatedOn, at):
			replace, oldest = i, 0
		case was.ID < oldest && len(r.sends) == MaxRecentSends:
			replace, oldest = i, was.ID
		}
	}
	switch {
	case replace >= 0:
		r.sends[replace] = s
	case len(r.sends) < MaxRecentSends:
		r.owner.size -= r.size()
		r.sends = append(r.sends, s)
		r.owner.size += r.size()
	}
}

// repeated returns the id of the message that the send c repeats, or 0 if c adds a message.
func (a *assigner) repeated(c *Change) int64 {
	if len(c.Messages) == 0 || c.Messages[0].Fingerprint.IsZero() {
		return 0
	}
	r := a.Recent[c.Thread]
	if r == nil {
		return 0
	}
	return r.find(c.Messages[0].Fingerprint, a.at)
}

// isAt reports whether r was last looked at when the thread had these counters. The id tells two
// messages with one sequence apart: a message that another server did not receive before it took over,
// and the message that was added there instead.
func (r *RecentSends) isAt(c *Counters) bool {
	return r.through == c.LastSequence && (r.through == 0 || r.lastID == c.LastID)
}

// noteSends adds the messages of an applied change to r, which has the recent sends of the
// change's thread. before has the counters of the thread before the change, and after those after
// it. If r lacks earlier messages, noteSends does nothing: the next lookup finds these too.
func (r *RecentSends) noteSends(c *Change, before, after *Counters, at int64) {
	if r == nil || !r.isAt(before) {
		return
	}
	r.through, r.lastID = after.LastSequence, after.LastID
	for i := range c.Messages {
		if m := &c.Messages[i]; !m.Fingerprint.IsZero() {
			r.add(RecentSend{m.ID, m.CreatedOn, m.Fingerprint}, at)
		}
	}
}

// Recent holds the recent sends of threads for an engine, so that most batches need not read them
// from the store. Its size is at most maxRecent between batches, but for what the last batch needed. It
// is not safe for concurrent use. For each batch an engine may call Expected, and calls Load before
// Assign; reads the messages that Load asks for and passes them to Learn; and calls Forget if the batch
// is not written.
type Recent struct {
	threads *simplelru.LRU[string, *RecentSends]
	size    int // of all, in messages
}

// NewRecent returns a Recent that holds nothing.
func NewRecent() *Recent {
	r := &Recent{}
	r.threads, _ = simplelru.NewLRU(math.MaxInt, func(_ string, s *RecentSends) { r.size -= s.size() }) // fails only for a size of 0
	return r
}

// size returns the size of r in memory, in messages.
func (r *RecentSends) size() int { return cap(r.sends) + recentThreadSize }

// RecentQuery asks for the messages with fingerprints among the newest MaxRecentSends messages of a
// thread: those with sequences above After that were created at Since or later, in epoch
// milliseconds.
type RecentQuery struct {
	Thread string
	After  uint64
	Since  int64
}

// Expected returns the queries that Load will probably return for a batch at this time. An engine
// for which a read takes a round trip may send them together with the query for the heads. It passes
// the messages to Learn for those queries that Load then returns.
func (r *Recent) Expected(s *BatchState, at int64) (queries []RecentQuery) {
	for thread := range s.Reads.Recent {
		if t, ok := r.threads.Peek(thread); !ok {
			queries = append(queries, RecentQuery{thread, 0, at - repeatWindow})
		} else if t.others {
			queries = append(queries, RecentQuery{thread, t.through, at - repeatWindow})
		}
	}
	return queries
}

// Load puts the recent sends of the batch's threads into the state. It returns queries for those
// that it does not know, because they were never read or because another server has added
// messages. The heads of the threads must be in the state. at is the time of the batch.
func (r *Recent) Load(s *BatchState, at int64) (queries []RecentQuery) {
	if r.threads.Len() == 0 && len(s.Reads.Recent) == 0 {
		return nil
	}
	r.evict(s, at)
	for thread := range s.Reads.Threads {
		t, ok := r.threads.Get(thread)
		_, needed := s.Reads.Recent[thread]
		if !ok && !needed {
			continue
		}
		if !ok {
			t = &RecentSends{owner: r}
			r.threads.Add(strings.Clone(thread), t) // it may be part of a longer string
			r.size += t.size()
		}
		insert(&s.Recent, thread, t)
		if !needed {
			continue
		}
		t.latest = at
		head := s.Heads[thread]
		if head == nil {
			head = &Head{} // an earlier change of the batch may create the thread
		}
		// An older state of the store was restored, or messages were lost with a server.
		if t.through > head.LastSequence || t.through == head.LastSequence && !t.isAt(&head.Counters) {
			t.through, t.sends = 0, t.sends[:0]
		}
		switch {
		case t.isAt(&head.Counters):
			t.others = false
		// No message is recent enough. A time in the future tells nothing: messages that were created
		// after the clock was set back do not lower it.
		case at-head.LastMessageOn > repeatWindow:
			t.others, t.through, t.lastID = false, head.LastSequence, head.LastID
		default:
			queries = append(queries, RecentQuery{thread, t.through, at - repeatWindow})
		}
	}
	return queries
}

// Learn adds to the state the messages that a query of Load has found.
func (r *Recent) Learn(s *BatchState, q RecentQuery, found []RecentSend, at int64) {
	t := s.Recent[q.Thread]
	for _, m := range found {
		t.add(m, at)
	}
	head := s.Heads[q.Thread]
	t.others, t.through, t.lastID = t.through != 0, head.LastSequence, head.LastID
	r.evict(s, at)
}

// Forget removes the threads of a batch from r. The engine calls it if the batch was not written,
// or if it does not know whether the batch was written.
func (r *Recent) Forget(s *BatchState) {
	for thread := range s.Recent {
		r.threads.Remove(thread)
	}
}

// evict removes the threads that were used longest ago, while they hold no recent message or r is
// too large. It keeps the threads of the batch of s, which were used last. So r is larger than
// maxRecent only while that batch needs it, or by the messages that a batch has sent.
func (r *Recent) evict(s *BatchState, at int64) {
	for {
		thread, t, ok := r.threads.GetOldest()
		if !ok || s.Recent[thread] != nil || r.size <= maxRecent && !tooOld(t.latest, at) {
			return
		}
		r.threads.RemoveOldest()
	}
}
