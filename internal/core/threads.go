package core

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/sdk/communication"
)

// Limits of a thread. Unverified: the contract names no length for topics.
const (
	maxTopic       = 250 // characters
	maxDisplayName = 256 // characters

	minRetentionDays, maxRetentionDays = 30, 90 // docs/contract/chat.md §3.6
)

// NewParticipant is somebody whom a command adds.
type NewParticipant struct {
	User         communication.Identifier
	DisplayName  string
	ShareHistory int64 // epoch milliseconds; a future time counts as now
	Metadata     map[string]string
}

// CreateThread is the command of POST /chat/threads.
type CreateThread struct {
	Topic         string
	Participants  []NewParticipant
	Metadata      map[string]string
	RetentionDays int32
	Token         string // idempotency; empty: none
}

// ThreadProperties is what a thread says of itself.
type ThreadProperties struct {
	ID string
	Properties
}

// CreateThread makes a thread with the caller and all participants who could
// be added; the others are returned (docs/contract/chat.md §3.1). The same caller with the
// same token gets the first answer again, whatever else it asks for.
func (s *Service) CreateThread(ctx context.Context, caller string, cmd CreateThread) (ThreadProperties, []InvalidParticipant, error) {
	if err := cmd.check(s.limits); err != nil {
		return ThreadProperties{}, nil, err
	}
	id := newThreadID(s.random)
	if cmd.Token != "" {
		id = threadIDFor(s.resource.ID, caller, cmd.Token)
	}
	o, err := s.change(ctx, func(rows Rows) (*Change, error) {
		users, err := s.lookUp(rows, cmd.Participants)
		if err != nil {
			return nil, err
		}
		return decideCreate(id, caller, cmd, users, s.now().UnixMilli()), nil
	})
	if err != nil {
		return ThreadProperties{}, nil, err
	}
	if first := o.Answer; o.Status == Replayed {
		return ThreadProperties{ID: id, Properties: Properties{
			Topic: first.Topic, CreatedBy: first.CreatedBy, CreatedOn: first.CreatedOn, Metadata: first.Metadata, RetentionDays: first.RetentionDays,
		}}, first.Invalid, nil
	}
	return ThreadProperties{ID: id, Properties: o.Head.Properties}, o.Change.Invalid, nil
}

func (cmd *CreateThread) check(limits Limits) error {
	if err := checkTopic(cmd.Topic); err != nil {
		return err
	}
	if err := limits.checkMetadata("metadata", cmd.Metadata); err != nil {
		return err
	}
	if err := checkParticipants(cmd.Participants, limits); err != nil {
		return err
	}
	return checkToken(cmd.Token)
}

// checkParticipants refuses the whole request for one malformed participant,
// as was recorded (docs/contract/chat.md §7.2).
func checkParticipants(ps []NewParticipant, limits Limits) error {
	if err := limits.checkCount("participants", len(ps), limits.PerRequest); err != nil {
		return err
	}
	for i, p := range ps {
		field := fmt.Sprintf("participants[%d]", i)
		if err := checkText(field+".displayName", p.DisplayName, maxDisplayName); err != nil {
			return err
		}
		if err := limits.checkMetadata(field+".metadata", p.Metadata); err != nil {
			return err
		}
		if err := checkIdentifier(p.User); err != nil {
			return err
		}
	}
	return nil
}

// checkIdentifier refuses a malformed id of a user of this or another resource.
// Phone numbers and Teams users pass: they are refused one by one, not as malformed.
func checkIdentifier(id communication.Identifier) error {
	user := id.Kind() == communication.KindUser || id.Kind() == communication.KindUnknown
	if user && !communication.ValidUserID(id.RawID()) {
		return InvalidIdentifier(clip.Text(id.RawID(), maxEcho))
	}
	return nil
}

func checkTopic(topic string) error {
	if topic == "" {
		return Invalid("topic", "The topic field is required.")
	}
	return checkText("topic", topic, maxTopic)
}

// CheckRetentionDays refuses a policy that keeps a thread for too few or too many
// days. Unverified: the refusal; no 400 was recorded (docs/contract/chat.md §3.6).
func CheckRetentionDays(days int32) error {
	if days < minRetentionDays || days > maxRetentionDays {
		const field = "retentionPolicy.deleteThreadAfterDays"
		return Invalid(field, "%s: must be from %d to %d", field, minRetentionDays, maxRetentionDays)
	}
	return nil
}

// checkText refuses what no row may hold and nothing could show.
func checkText(field, s string, most int) error {
	if !utf8.ValidString(s) {
		return Invalid(field, "The %s field is not valid UTF-8.", field)
	}
	for i := range len(s) {
		if s[i] == 0 {
			return Invalid(field, "The %s field must not contain the NUL character.", field)
		}
	}
	if n := utf8.RuneCountInString(s); n > most {
		return Invalid(field, "The %s field has %d characters; at most %d are allowed.", field, n, most)
	}
	return nil
}

// lookUp reads the rows of the participants who belong to this resource.
func (s *Service) lookUp(rows Rows, ps []NewParticipant) (map[string]User, error) {
	var ids []string
	for _, p := range ps {
		if id := p.User.RawID(); s.owns(id) {
			ids = append(ids, id)
		}
	}
	return rows.Users(ids...)
}

// decideCreate is pure: the change that makes a thread, given the rows of the
// participants of this resource.
func decideCreate(id, caller string, cmd CreateThread, users map[string]User, now int64) *Change {
	c := &Change{Key: id, Thread: id}
	seen := map[string]bool{}
	add := func(p NewParticipant) {
		user := p.User.RawID()
		if seen[user] {
			return
		}
		seen[user] = true
		if user != caller {
			if bad, ok := refuse(p.User, users); ok {
				c.Invalid = append(c.Invalid, bad)
				return
			}
			c.ReadUsers = append(c.ReadUsers, users[user])
		}
		c.Members = append(c.Members, Member{
			User: user, DisplayName: p.DisplayName, Metadata: clone(p.Metadata),
			ShareHistory: min(p.ShareHistory, now),
			Order:        uint32(len(c.Members) + 1), Intervals: []Interval{{}},
		})
	}
	if !lists(cmd.Participants, caller) {
		add(NewParticipant{User: communication.ParseRawID(caller)})
	}
	for _, p := range cmd.Participants {
		add(p)
	}
	c.Properties = &Properties{Topic: cmd.Topic, CreatedBy: caller, Metadata: clone(cmd.Metadata), RetentionDays: cmd.RetentionDays}
	c.Messages = []Message{
		{Kind: ParticipantAdded, Initiator: caller, Participants: named(c.Members)},
		{Kind: TopicUpdated, Initiator: caller, Content: cmd.Topic},
	}
	c.Events = []Event{{Kind: ThreadCreated, Actor: caller}}
	if cmd.Token != "" {
		c.Answer = &CreateAnswer{Topic: cmd.Topic, CreatedBy: caller, Metadata: clone(cmd.Metadata), RetentionDays: cmd.RetentionDays, Invalid: c.Invalid}
	}
	return c
}

func lists(ps []NewParticipant, user string) bool {
	for _, p := range ps {
		if p.User.RawID() == user {
			return true
		}
	}
	return false
}

// refuse says why a user cannot be added, if so. Unverified: which of the two
// recorded codes stands for an unknown and which for a foreign user (docs/contract/chat.md §3.1).
func refuse(id communication.Identifier, users map[string]User) (InvalidParticipant, bool) {
	u, own := users[id.RawID()]
	switch {
	case !own:
		return InvalidParticipant{User: id.RawID(), Code: "403", Message: "Permissions check failed"}, true
	case u.State != UserLive:
		return InvalidParticipant{User: id.RawID(), Code: "404", Message: "Not found"}, true
	}
	return InvalidParticipant{}, false
}

func named(ms []Member) []MessageParticipant {
	ps := make([]MessageParticipant, len(ms))
	for i, m := range ms {
		ps[i] = MessageParticipant{User: m.User, DisplayName: m.DisplayName, ShareHistory: m.ShareHistory}
	}
	return ps
}

// Thread returns a thread's properties to a participant (docs/contract/chat.md §3.3).
func (s *Service) Thread(ctx context.Context, caller, id string) (ThreadProperties, error) {
	v, err := s.view(ctx, caller, id)
	if err == nil {
		err = participates(v.Member)
	}
	if err != nil {
		return ThreadProperties{}, err
	}
	return ThreadProperties{ID: id, Properties: v.Head.Properties}, nil
}

// Participates says whether the caller is in a thread, as far as this node
// knows: enough to choose whose budget a request counts on.
func (s *Service) Participates(ctx context.Context, caller, id string) bool {
	t, err := s.live(&storedRows{Service: s, ctx: ctx}, id)
	return err == nil && participates(t.Member(caller)) == nil
}

// Inspect returns a thread as the store has it, for whoever runs the server.
func (s *Service) Inspect(ctx context.Context, id string) (*Thread, error) {
	t, err := s.store.Thread(ctx, id)
	if err == nil && t == nil {
		err = errThreadNotFound
	}
	return t, err
}

// UpdateThread is the command of PATCH /chat/threads/{id}. A nil field stays
// as it is; a nil value in Metadata removes its key.
type UpdateThread struct {
	Topic         *string
	Metadata      map[string]*string
	RetentionDays *int32 // 0: kept for ever
}

// UpdateThread changes a thread's properties; any participant may (chat.md
// §3.4). A new topic is told by a system message. Nothing given: nothing done.
func (s *Service) UpdateThread(ctx context.Context, caller, id string, cmd UpdateThread) error {
	if cmd.Topic != nil {
		if err := checkTopic(*cmd.Topic); err != nil {
			return err
		}
	}
	_, err := s.change(ctx, func(rows Rows) (*Change, error) {
		t, err := s.live(rows, id)
		if err != nil {
			return nil, err
		}
		return decideUpdateThread(t, caller, cmd, s.limits)
	})
	return err
}

// decideUpdateThread is pure. Unverified: that metadata alone writes no message,
// and that a null removes its key (docs/contract/chat.md §3.4).
func decideUpdateThread(t *Thread, caller string, cmd UpdateThread, limits Limits) (*Change, error) {
	if _, err := participant(t, caller); err != nil {
		return nil, err
	}
	if cmd.Topic == nil && len(cmd.Metadata) == 0 && cmd.RetentionDays == nil {
		return changeOf(t), nil
	}
	p := t.Properties
	c := changeOf(t)
	c.Properties = &p
	c.Events = []Event{{Kind: ThreadUpdated, Actor: caller}}
	if cmd.Topic != nil {
		p.Topic = *cmd.Topic
		c.Messages = []Message{{Kind: TopicUpdated, Initiator: caller, Content: p.Topic}}
	}
	if cmd.RetentionDays != nil {
		p.RetentionDays = *cmd.RetentionDays
	}
	p.Metadata = merge(p.Metadata, cmd.Metadata)
	if err := limits.checkMetadata("metadata", p.Metadata); err != nil {
		return nil, err
	}
	return c, nil
}

// changeOf begins a change of a thread that was decided on t.
func changeOf(t *Thread) *Change {
	return &Change{Key: t.ID, Thread: t.ID, Revision: t.Revision, Roster: t.Participants()}
}

// merge puts the pairs of patch over those of m; a nil value removes its key.
func merge(m map[string]string, patch map[string]*string) map[string]string {
	if len(patch) == 0 {
		return m
	}
	out := make(map[string]string, len(m)+len(patch))
	for k, v := range m {
		out[k] = v
	}
	for k, v := range patch {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = *v
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// DeleteThread ends a thread for everybody; any participant may (docs/contract/chat.md §3.5).
// Its messages and receipts go; it stays in its participants' lists, marked.
// Unverified: who may, and that every operation answers 404 afterwards.
func (s *Service) DeleteThread(ctx context.Context, caller, id string) error {
	_, err := s.change(ctx, func(rows Rows) (*Change, error) {
		t, err := s.live(rows, id)
		if err != nil {
			return nil, err
		}
		return decideDeleteThread(t, caller)
	})
	return err
}

func decideDeleteThread(t *Thread, caller string) (*Change, error) {
	if _, err := participant(t, caller); err != nil {
		return nil, err
	}
	c := changeOf(t)
	c.Purge = true
	c.Events = []Event{{Kind: ThreadDeleted, Actor: caller}}
	return c, nil
}

// ListThreads returns a page of the caller's threads, newest activity first
// (docs/contract/chat.md §3.2): deleted ones are marked, and those it has left stand as they
// were when it left.
func (s *Service) ListThreads(ctx context.Context, caller string, before ThreadsCursor, since int64, limit int) (ThreadsPage, error) {
	page, err := s.store.Threads(ctx, ThreadsQuery{User: caller, Before: before, Since: since, Limit: limit})
	if err != nil {
		return page, fmt.Errorf("list threads of %s: %w", caller, err)
	}
	return page, nil
}

// participant returns the caller's row if it is in the thread now.
func participant(t *Thread, caller string) (*Member, error) {
	if t.DeletedOn != 0 {
		return nil, errThreadNotFound
	}
	m := t.Member(caller)
	if err := participates(m); err != nil {
		return nil, err
	}
	return m, nil
}

// participates fails with 403 unless the member is in the thread now.
func participates(m *Member) error {
	if m == nil || !m.Present() {
		return ErrForbidden
	}
	return nil
}

// reads fails with 403 for a stranger. A participant may read the thread's
// history, and a former one that up to the moment of leaving (docs/contract/chat.md §7.3).
func reads(m *Member) error {
	if m != nil && m.Left != nil {
		return nil
	}
	return participates(m)
}
