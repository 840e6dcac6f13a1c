package core

import (
	"cmp"
	"context"
	"slices"

	"github.com/confab-chat/confab/internal/why"
	"github.com/confab-chat/confab/sdk/communication"
)

// AddParticipants adds users to a thread and returns the users who could not be added, with the
// reasons. The caller must be a participant (docs/contract/chat.md §4.2). Users who already are
// participants are ignored. One system message names all added users.
func (s *Service) AddParticipants(ctx context.Context, caller, thread string, ps []NewParticipant) ([]InvalidParticipant, error) {
	if len(ps) == 0 {
		return nil, Invalid("participants", "The participants field is required.")
	}
	if err := checkParticipants(ps, s.limits); err != nil {
		return nil, err
	}
	o, err := s.changeThread(ctx, caller, thread, func(rows Rows, t *Thread, _ *Member) (*Change, error) {
		users, err := s.lookUp(rows, ps)
		if err != nil {
			return nil, err
		}
		return decideAdd(t, caller, ps, users, s.adopt, s.limits, s.now().UnixMilli())
	})
	if err != nil {
		return nil, err
	}
	return o.Change.Invalid, nil
}

// decideAdd returns the change that adds participants. users has the rows of the participants who
// belong to this resource; all other participants are refused. If adopt is true, the change creates
// unknown users of this resource.
func decideAdd(t *Thread, caller string, ps []NewParticipant, users map[string]User, adopt bool, limits Limits, now int64) (*Change, error) {
	c := changeOf(t)
	c.admit(t, caller, ps, users, adopt, now)
	if len(c.Members) == 0 {
		return c, nil
	}
	if err := limits.checkRoster(t, c.Members); err != nil {
		return nil, err
	}
	c.Messages = []Message{{Kind: ParticipantAdded, Initiator: caller, Participants: named(c.Members)}}
	c.Events = []Event{{Kind: ParticipantsAdded, Actor: caller}}
	return c, nil
}

// admit adds the participants of ps who are not in the thread to c.Members. A user who cannot join
// is added to c.Invalid instead. users has the rows of the participants who belong to this
// resource; the caller is admitted without a row. If adopt is true, admit creates unknown users of
// this resource (Options.Adopt). Unverified: which of the two recorded codes is for an unknown user
// and which for a user of another resource (docs/contract/chat.md §3.1).
func (c *Change) admit(t *Thread, caller string, ps []NewParticipant, users map[string]User, adopt bool, now int64) {
	order := t.order
	seen := map[string]bool{}
	for _, p := range ps {
		id := p.User.RawID()
		old := t.Member(id)
		if seen[id] || old != nil && old.Present() {
			continue
		}
		seen[id] = true
		u, own := users[id]
		switch {
		case id == caller: // creates the thread
		case !own:
			c.Invalid = append(c.Invalid, InvalidParticipant{User: id, Code: "403", Message: "Permissions check failed"})
			continue
		case adopt && u.State == UserUnknown:
			c.ReadUsers, c.PutUsers = append(c.ReadUsers, u), append(c.PutUsers, adopted(id))
		case u.State != UserLive:
			c.Invalid = append(c.Invalid, InvalidParticipant{User: id, Code: "404", Message: "Not found"})
			continue
		default:
			c.ReadUsers = append(c.ReadUsers, u)
		}
		order++
		m := Member{
			User: id, DisplayName: p.DisplayName, Metadata: clone(p.Metadata), RoleIDs: slices.Clone(p.RoleIDs),
			ShareHistory: min(p.ShareHistory, now), Order: order, Intervals: []Interval{{}},
		}
		if old != nil { // a user who joins again keeps the earlier intervals, and so may still read the events in them
			m.Intervals = append(slices.Clone(old.Intervals), Interval{})
			m.Left = old.Left
			c.Releases = true
		}
		c.Members = append(c.Members, m)
	}
}

// UpdateParticipant has the fields of a request POST .../participants/:update. A field that is nil
// stays as it is.
type UpdateParticipant struct {
	User         communication.Identifier
	DisplayName  *string
	ShareHistory *int64   // start of the visible history, in epoch milliseconds; a future time is replaced by the current time
	RoleIDs      []string // replace all former ones
}

// UpdateParticipant changes the display name, the share-history time and the role ids of a
// participant. The caller must be a participant. UpdateParticipant fails with 404 if the user is
// not a participant, and with 403 if the caller would show itself more of the history, or another
// user less. It writes no message and publishes no event to live clients. Unverified: all of this,
// because neither a recording nor a released SDK has the operation (docs/contract/api-versions.md
// §10).
func (s *Service) UpdateParticipant(ctx context.Context, caller, thread string, cmd UpdateParticipant) error {
	if err := cmd.check(); err != nil {
		return err
	}
	_, err := s.changeThread(ctx, caller, thread, func(_ Rows, t *Thread, _ *Member) (*Change, error) {
		return decideUpdate(t, caller, cmd, s.limits, s.now().UnixMilli())
	})
	return err
}

func (cmd *UpdateParticipant) check() error {
	name := ""
	if cmd.DisplayName != nil {
		name = *cmd.DisplayName
	}
	return cmp.Or(
		checkIdentifier(cmd.User),
		checkText("displayName", name, maxDisplayName),
		checkRoleIDs("roleIds", cmd.RoleIDs),
	)
}

// decideUpdate returns the change that updates a participant. See [Service.UpdateParticipant].
func decideUpdate(t *Thread, caller string, cmd UpdateParticipant, limits Limits, now int64) (*Change, error) {
	old := t.Member(cmd.User.RawID())
	if old == nil || !old.Present() {
		return nil, errParticipantNotFound.Because(why.UnknownParticipant, "who", why.User(cmd.User.RawID()))
	}
	m := *old
	if cmd.DisplayName != nil {
		m.DisplayName = *cmd.DisplayName
	}
	if cmd.ShareHistory != nil {
		m.ShareHistory = min(*cmd.ShareHistory, now)
	}
	if cmd.RoleIDs != nil {
		m.RoleIDs = slices.Clone(cmd.RoleIDs)
	}
	if m.User == caller && m.VisibleFrom() < old.VisibleFrom() {
		return nil, Forbid("shows itself more of the history", why.Because(why.HistoryOwn))
	}
	if m.User != caller && m.VisibleFrom() > old.VisibleFrom() { // hiding history from another user is refused, because that user could not undo it
		return nil, Forbid("hides some of the history from another user", why.Because(why.HistoryOther, "who", why.User(m.User)))
	}
	c := changeOf(t)
	if m.DisplayName == old.DisplayName && m.ShareHistory == old.ShareHistory && slices.Equal(m.RoleIDs, old.RoleIDs) {
		return c, nil
	}
	if err := limits.checkRosterSize(t, &m); err != nil {
		return nil, err
	}
	c.Members = []Member{m}
	return c, nil
}

// RemoveParticipant removes a user from a thread. The caller must be a participant and may
// remove itself (docs/contract/chat.md §4.2). A removed user may still read the messages from
// before its removal. Unverified: that removing a user who is not in the thread succeeds and
// does nothing. Microsoft's own sample program does so and continues (compat/samples).
func (s *Service) RemoveParticipant(ctx context.Context, caller, thread string, who communication.Identifier) error {
	if err := checkIdentifier(who); err != nil {
		return err
	}
	_, err := s.changeThread(ctx, caller, thread, func(_ Rows, t *Thread, _ *Member) (*Change, error) {
		m := t.Member(who.RawID())
		if m == nil || !m.Present() {
			return changeOf(t), nil
		}
		return leave(t, caller, *m), nil
	})
	return err
}

// leave returns the change by which a member leaves a thread. m is the member's row as it will be
// stored, with the last interval still open. The member's receipt stays. The member's row keeps its
// metadata unless the rows of earlier former members already keep too much.
func leave(t *Thread, initiator string, m Member) *Change {
	m.Intervals = slices.Clone(m.Intervals)
	m.Intervals[len(m.Intervals)-1].To = CloseInterval
	m.RoleIDs = nil // the roles end with the participation
	c := changeOf(t)
	if !keepsMetadata(t, &m) {
		m.Metadata, c.ForgetMetadata = nil, true
	}
	c.Members = []Member{m}
	c.Messages = []Message{{Kind: ParticipantRemoved, Initiator: initiator, Participants: named(c.Members)}}
	c.Events = []Event{{Kind: ParticipantsRemoved, Actor: initiator}}
	return c
}

// ParticipantsPage is a page of participants. Next is the number of participants to skip for
// the next page, or 0 after the last page.
type ParticipantsPage struct {
	Participants []*Member
	Next         int
}

// ListParticipants skips the first skip participants of a thread, in the order of joining, and
// returns a page of the next ones: at most limit participants and PageBytes bytes
// (docs/contract/chat.md §4.2).
func (s *Service) ListParticipants(ctx context.Context, caller, thread string, skip, limit int) (page ParticipantsPage, err error) {
	v, err := s.view(ctx, caller, thread)
	if err != nil {
		return page, err
	}
	t, err := s.threadAt(ctx, v)
	if err != nil {
		return page, err
	}
	if _, err := participant(t, caller); err != nil {
		return page, err
	}
	page.Participants, page.Next = cutPage(t.Participants(), skip, limit, (*Member).size)
	return page, nil
}

// cutPage returns at most limit elements of all, from index skip on. It ends the page before
// the sizes of its elements exceed PageBytes together, but includes at least one element. next
// is the index at which the next page begins, or 0 after the last page.
func cutPage[T any](all []T, skip, limit int, size func(T) int) (page []T, next int) {
	from := min(skip, len(all))
	to := from
	for bytes := 0; to < min(from+limit, len(all)); to++ {
		if bytes += size(all[to]); bytes > PageBytes && to > from {
			break
		}
	}
	if to < len(all) {
		next = to
	}
	return all[from:to], next
}

// Typing publishes a typing notification of the caller in a thread on the bus
// (docs/contract/chat.md §4.4). It stores nothing. The caller must be a participant. Typing checks
// this on a cached thread if it can. A user whom another process has removed may therefore send
// notifications until the cached thread is freshFor old. In a thread with more participants than
// Limits.Receipts, Typing publishes nothing.
func (s *Service) Typing(ctx context.Context, caller, thread string, displayName string) error {
	if err := checkText("senderDisplayName", displayName, maxDisplayName); err != nil {
		return err
	}
	rows := &storedRows{Service: s, ctx: ctx, fresh: !s.recent(thread)}
	t, _, err := s.joinedThread(rows, caller, thread)
	if err != nil && rows.cached {
		t, _, err = s.joinedThread(&storedRows{Service: s, ctx: ctx, fresh: true}, caller, thread)
	}
	if err != nil {
		return err
	}
	tooLarge := s.limits.Receipts > 0 && len(t.Participants()) > s.limits.Receipts
	if tooLarge || !s.bus.Listening() {
		return nil
	}
	now := s.now().UnixMilli()
	s.bus.Publish([]*Happening{{
		Event:    Event{Thread: thread, Kind: TypingReceived, Actor: caller, Version: now, At: now},
		Revision: t.Revision, DisplayName: displayName,
	}})
	return nil
}
