package core

import (
	"cmp"
)

// Limits are the greatest sizes that the service accepts. For a field that is zero, the service's
// own upper bound applies. The exception is Receipts: a zero Receipts sets no limit.
type Limits struct {
	Participants int // participants of a thread
	PerRequest   int // greatest number of participants in one request that creates a thread or adds participants
	Content      int // greatest number of bytes of a message's content as stored, after HTML was cleaned
	Metadata     int // greatest number of bytes of all metadata keys and values of one thread or participant
	// Receipts is the greatest number of participants of a thread whose receipts are listed. In
	// a larger thread the list is empty, but sending a receipt still succeeds
	// (docs/contract/chat.md §4.3). Typing notifications in a larger thread reach nobody
	// (docs/contract/chat.md §4.4).
	Receipts int
}

// DefaultParticipants is the greatest number of participants of a thread if Limits.Participants
// is zero.
const DefaultParticipants = 10_000

// MaxContent is the greatest value of Limits.Content, in bytes, and the limit that applies if
// Limits.Content is zero. It is also the limit on HTML content before cleaning.
const MaxContent = 1 << 20

// Bounds that hold with every profile of limits. They keep requests and rows so small that a
// server can hold many of them in memory.
const (
	maxPerRequest   = 1000
	maxMetadata     = 4 << 10 // bytes of all keys and values
	maxMetadataKeys = 100
	maxIdentifier   = 256 // bytes of a participant's id

	// maxRoster bounds the part of the rows of all members of a thread whose size depends on
	// what clients send, in bytes (see Member.growth). A thread that is not cached is read with
	// all of these rows, and the rows of former members are never deleted.
	maxRoster = 8 << 20
	// maxFormer bounds the metadata in the rows of former members of a thread, in bytes. A user can
	// always leave; if the bound is reached, the row of a user who leaves keeps no metadata. The
	// other half of maxRoster stays free for users who join.
	maxFormer = maxRoster / 2
)

// checkPerRequest returns a BadRequest if a request names too many participants.
func (l Limits) checkPerRequest(n int) error {
	if limit := cmp.Or(l.PerRequest, maxPerRequest); n > limit {
		return tooMany("participants", n, limit, "participants in one request", profile, "%d participants are too many for one request: at most %d are allowed.", n, limit)
	}
	return nil
}

// checkRoster returns a BadRequest if the joining members would give a thread too many
// participants, or make the rows of all its members, former ones included, too many or too large. A
// thread that is older than a limit on rows may already exceed the limit. A user may still join
// such a thread if the number and size of the rows do not grow. An example is a former member,
// whose row is replaced.
//
// The limit on rows is separate from the limit on participants and much higher: a thread with few
// participants may have had many different ones over the years.
func (l Limits) checkRoster(t *Thread, joining []Member) error {
	limit := cmp.Or(l.Participants, DefaultParticipants)
	if n := len(t.Participants()) + len(joining); n > limit {
		return tooMany("participants", n, limit, "participants in the thread", profile, "%d participants are too many for one thread: at most %d are allowed.", n, limit)
	}
	before := t.growth
	rows, size := t.Size()+len(joining), before
	for _, m := range joining {
		if old := t.Member(m.User); old != nil {
			rows--
			size -= old.growth()
		}
		m.Left = nil // Assign clears Left when it stores a member who joins
		size += m.growth()
	}
	if most := 2 * max(limit, DefaultParticipants); rows > most && rows > t.Size() {
		return tooMany("participants", rows, most, "users who are or were in the thread", "", "%d users who are or were participants are too many for one thread: at most %d are allowed.", rows, most)
	}
	if size > maxRoster && (size > before || rows > t.Size()) {
		return rosterTooLarge(size)
	}
	return nil
}

// checkRosterSize returns a BadRequest if replacing the row of a member by m makes the row larger
// and the rows of all members of the thread too large together.
func (l Limits) checkRosterSize(t *Thread, m *Member) error {
	size := m.growth() - t.Member(m.User).growth()
	if size <= 0 {
		return nil
	}
	if size += t.growth; size > maxRoster {
		return rosterTooLarge(size)
	}
	return nil
}

func rosterTooLarge(size int) error {
	return tooMany("participants", size, maxRoster, "bytes of names and metadata of participants", "", "The names and metadata of the thread's participants have %d bytes in all, with those who left; at most %d are allowed.", size, maxRoster)
}

// keepsMetadata reports whether the row of a member who leaves a thread may keep the member's
// metadata and a copy of the thread's metadata.
func keepsMetadata(t *Thread, m *Member) bool {
	return t.kept+sizeOf(m.Metadata)+sizeOf(t.Metadata) <= maxFormer
}

// checkContent returns a BadRequest if a message's content has more bytes than allowed, is not
// UTF-8 or contains NUL. It checks the content as it will be stored. Unverified: that the limit
// is in bytes (docs/contract/chat.md §9).
func (l Limits) checkContent(content string) error {
	limit := cmp.Or(l.Content, MaxContent)
	if len(content) > limit {
		return tooLarge("content", len(content), limit, "bytes", profile, "The content field has %d bytes; at most %d are allowed.", len(content), limit)
	}
	return checkText("content", content, limit)
}

// checkMetadata returns a BadRequest if there are too many keys, if the keys and values
// together have too many bytes, or if one of them is not UTF-8 or contains NUL.
func (l Limits) checkMetadata(field string, m map[string]string) error {
	return l.checkPatched(field, nil, m)
}

// checkPatched is like checkMetadata, for new metadata m that replaces old. If old exceeds the
// limits, because it was stored before they existed, m may exceed them too, but not be larger than
// old.
func (l Limits) checkPatched(field string, old, m map[string]string) error {
	limit := cmp.Or(l.Metadata, maxMetadata)
	if n := len(m); n > maxMetadataKeys && n > len(old) {
		return tooLarge(field, n, maxMetadataKeys, "keys", "", "The %s field has %d keys; at most %d are allowed.", field, n, maxMetadataKeys)
	}
	if size := sizeOf(m); size > limit && size > sizeOf(old) {
		return tooLarge(field, size, limit, "bytes in all", profile, "The %s field has %d bytes in all; at most %d are allowed.", field, size, limit)
	}
	for k, v := range m {
		if err := cmp.Or(checkText(field, k, len(k)), checkText(field, v, len(v))); err != nil {
			return err
		}
	}
	return nil
}
