package core

import "cmp"

// Limits are the greatest sizes that the service accepts. A field of zero stands for the
// bound below that holds in every profile; Receipts of zero sets no limit.
type Limits struct {
	Participants int // participants of a thread
	PerRequest   int // participants in one request to create a thread or to add some
	Content      int // bytes of a message's content as it is stored, after HTML was cleaned
	Metadata     int // bytes of all keys and values of one thread or participant
	// Receipts is the greatest number of participants with which a thread's
	// receipts are listed. In a larger thread the list is empty, and sending a
	// receipt still succeeds (docs/contract/chat.md §4.3). Nobody is told of a typing
	// notification there (docs/contract/chat.md §4.4).
	Receipts int
}

// DefaultParticipants is the limit for which a zero Limits.Participants stands.
const DefaultParticipants = 10_000

// MaxContent is the greatest Limits.Content, the limit for which a zero one stands, and the
// limit for content before it is cleaned, in bytes.
const MaxContent = 1 << 20

// Bounds that hold in every profile. They keep requests and rows so small that a server can
// hold many of them in memory.
const (
	maxPerRequest   = 1000
	maxMetadata     = 4 << 10 // bytes of all keys and values
	maxMetadataKeys = 100
	maxIdentifier   = 256 // bytes of a participant's id

	// maxRoster bounds the parts of all members' rows of a thread whose size a client
	// chooses, in bytes (see Member.growth): each change of members reads all of them, and
	// the rows of those who left stay.
	maxRoster = 8 << 20
	// maxFormer bounds the metadata in the rows of those who left a thread, in bytes. Nobody
	// can be kept in a thread, so beyond it who leaves keeps none. The other half of
	// maxRoster stays free for those who join.
	maxFormer = maxRoster / 2
)

// checkPerRequest returns a BadRequest if a request names too many participants.
func (l Limits) checkPerRequest(n int) error {
	if limit := cmp.Or(l.PerRequest, maxPerRequest); n > limit {
		return Invalid("participants", "%d participants are too many for one request: at most %d are allowed.", n, limit)
	}
	return nil
}

// checkRoster returns a BadRequest if a thread gets too many participants, or if the rows of
// all its members, former ones included, get too many or too large. A thread that has more
// already, because it is older than a limit, keeps them. Then only those may join who make
// them no more: a former member's row is replaced.
//
// Rows are counted apart from participants, and generously: a thread with a low limit of
// participants may have many more users over the years.
func (l Limits) checkRoster(t *Thread, joining []Member) error {
	limit := cmp.Or(l.Participants, DefaultParticipants)
	if n := len(t.Participants()) + len(joining); n > limit {
		return Invalid("participants", "%d participants are too many for one thread: at most %d are allowed.", n, limit)
	}
	before := 0
	for i := range t.Members {
		before += t.Members[i].growth()
	}
	rows, size := len(t.Members)+len(joining), before
	for _, m := range joining {
		if old := t.Member(m.User); old != nil {
			rows--
			size -= old.growth()
		}
		m.Left = nil // as Assign stores it
		size += m.growth()
	}
	if most := 2 * max(limit, DefaultParticipants); rows > most && rows > len(t.Members) {
		return Invalid("participants", "%d users who are or were participants are too many for one thread: at most %d are allowed.", rows, most)
	}
	if size > maxRoster && (size > before || rows > len(t.Members)) {
		return Invalid("participants", "The names and metadata of the thread's participants have %d bytes in all, with those who left; at most %d are allowed.", size, maxRoster)
	}
	return nil
}

// keepsMetadata reports whether a member who leaves a thread may keep its own metadata and a
// copy of the thread's.
func keepsMetadata(t *Thread, m *Member) bool {
	size := sizeOf(m.Metadata) + sizeOf(t.Metadata)
	for i := range t.Members {
		if left := t.Members[i].Left; left != nil {
			size += sizeOf(t.Members[i].Metadata) + sizeOf(left.Metadata)
		}
	}
	return size <= maxFormer
}

// checkContent returns a BadRequest if a message's content, as it is to be stored, has more
// UTF-8 bytes than allowed, is not UTF-8 or contains NUL. Unverified: that the limit is in
// bytes (docs/contract/chat.md §9).
func (l Limits) checkContent(content string) error {
	limit := cmp.Or(l.Content, MaxContent)
	if len(content) > limit {
		return Invalid("content", "The content field has %d bytes; at most %d are allowed.", len(content), limit)
	}
	return checkText("content", content, limit)
}

// checkMetadata returns a BadRequest if there are too many keys, if the keys and values
// together have too many bytes, or if one of them is not UTF-8 or contains NUL.
func (l Limits) checkMetadata(field string, m map[string]string) error {
	return l.checkPatched(field, nil, m)
}

// checkPatched is checkMetadata for metadata that replaces others. Metadata that exceed the
// limits, because they are older than these, may stay and shrink.
func (l Limits) checkPatched(field string, old, m map[string]string) error {
	limit := cmp.Or(l.Metadata, maxMetadata)
	if n := len(m); n > maxMetadataKeys && n > len(old) {
		return Invalid(field, "The %s field has %d keys; at most %d are allowed.", field, n, maxMetadataKeys)
	}
	if size := sizeOf(m); size > limit && size > sizeOf(old) {
		return Invalid(field, "The %s field has %d bytes in all; at most %d are allowed.", field, size, limit)
	}
	for k, v := range m {
		if err := cmp.Or(checkText(field, k, len(k)), checkText(field, v, len(v))); err != nil {
			return err
		}
	}
	return nil
}
