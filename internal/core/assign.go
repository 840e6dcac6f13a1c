package core

import "maps"

// Locked is what an engine holds while it applies a batch: the rows that the
// changes name, as the last commit left them. Assign moves them forward.
type Locked struct {
	Heads    map[string]*Head         // by thread; a thread that does not exist has no entry
	Users    map[string]User          // by id
	Sent     map[SendKey]int64        // message ids by send token
	Answers  map[string]*CreateAnswer // by thread
	Versions map[MessageKey]int64     // of the messages that are to be rewritten
	Receipts map[ReceiptKey]Receipt
	Position uint64 // the last one given in this store
	Day      uint32 // of the event log; it never goes back, whatever the clock does
}

// SendKey is where the message id of a send with a token is kept.
type SendKey struct{ Thread, Caller, Token string }

// MessageKey names a message; ReceiptKey a receipt.
type (
	MessageKey struct {
		Thread string
		ID     int64
	}
	ReceiptKey struct{ Thread, User string }
)

// Listing moves a thread in a user's list from one activity minute to another.
type Listing struct {
	User, Thread string
	From, To     int64 // minutes since 1970; From is 0 for a new entry
}

// MinuteOf is the activity minute of a time.
func MinuteOf(ms int64) int64 { return ms / 60_000 }

// DayOf is the day of the event log that a time belongs to.
func DayOf(ms int64) uint32 { return uint32(ms / millisPerDay) }

const millisPerDay = 86_400_000

// Assign checks the changes of a batch one by one, each seeing the effect of
// those before it, and fills the empty fields of those that hold: message ids,
// versions, sequences, event numbers, positions and times. It is pure: staleness,
// replay and numbering are decided here and nowhere else, for every engine.
//
// It returns a result per change, and the moves in the users' lists.
func Assign(b Batch, l *Locked) ([]Result, []Listing) {
	l.Day = max(l.Day, DayOf(b.At))
	results := make([]Result, len(b.Changes))
	var listings []Listing
	for i, c := range b.Changes {
		results[i] = assignOne(b.At, c, l, &listings)
	}
	return results, listings
}

func assignOne(at int64, c *Change, l *Locked, listings *[]Listing) Result {
	head := l.Heads[c.Thread]
	if r, ok := replayed(c, head, l); ok {
		return r
	}
	if c.Thread != "" && !fresh(c, head) {
		return Result{Status: Stale}
	}
	for _, read := range c.Users {
		now := l.Users[read.ID]
		now.ID = read.ID // a user who is not there has no row, and so no id
		if now != read {
			return Result{Status: Stale}
		}
	}

	for _, r := range c.Rewrites {
		if l.Versions[MessageKey{c.Thread, r.ID}] != r.Read {
			return Result{Status: Stale}
		}
	}

	for _, u := range c.PutUsers {
		l.Users[u.ID] = u
	}
	if c.Thread == "" {
		return Result{Status: Applied}
	}
	if head == nil {
		head = &Head{ID: c.Thread}
		l.Heads[c.Thread] = head
	}
	assignThread(at, c, head, l, listings)
	return Result{Status: Applied, Head: *head}
}

// replayed says whether a change with this one's token was written before.
func replayed(c *Change, head *Head, l *Locked) (Result, bool) {
	if c.SendToken != "" {
		if id, ok := l.Sent[SendKey{c.Thread, c.Caller, c.SendToken}]; ok {
			return Result{Status: Replayed, MessageID: id}, true
		}
	}
	if c.Answer != nil && head != nil {
		if a := l.Answers[c.Thread]; a != nil {
			return Result{Status: Replayed, Answer: a}, true
		}
	}
	return Result{}, false
}

func fresh(c *Change, head *Head) bool {
	if head == nil {
		return c.Revision == 0
	}
	return c.Revision == head.Revision
}

func assignThread(at int64, c *Change, head *Head, l *Locked, listings *[]Listing) {
	minute := MinuteOf(head.LastMessageOn)
	assignProperties(at, c, head)
	assignMessages(at, c, head, l)
	if c.Receipt != nil {
		assignReceipt(at, c, l)
	}
	assignEvents(c, head, l)
	for i := range c.Members {
		assignMember(at, c, &c.Members[i], head, minute, listings)
	}
	list(c, minute, MinuteOf(head.LastMessageOn), listings)
	if c.SendToken != "" {
		l.Sent[SendKey{c.Thread, c.Caller, c.SendToken}] = c.Messages[0].ID
	}
	if c.Answer != nil {
		c.Answer.CreatedOn = head.CreatedOn
		l.Answers[c.Thread] = c.Answer
	}
	if c.Purge {
		l.forget(c.Thread)
	}
}

func assignProperties(at int64, c *Change, head *Head) {
	born := head.Revision == 0
	if c.Properties != nil || len(c.Members) > 0 || c.Purge {
		head.Revision++
	}
	if c.Properties != nil {
		head.Properties = *c.Properties
		if born {
			head.CreatedOn = at
		}
	}
	if c.Purge {
		head.DeletedOn = at
	}
}

// forget takes a purged thread's rows out of what later changes are checked
// against; the thread's own row and its first answer stay.
func (l *Locked) forget(thread string) {
	maps.DeleteFunc(l.Sent, func(k SendKey, _ int64) bool { return k.Thread == thread })
	maps.DeleteFunc(l.Versions, func(k MessageKey, _ int64) bool { return k.Thread == thread })
	maps.DeleteFunc(l.Receipts, func(k ReceiptKey, _ Receipt) bool { return k.Thread == thread })
}

// assignMessages numbers what is added and what is rewritten. A rewritten
// message keeps its id and its creation, and takes the next place.
func assignMessages(at int64, c *Change, head *Head, l *Locked) {
	next := func() (version int64, sequence uint64) {
		head.LastID = max(at, head.LastID+1)
		head.LastSequence++
		return head.LastID, head.LastSequence
	}
	for i := range c.Messages {
		m := &c.Messages[i]
		m.Version, m.Sequence = next()
		m.ID, m.CreatedOn = m.Version, at
	}
	if len(c.Messages) > 0 {
		head.LastMessageOn = max(at, head.LastMessageOn)
	}
	for i := range c.Rewrites {
		r := &c.Rewrites[i]
		switch {
		case r.InPlace:
			continue
		case r.Deletes:
			r.DeletedOn = at
		default:
			r.EditedOn = at
		}
		r.Version, r.Sequence = next()
		l.Versions[MessageKey{c.Thread, r.ID}] = r.Version
	}
}

// assignReceipt moves a receipt forward. One that would move back is dropped,
// and nobody is told.
func assignReceipt(at int64, c *Change, l *Locked) {
	key := ReceiptKey{c.Thread, c.Receipt.User}
	if l.Receipts[key].MessageID > c.Receipt.MessageID {
		c.Receipt, c.Events = nil, nil
		return
	}
	c.Receipt.ReadOn = at
	l.Receipts[key] = *c.Receipt
	for i := range c.Events {
		c.Events[i].MessageID, c.Events[i].Version = c.Receipt.MessageID, at
	}
}

// assignEvents numbers the events and points each at its message: the added
// ones in their order, or the rewritten ones in theirs.
func assignEvents(c *Change, head *Head, l *Locked) {
	added, rewritten := 0, 0
	for i := range c.Events {
		e := &c.Events[i]
		head.LastEvent++
		l.Position++
		head.LastPosition = l.Position
		e.Thread, e.Day, e.Number, e.Position = c.Thread, l.Day, head.LastEvent, l.Position
		switch e.Kind {
		case MessageReceived, ParticipantsAdded, ParticipantsRemoved, ThreadUpdated:
			if added < len(c.Messages) {
				e.MessageID, e.Version = c.Messages[added].ID, c.Messages[added].Version
				added++
			}
		case MessageEdited, MessageDeleted:
			e.MessageID, e.Version = c.Rewrites[rewritten].ID, c.Rewrites[rewritten].Version
			rewritten++
		}
	}
}

// assignMember fills the ends of the member's intervals: the event by which it
// joins is the first it sees, the one by which it leaves the last. Its list
// follows: the thread comes in, or freezes.
func assignMember(at int64, c *Change, m *Member, head *Head, minute int64, listings *[]Listing) {
	if len(m.Intervals) == 0 {
		return
	}
	last := &m.Intervals[len(m.Intervals)-1]
	switch {
	case last.From == 0:
		last.From = head.LastEvent
		from := int64(0)
		if m.Left != nil {
			from, m.Left = MinuteOf(m.Left.On), nil
		}
		m.JoinedOn = at
		*listings = append(*listings, Listing{User: m.User, Thread: c.Thread, From: from, To: MinuteOf(head.LastMessageOn)})
	case last.To == Fill:
		last.To = head.LastEvent
		m.Left = &Left{On: head.LastMessageOn, Sequence: head.LastSequence, Topic: head.Topic}
		if to := MinuteOf(head.LastMessageOn); to != minute {
			*listings = append(*listings, Listing{User: m.User, Thread: c.Thread, From: minute, To: to})
		}
	}
}

// list moves the thread in its members' lists, and only when the minute of its
// last activity changes: on every send it would cost a row per member.
func list(c *Change, from, to int64, listings *[]Listing) {
	if from == to {
		return
	}
	for i := range c.Roster {
		*listings = append(*listings, Listing{User: c.Roster[i].User, Thread: c.Thread, From: from, To: to})
	}
}
