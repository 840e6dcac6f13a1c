package core

import (
	"maps"
	"slices"
)

// BatchState holds the locked rows that a batch of changes needs. It begins with the rows of
// the last commit, and Assign updates it with each change that it applies.
type BatchState struct {
	Reads    Reads                    // names the rows that the engine has locked and loaded
	Heads    map[string]*Head         // by thread id; a thread that does not exist has no entry
	Members  map[string]Roster        // by thread id; only for changes with Decide
	Users    map[string]User          // by id
	Sent     map[SendKey]int64        // message ids by send token
	Answers  map[string]*CreateAnswer // by thread
	Messages map[MessageKey]Message   // message rows by key; no entry: the message does not exist
	Receipts map[ReceiptKey]Receipt
	// Superseded has, for each message, the sequences of its superseded versions, in ascending
	// order.
	Superseded map[MessageKey][]Span
	// CustomIDs has the ids of the users who have the custom ids in Reads. A custom id that no
	// user has is missing.
	CustomIDs map[string]string
	Recent    map[string]*RecentSends // by thread; see Recent.Load
	// Relistings has, by thread id, the Relisting of each thread in Reads that has one.
	// RelistingsInAll is the approximate number of Relistings in the store.
	Relistings      map[string]*Relisting
	RelistingsInAll int
	Position        uint64 // position of the last event in the store
	Day             uint32 // the day of the last event; Assign never lowers it, even if the clock goes back
	DayShift        int64  // milliseconds to add to the batch's time before its day is computed; not 0 if this process's clock is wrong
}

// NewBatchState returns a state without rows. The engine must load the rows named in the
// state's Reads before it calls Assign.
func NewBatchState(b Batch) *BatchState {
	s := &BatchState{Reads: b.reads(), Heads: make(map[string]*Head, len(b.Changes)), Members: map[string]Roster{}}
	s.Users = rowsFor[User](s.Reads.Users)
	s.Sent = rowsFor[int64](s.Reads.Sent)
	s.Answers = rowsFor[*CreateAnswer](s.Reads.Answers)
	s.Messages = rowsFor[Message](s.Reads.Messages)
	s.Receipts = rowsFor[Receipt](s.Reads.Receipts)
	s.Superseded = rowsFor[[]Span](s.Reads.Superseded)
	s.CustomIDs = rowsFor[string](s.Reads.CustomIDs)
	return s
}

// rowsFor returns an empty map with space for the given row names, or nil if there are no
// names. Most batches only send messages and need none of these maps.
func rowsFor[V any, K comparable](names map[K]struct{}) map[K]V {
	if len(names) == 0 {
		return nil
	}
	return make(map[K]V, len(names))
}

// SendKey identifies a sent message by its idempotency token. The store keeps the id of the
// message under this key.
type SendKey struct{ Thread, Caller, Token string }

// A MessageKey identifies a message in the store. A ReceiptKey identifies a user's read receipt.
type (
	MessageKey struct {
		Thread string
		ID     int64
	}
	ReceiptKey struct{ Thread, User string }
)

// ListMove moves a thread in a user's list of threads, which is sorted by the minute of
// each thread's last activity.
type ListMove struct {
	User, Thread string
	From, To     int64 // minutes since 1970; From is 0 if the user's list gets a new entry
}

// The bound MaxMoves exists because a send to a large thread would otherwise write two rows for each
// participant, while other sends wait.
const (
	// MaxMoves is the number of participants up to which a change that moves the minute of a
	// thread's last activity also moves the entries in their lists. If there are more, it begins a
	// Relisting.
	MaxMoves = 200
	// MaxRelistings is about the number of threads that may have a Relisting at a time. Each of
	// them costs a page of any user's list up to three rows. While the store has MaxRelistings of
	// them, a change moves all list entries of its thread at once.
	MaxRelistings = 100
)

// Relisting describes a thread whose entries in its participants' lists of threads are being moved,
// some of them at a time, by Store.Relist. The Relisting is stored until all entries are at the
// minute of the thread's last activity. Until then, Store.Threads returns the thread as if all its
// entries were already at that minute.
type Relisting struct {
	Thread   string
	From, To int64  // minutes
	Through  string // participants with ids up to this one have their list entry at minute To, the others at From
}

// Place returns the minute at which the user's list of threads has its entry for the thread of r.
// If r is nil, Place returns settled, the minute of the thread's last activity.
func (r *Relisting) Place(user string, settled int64) int64 {
	switch {
	case r == nil:
		return settled
	case user <= r.Through:
		return r.To
	default:
		return r.From
	}
}

// Next returns the Relisting that follows r after the last participant's entry was moved to minute
// r.To. The new Relisting moves the entries from r.To to the given minute. The bool is false if
// r.To is already the given minute, so that no Relisting is needed.
func (r Relisting) Next(minute int64) (Relisting, bool) {
	return Relisting{Thread: r.Thread, From: r.To, To: minute}, r.To != minute
}

// MinuteOf converts epoch milliseconds to minutes since 1970.
func MinuteOf(ms int64) int64 { return ms / MillisPerMinute }

// DayOf converts epoch milliseconds to days since 1970. The event log is divided into days.
func DayOf(ms int64) uint32 { return uint32(ms / MillisPerDay) }

// Durations in milliseconds, the unit of all times in rows.
const (
	MillisPerMinute = 60_000
	MillisPerDay    = 86_400_000
)

// Reads names the rows that an engine must lock and load before it applies a batch: the rows
// that the changes were decided on, and the rows that they replace.
type Reads struct {
	Threads  map[string]bool // thread ids; true: the change has a Decide function and also needs all members of the thread
	Users    map[string]struct{}
	Sent     map[SendKey]struct{}
	Answers  map[string]struct{} // by thread
	Messages map[MessageKey]struct{}
	Receipts map[ReceiptKey]struct{}
	// Superseded names the messages whose superseded versions must all be loaded. A superseded
	// version is one that an edit or a deletion has replaced.
	Superseded map[MessageKey]struct{}
	// CustomIDs names the custom ids that the changes give to users. The engine finds out which
	// users have these ids. It need not lock these users: if another batch gives one of the ids to
	// a user meanwhile, the engine must not write this batch, and begins the batch again.
	CustomIDs map[string]struct{}
	// Recent names the threads that get a message with a fingerprint. For these threads, the engine
	// must load the recent messages that have fingerprints.
	Recent map[string]struct{}
}

func (b Batch) reads() (r Reads) {
	r.Threads = make(map[string]bool, len(b.Changes))
	for _, c := range b.Changes {
		if c.Thread != "" {
			insert(&r.Threads, c.Thread, r.Threads[c.Thread] || c.Decide != nil)
		}
		for _, us := range [][]User{c.ReadUsers, c.PutUsers} {
			for _, u := range us {
				insert(&r.Users, u.ID, struct{}{})
			}
		}
		for i := range c.PutUsers {
			if id := c.PutUsers[i].CustomID; id != "" {
				insert(&r.CustomIDs, id, struct{}{})
			}
		}
		if c.SendToken != "" {
			insert(&r.Sent, c.sendKey(), struct{}{})
		}
		if c.Answer != nil {
			insert(&r.Answers, c.Thread, struct{}{})
		}
		if len(c.Messages) > 0 && !c.Messages[0].Fingerprint.IsZero() {
			insert(&r.Recent, c.Thread, struct{}{})
		}
		for _, w := range c.Rewrites {
			insert(&r.Messages, MessageKey{c.Thread, w.ID}, struct{}{})
			// Load the superseded versions of the message. A decision on locked rows needs them
			// because members may have left meanwhile. A deletion needs them because versions that
			// no former member may read any more are stored until the next sweep.
			if c.Decide != nil || w.Keep || w.How == Delete {
				insert(&r.Superseded, MessageKey{c.Thread, w.ID}, struct{}{})
			}
		}
		if c.Receipt != nil {
			insert(&r.Receipts, ReceiptKey{c.Thread, c.Receipt.User}, struct{}{})
			if c.Decide != nil {
				insert(&r.Messages, MessageKey{c.Thread, c.Receipt.MessageID}, struct{}{})
			}
		}
	}
	return r
}

// insert sets (*m)[k] to v. It allocates the map if it is nil.
func insert[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}

// Assign applies the changes of a batch to the state, in order, and returns one outcome per change.
// Each change is applied to the rows that the changes before it have left. The outcome of an
// applied change contains a copy of the change with message ids, versions, sequences, event
// numbers, positions and times filled in. Assign does not modify the changes, except as Batch.Owned
// allows, so it can be called again with the same ones. It performs no I/O. All engines call
// Assign, so that they detect stale and repeated changes and number rows in the same way.
func Assign(b Batch, s *BatchState) []Outcome {
	s.Day = max(s.Day, DayOf(b.At+s.DayShift))
	a := &assigner{BatchState: s, at: b.At, check: b.Check, owned: b.Owned}
	outcomes := make([]Outcome, len(b.Changes))
	for i, c := range b.Changes {
		outcomes[i] = a.assign(c)
	}
	return outcomes
}

// assigner is the state of one call of Assign.
type assigner struct {
	*BatchState
	at    int64
	check uint32
	owned bool
}

func (a *assigner) assign(c *Change) Outcome {
	head := a.Heads[c.Thread]
	if o, ok := a.replayed(c, head); ok {
		return o
	}
	locked := c.Decide != nil
	if locked {
		decided, o := a.decide(c)
		if decided == nil {
			return o
		}
		c = decided
	}
	if a.stale(c, head, locked) {
		return Outcome{Status: Stale}
	}
	if a.taken(c) {
		return Outcome{Status: Refused, Err: ErrCustomIDTaken}
	}
	// Look for an earlier try only after the stale check: a caller who has left the thread
	// meanwhile must be refused, and not get the id of the earlier message.
	if id := a.repeated(c); id != 0 {
		return Outcome{Status: Replayed, Change: c, MessageID: id}
	}
	a.putUsers(c.PutUsers)
	if !a.owned || !c.isSend() {
		c = c.copy()
	}
	if c.Thread == "" {
		// An event that belongs to a user and not to a thread has its position in the log as its
		// number.
		for i := range c.Events {
			e := &c.Events[i]
			a.place(e)
			e.Number, e.Version = e.Position, a.at
		}
		return Outcome{Status: Applied, Change: c}
	}
	if head == nil {
		head = &Head{ID: c.Thread}
		a.Heads[c.Thread] = head
	}
	moves, began := a.number(c, head)
	return Outcome{Status: Applied, Change: c, ListMoves: moves, Relisting: began, Revision: head.Revision}
}

// replayed returns an outcome with status Replayed, and true, if an earlier change had the same
// idempotency token as c.
func (a *assigner) replayed(c *Change, head *Head) (Outcome, bool) {
	if c.SendToken != "" {
		if id, ok := a.Sent[c.sendKey()]; ok {
			return Outcome{Status: Replayed, Change: c, MessageID: id}, true
		}
	}
	if c.Answer != nil && head != nil {
		if first := a.Answers[c.Thread]; first != nil {
			return Outcome{Status: Replayed, Change: c, Answer: first}, true
		}
	}
	return Outcome{}, false
}

// decide calls the change's Decide with the rows of the state and returns the resulting change.
// If there is no change to apply, decide returns nil and an outcome that says why.
func (a *assigner) decide(c *Change) (*Change, Outcome) {
	rows := &lockedRows{BatchState: a.BatchState}
	decided, err := c.Decide(rows)
	switch {
	case len(rows.unread.users)+len(rows.unread.messages) > 0:
		return nil, Outcome{Status: Unread, Change: c.withReads(rows.unread)}
	case err != nil:
		return nil, Outcome{Status: Refused, Err: err}
	case decided.empty():
		return nil, Outcome{Status: Unchanged, Change: decided}
	}
	return decided, Outcome{}
}

// stale reports whether a row that the change was decided on may have changed since. locked
// means that the change was decided on locked rows. A rewrite in place does not give the
// message a new version, so the version cannot show whether the row has changed. A change with
// such a rewrite is therefore stale unless locked is true.
func (a *assigner) stale(c *Change, head *Head, locked bool) bool {
	revision := uint64(0)
	if head != nil {
		revision = head.Revision
	}
	if c.Thread != "" && c.Revision != revision {
		return true
	}
	for _, read := range c.ReadUsers {
		now := a.Users[read.ID]
		now.ID = read.ID // the zero User, which stands for a missing row, has no id
		if now != read {
			return true
		}
	}
	for _, w := range c.Rewrites {
		if a.Messages[MessageKey{c.Thread, w.ID}].Version != w.ReadVersion || w.How == InPlace && !locked {
			return true
		}
	}
	return false
}

// taken reports whether another user has a custom id that the change gives to a user.
func (a *assigner) taken(c *Change) bool {
	return slices.ContainsFunc(c.PutUsers, func(u User) bool {
		holder, ok := a.CustomIDs[u.CustomID]
		return ok && holder != u.ID
	})
}

// putUsers replaces the rows of users in the state.
func (a *assigner) putUsers(us []User) {
	for _, u := range us {
		if had := a.Users[u.ID].CustomID; had != u.CustomID {
			delete(a.CustomIDs, had)
		}
		if u.CustomID != "" {
			insert(&a.CustomIDs, u.CustomID, u.ID)
		}
		a.Users[u.ID] = u
	}
}

// isSend reports whether the change adds messages to a thread and changes nothing else. Assign can
// number such a change again without a copy, because it sets every assigned field of the messages
// and events anew.
func (c *Change) isSend() bool {
	return len(c.Messages) > 0 && !c.changesRevision() && len(c.Rewrites) == 0 && c.Receipt == nil && c.Answer == nil
}

// copy returns a copy of the change. It also copies the slices whose elements Assign fills, so
// that the original change stays as it is.
func (c *Change) copy() *Change {
	n := new(Change)
	*n = *c
	n.Messages = slices.Clone(c.Messages)
	n.Events = slices.Clone(c.Events)
	n.Members = slices.Clone(c.Members)
	for i := range n.Members {
		n.Members[i].Intervals = slices.Clone(n.Members[i].Intervals)
	}
	n.Rewrites = slices.Clone(c.Rewrites)
	n.Superseded = nil
	return n
}

// number fills the ids, sequences, event numbers and times of a change to a thread, and updates
// the state. It returns the resulting moves of the thread in its users' lists of threads, and the
// Relisting that it begins, or nil.
func (a *assigner) number(c *Change, head *Head) (moves []ListMove, began *Relisting) {
	minute, before := MinuteOf(head.LastMessageOn), head.Counters
	a.assignProperties(c, head)
	a.assignMessages(c, head)
	a.Recent[c.Thread].noteSends(c, &before, &head.Counters, a.at)
	a.dropSuperseded(c.DropSuperseded)
	if c.Receipt != nil {
		a.assignReceipt(c)
	}
	a.assignEvents(c, head)
	to := MinuteOf(head.LastMessageOn)
	moving := a.Relistings[c.Thread]
	if to != minute && moving == nil && len(c.Roster) > MaxMoves && a.RelistingsInAll < MaxRelistings {
		began = &Relisting{Thread: c.Thread, From: minute, To: to}
		insert(&a.Relistings, c.Thread, began)
		a.RelistingsInAll++
		moving = began
	}
	for i := range c.Members {
		moves = a.assignMember(c, &c.Members[i], head, moving, minute, moves)
	}
	if members, held := a.Members[c.Thread]; held && len(c.Members) > 0 {
		a.Members[c.Thread] = members.with(c.Members)
	}
	if to != minute && moving == nil {
		// Move the thread once a minute at most, because a move writes two rows for each
		// participant.
		left := map[string]bool{} // with this change; assignMember has moved the thread in their lists
		for i := range c.Members {
			left[c.Members[i].User] = !c.Members[i].Present()
		}
		for _, p := range c.Roster {
			if !left[p.User] {
				moves = append(moves, ListMove{User: p.User, Thread: c.Thread, From: minute, To: to})
			}
		}
	}
	if c.SendToken != "" {
		a.Sent[c.sendKey()] = c.Messages[0].ID
	}
	if c.Answer != nil {
		first := *c.Answer
		first.CreatedOn = head.CreatedOn
		c.Answer = &first
		a.Answers[c.Thread] = c.Answer
	}
	if c.Purge {
		a.forgetThread(c.Thread)
	}
	return moves, began
}

// assignProperties updates the head's revision, properties and times of creation
// and deletion.
func (a *assigner) assignProperties(c *Change, head *Head) {
	created := head.Revision == 0
	if c.changesRevision() {
		head.Revision++
	}
	if c.Properties != nil {
		p := *c.Properties
		if created {
			p.CreatedOn = a.at
		}
		c.Properties, head.Properties = &p, p
	}
	if c.Purge {
		head.DeletedOn = a.at
	}
}

// forgetThread removes a purged thread's send tokens, messages, superseded versions, recent sends
// and receipts from the state. It keeps the thread's head, its members and the stored answer to its
// creation.
func (s *BatchState) forgetThread(thread string) {
	maps.DeleteFunc(s.Sent, func(k SendKey, _ int64) bool { return k.Thread == thread })
	maps.DeleteFunc(s.Messages, func(k MessageKey, _ Message) bool { return k.Thread == thread })
	maps.DeleteFunc(s.Receipts, func(k ReceiptKey, _ Receipt) bool { return k.Thread == thread })
	maps.DeleteFunc(s.Superseded, func(k MessageKey, _ []Span) bool { return k.Thread == thread })
	if r := s.Recent[thread]; r != nil {
		r.sends = r.sends[:0]
	}
}

// assignMessages gives new messages their ids, and new and rewritten ones their
// versions, sequences and times. A rewritten message keeps its id and its time of
// creation. A message rewritten in place also keeps its version and sequence.
func (a *assigner) assignMessages(c *Change, head *Head) {
	next := func() (version int64, sequence uint64) {
		head.LastID = max(a.at, head.LastID+1)
		head.LastSequence++
		return head.LastID, head.LastSequence
	}
	for i := range c.Messages {
		m := &c.Messages[i]
		m.Version, m.Sequence = next()
		m.ID, m.CreatedOn = m.Version, a.at
	}
	if len(c.Messages) > 0 {
		head.LastMessageOn = max(a.at, head.LastMessageOn)
	}
	for i := range c.Rewrites {
		w := &c.Rewrites[i]
		switch w.How {
		case Edit:
			w.EditedOn = a.at
		case Delete:
			w.DeletedOn = a.at
		}
		key := MessageKey{c.Thread, w.ID}
		if w.How != InPlace {
			w.Version, w.Sequence = next()
			old := a.Messages[key]
			a.supersede(c, w, &old)
		}
		a.Messages[key] = w.Message
	}
}

// assignReceipt sets the receipt's time and fills its event. If the stored receipt is for a
// newer message, assignReceipt removes the receipt and its event from the change.
func (a *assigner) assignReceipt(c *Change) {
	key := ReceiptKey{c.Thread, c.Receipt.User}
	if a.Receipts[key].MessageID > c.Receipt.MessageID {
		c.Receipt, c.Events = nil, nil
		return
	}
	r := *c.Receipt
	r.ReadOn = a.at
	c.Receipt, a.Receipts[key] = &r, r
	for i := range c.Events {
		c.Events[i].MessageID, c.Events[i].Version = r.MessageID, a.at
	}
}

// assignEvents gives each event of a thread its number, its place in the log, and the id and
// version of its message. The kind of the event decides which message that is: the next message
// that the change adds, or the next message that it rewrites. An event without a message gets
// the next version of the thread.
func (a *assigner) assignEvents(c *Change, head *Head) {
	added, rewritten := 0, 0
	for i := range c.Events {
		e := &c.Events[i]
		head.LastEvent++
		a.place(e)
		head.LastPosition = a.Position
		e.Thread, e.Number = c.Thread, head.LastEvent
		message := e.Kind.row().message
		if message == addedMessage && added == len(c.Messages) {
			message = noMessage // a change of the expiry or of metadata has an event, but adds no system message
		}
		switch message {
		case noMessage:
			switch {
			case e.Version != 0: // a receipt's event already has its version: the time of reading
			case len(c.Messages) > 0: // the event of a new thread
				e.Version = c.Messages[0].Version
			default:
				head.LastID = max(a.at, head.LastID+1)
				e.Version = head.LastID
			}
		case addedMessage:
			e.MessageID, e.Version = c.Messages[added].ID, c.Messages[added].Version
			added++
		case rewrittenMessage:
			for c.Rewrites[rewritten].How == InPlace { // skip the rewrite, because a rewrite in place has no event
				rewritten++
			}
			e.MessageID, e.Version = c.Rewrites[rewritten].ID, c.Rewrites[rewritten].Version
			rewritten++
		}
	}
}

// place sets the event's position, day, time and check. The check is the batch's check.
func (a *assigner) place(e *Event) {
	a.Position++
	e.Day, e.Position, e.At, e.Check = a.Day, a.Position, a.at, a.check
}

// assignMember sets the interval of event numbers that a member may read, if the member joins or
// leaves the thread. The interval begins with the event of joining and ends with the event of
// leaving. If the change moves the thread's entry in the member's list of threads, assignMember
// appends the move to moves. It returns moves. moving is the thread's Relisting, or nil; minute is
// the thread's minute of last activity before the change.
func (a *assigner) assignMember(c *Change, m *Member, head *Head, moving *Relisting, minute int64, moves []ListMove) []ListMove {
	if len(m.Intervals) == 0 {
		return moves
	}
	last := &m.Intervals[len(m.Intervals)-1]
	switch {
	case last.From == 0:
		m.enter(head.LastEvent)
		from := int64(0)
		if m.Left != nil {
			from, m.Left = MinuteOf(m.Left.On), nil
		}
		m.JoinedOn = a.at
		moves = append(moves, ListMove{User: m.User, Thread: c.Thread, From: from, To: moving.Place(m.User, MinuteOf(head.LastMessageOn))})
	case last.To == CloseInterval:
		last.To = head.LastEvent
		m.Left = &Left{
			On: head.LastMessageOn, Sequence: head.LastSequence,
			Topic: head.Topic, Metadata: head.Metadata, RetentionDays: head.RetentionDays,
		}
		if c.ForgetMetadata {
			m.Left.Metadata = nil
		}
		if c.ForgetMessages {
			m.Left.Sequence = 0
		}
		if from, to := moving.Place(m.User, minute), MinuteOf(head.LastMessageOn); from != to {
			moves = append(moves, ListMove{User: m.User, Thread: c.Thread, From: from, To: to})
		}
	}
	return moves
}
