package core

// Locked is what an engine holds while it applies a batch: the rows that the
// changes name, as the last commit left them. Assign moves them forward.
type Locked struct {
	Heads    map[string]*Head         // by thread; a thread that does not exist has no entry
	Users    map[string]User          // by id
	Sent     map[SendKey]int64        // message ids by send token
	Answers  map[string]*CreateAnswer // by thread
	Position uint64                   // the last one given in this store
	Day      uint32                   // of the event log; it never goes back, whatever the clock does
}

// SendKey is where the message id of a send with a token is kept.
type SendKey struct{ Thread, Caller, Token string }

// Listing moves a thread in a user's list from one activity minute to another.
type Listing struct {
	User, Thread string
	From, To     int64 // minutes since 1970; From is 0 for a new entry
}

// MinuteOf is the activity minute of a time.
func MinuteOf(ms int64) int64 { return ms / 60_000 }

// DayOf is the day of the event log that a time belongs to.
func DayOf(ms int64) uint32 { return uint32(ms / 86_400_000) }

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
	born := head.Revision == 0
	if c.Properties != nil || len(c.Members) > 0 {
		head.Revision++
	}
	if c.Properties != nil {
		head.Properties = *c.Properties
		if born {
			head.CreatedOn = at
		}
	}
	minute := MinuteOf(head.LastMessageOn)
	for i := range c.Messages {
		m := &c.Messages[i]
		head.LastID = max(at, head.LastID+1)
		head.LastSequence++
		m.ID, m.Version, m.Sequence, m.CreatedOn = head.LastID, head.LastID, head.LastSequence, at
	}
	if len(c.Messages) > 0 {
		head.LastMessageOn = max(at, head.LastMessageOn)
	}
	// An event that belongs to a message follows the messages' order.
	next := 0
	for i := range c.Events {
		e := &c.Events[i]
		head.LastEvent++
		l.Position++
		head.LastPosition = l.Position
		e.Thread, e.Day, e.Number, e.Position = c.Thread, l.Day, head.LastEvent, l.Position
		if e.Kind == MessageReceived {
			e.MessageID, e.Version = c.Messages[next].ID, c.Messages[next].Version
			next++
		}
	}
	for i := range c.Members {
		m := &c.Members[i]
		if m.JoinedOn == 0 {
			m.JoinedOn = at
		}
		if n := len(m.Intervals); n > 0 && m.Intervals[n-1].From == 0 {
			m.Intervals[n-1].From = head.LastEvent
			*listings = append(*listings, Listing{User: m.User, Thread: c.Thread, From: m.ListedMinute, To: MinuteOf(head.LastMessageOn)})
			m.ListedMinute = 0
		}
	}
	if c.SendToken != "" {
		l.Sent[SendKey{c.Thread, c.Caller, c.SendToken}] = c.Messages[0].ID
	}
	if c.Answer != nil {
		c.Answer.CreatedOn = head.CreatedOn
		l.Answers[c.Thread] = c.Answer
	}
	list(c, minute, MinuteOf(head.LastMessageOn), listings)
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
