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

// Fingerprint identifies the request that sent a message. An SDK that gets no answer repeats its
// request with the same x-ms-client-request-id. So a request with the fingerprint of a recent
// message is another try of the call that has sent the message.
//
// The first half is a hash of the caller and the request id. The second half is a hash of the
// caller, the request id and the command. A program may set the request id itself and use it for
// many calls; then only the second halves differ. The hash of the command includes the request id,
// so that nobody can find the content of a deleted message by hashing guesses, unless they have the
// id, from an access log or a recording.
//
// The fingerprint is zero for a request without a request id and for a request with an idempotency
// token.
type Fingerprint [16]byte

// IsZero reports whether f is the zero Fingerprint.
func (f Fingerprint) IsZero() bool { return f == Fingerprint{} }

// call returns the half of f that is equal for all requests of the caller with the same request id.
func (f Fingerprint) call() [8]byte { return [8]byte(f[:8]) }

// fingerprintOf returns the fingerprint of a caller's request to send a message. It is zero if the
// request has an idempotency token, or if its request id is not a UUID.
func fingerprintOf(caller string, cmd *SendMessage) (f Fingerprint) {
	if cmd.Token != "" || !isUUID(cmd.RequestID) {
		return f
	}
	var buffer [1024]byte // large enough for a short command, so that hashing one allocates no memory
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

// Bounds of the search for an earlier try of a send. The message of the earlier try must be at most
// repeatWindow old, in milliseconds, and among the newest MaxRecentSends messages of the thread.
const (
	repeatWindow   = 5 * MillisPerMinute
	MaxRecentSends = 512
)

// maxRecent is the greatest size of a Recent: 1 Mi units of 32 bytes, which are 32 MiB. A message
// counts as one unit and a thread as recentThreadSize further units, so a Recent holds 2,000 threads
// with MaxRecentSends messages each.
const (
	maxRecent        = 1 << 20
	recentThreadSize = 8
)

// RecentSend is a message with a fingerprint.
type RecentSend struct {
	ID, CreatedOn int64
	Fingerprint   Fingerprint
}

// RecentSends has the messages of a thread that have fingerprints and are among its newest
// messages.
type RecentSends struct {
	through uint64 // Head.LastSequence up to which the messages were added to sends; 0: none were
	lastID  int64  // Head.LastID then
	others  bool   // true if the last lookup found that another server had added messages
	latest  int64  // time of the last lookup
	sends   []RecentSend
	owner   *Recent
}

// tooOld reports whether a message created at the time createdOn is older than repeatWindow at the
// time at. It also returns true if createdOn is more than repeatWindow in the future: then the
// clock was wrong, and the age of the message is unknown.
func tooOld(createdOn, at int64) bool {
	age := at - createdOn
	return age > repeatWindow || age < -repeatWindow
}

// find returns the id of the message that an earlier try of the call with fingerprint f has added,
// or 0 if it finds none. It also returns 0 if the caller used the same request id for another
// command, because the id then does not identify the tries of one call.
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

// add adds a message. It overwrites a message that is too old, or the oldest one if r has
// MaxRecentSends. It does nothing if r already has the message, or is full of newer messages.
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

// repeated returns the id of the message that the send c repeats, or 0 if it repeats none.
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

// isAt reports whether r has the messages of a thread up to these counters. Comparing only the
// sequence is not enough: if a message was lost when another server took over the database, a new
// message has the same sequence and a different id.
func (r *RecentSends) isAt(c *Counters) bool {
	return r.through == c.LastSequence && (r.through == 0 || r.lastID == c.LastID)
}

// noteSends adds the messages of an applied change to r, which has the recent sends of the change's
// thread. before and after are the thread's counters before and after the change. If r lacks
// messages from before the change, noteSends does nothing: the next lookup reads all of them.
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

// Recent is an engine's cache of the recent sends of threads, so that most batches need not read
// recent sends from the store. Between batches its size is at most maxRecent, unless the threads of
// the last batch need more. It is not safe for concurrent use. For each batch, the engine may call
// Expected. It then calls Load, reads the messages that Load asks for, passes them to Learn, and
// calls Assign. It calls Forget if the batch is not written.
type Recent struct {
	threads *simplelru.LRU[string, *RecentSends]
	size    int // of all, in messages
}

// NewRecent returns an empty Recent.
func NewRecent() *Recent {
	r := &Recent{}
	// NewLRU fails only for a size of 0.
	r.threads, _ = simplelru.NewLRU(math.MaxInt, func(_ string, s *RecentSends) { r.size -= s.size() })
	return r
}

// size returns the memory that r uses, in units of one RecentSend.
func (r *RecentSends) size() int { return cap(r.sends) + recentThreadSize }

// RecentQuery asks for messages with fingerprints among the newest MaxRecentSends messages of a
// thread. It asks only for messages with sequences greater than After that were created at the time
// Since or later, in epoch milliseconds.
type RecentQuery struct {
	Thread string
	After  uint64
	Since  int64
}

// Expected returns the queries that Load will probably return for a batch at the time at. An engine
// for which a read takes a round trip may send them together with the query for the heads. If Load
// then returns one of these queries, the engine passes the messages that it already has to Learn.
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

// Load puts the recent sends of the batch's threads into the state. It returns queries for messages
// that r lacks, because they were never read or because another server has added them. The heads of
// the threads must be in the state. at is the time of the batch.
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
			// Copy the id, because it may be a part of a longer string, which the map would keep in
			// memory.
			r.threads.Add(strings.Clone(thread), t)
			r.size += t.size()
		}
		insert(&s.Recent, thread, t)
		if !needed {
			continue
		}
		t.latest = at
		head := s.Heads[thread]
		if head == nil {
			head = &Head{} // the thread does not exist yet; an earlier change of the batch may create it
		}
		// Forget messages that the store does not have: an older state of the store was restored,
		// or a server lost messages.
		if t.through > head.LastSequence || t.through == head.LastSequence && !t.isAt(&head.Counters) {
			t.through, t.sends = 0, t.sends[:0]
		}
		switch {
		case t.isAt(&head.Counters):
			t.others = false
		// If the last message is too old, no query is needed. A LastMessageOn in the future does
		// not show the age of the last message, because messages created after the clock was set
		// back do not lower LastMessageOn.
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

// Forget removes the threads of a batch from r. The engine calls Forget if the batch was not
// written, or if it is unknown whether the batch was written.
func (r *Recent) Forget(s *BatchState) {
	for thread := range s.Recent {
		r.threads.Remove(thread)
	}
}

// evict removes the thread that was used longest ago, again and again, while r is larger than
// maxRecent or that thread was not used within repeatWindow. It never removes the threads of the
// batch of s, so r may stay larger than maxRecent if this batch needs more.
func (r *Recent) evict(s *BatchState, at int64) {
	for {
		thread, t, ok := r.threads.GetOldest()
		if !ok || s.Recent[thread] != nil || r.size <= maxRecent && !tooOld(t.latest, at) {
			return
		}
		r.threads.RemoveOldest()
	}
}
