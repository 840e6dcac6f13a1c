package core

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/why"
	"github.com/confab-chat/confab/sdk/communication"
)

// Limits of a thread. Unverified: the length of topics, for which the contract names no limit.
const (
	maxTopic       = 250 // characters
	maxDisplayName = 256 // characters
	maxRoleIDs     = 20  // of a participant
	maxRoleID      = 100 // characters

	minRetentionDays, maxRetentionDays = 30, 90 // docs/contract/chat.md §3.6
)

// NewParticipant is a user that a command adds to a thread.
type NewParticipant struct {
	User         communication.Identifier
	DisplayName  string
	ShareHistory int64 // start of the visible history, in epoch milliseconds; a future time is replaced by the current time
	Metadata     map[string]string
	RoleIDs      []string
}

// CreateThread has the fields of a request POST /chat/threads.
type CreateThread struct {
	Topic         string
	Participants  []NewParticipant
	Metadata      map[string]string
	RetentionDays int32  // 0: no expiry
	Token         string // idempotency token; may be empty
}

// ThreadProperties has a thread's id and properties.
type ThreadProperties struct {
	ID string
	Properties
}

// CreateThread creates a thread of the caller and the given participants, and returns the users
// who could not be added (docs/contract/chat.md §3.1). It fails with 401 if the caller is not a
// live user, because the erasure of a deleted user would miss the thread. If the caller has
// already created a thread with the same token, it creates nothing and returns the first
// answer, even if the rest of the command differs.
func (s *Service) CreateThread(ctx context.Context, caller string, cmd CreateThread) (ThreadProperties, []InvalidParticipant, error) {
	if err := cmd.check(s.limits); err != nil {
		return ThreadProperties{}, nil, err
	}
	id := newThreadID(s.random)
	if cmd.Token != "" {
		id = threadIDFor(s.resource.ID, caller, cmd.Token)
	}
	o, err := s.change(ctx, func(rows Rows) (*Change, error) {
		users, err := s.lookUp(rows, cmd.Participants, caller)
		if err != nil {
			return nil, err
		}
		return decideCreate(id, caller, cmd, users, s.adopt, s.limits, s.now().UnixMilli())
	})
	if err != nil {
		return ThreadProperties{}, nil, err
	}
	if first := o.Answer; o.Status == Replayed {
		return ThreadProperties{ID: id, Properties: Properties{
			Topic: first.Topic, CreatedBy: first.CreatedBy, CreatedOn: first.CreatedOn, Metadata: first.Metadata, RetentionDays: first.RetentionDays,
		}}, first.Invalid, nil
	}
	return ThreadProperties{ID: id, Properties: *o.Change.Properties}, o.Change.Invalid, nil
}

func (cmd *CreateThread) check(limits Limits) error {
	return cmp.Or(
		checkTopic(cmd.Topic),
		limits.checkMetadata("metadata", cmd.Metadata),
		checkParticipants(cmd.Participants, limits),
		checkToken(cmd.Token),
	)
}

// checkParticipants returns a BadRequest if ps has too many participants, or one that is malformed.
// The whole request then fails and adds no participant, as in the recordings (docs/contract/chat.md
// §7.2).
func checkParticipants(ps []NewParticipant, limits Limits) error {
	if err := limits.checkPerRequest(len(ps)); err != nil {
		return err
	}
	for i, p := range ps {
		field := fmt.Sprintf("participants[%d]", i)
		err := cmp.Or(
			checkText(field+".displayName", p.DisplayName, maxDisplayName),
			limits.checkMetadata(field+".metadata", p.Metadata),
			checkRoleIDs(field+".roleIds", p.RoleIDs),
			checkIdentifier(p.User),
		)
		if err != nil {
			return err
		}
	}
	return nil
}

// checkRoleIDs returns a BadRequest if there are too many role ids, or if one is empty, too long or
// malformed. Unverified: the limits, because the contract names none.
func checkRoleIDs(field string, ids []string) error {
	if len(ids) > maxRoleIDs {
		return tooLarge(field, len(ids), maxRoleIDs, "entries", "", "The %s field has %d entries; at most %d are allowed.", field, len(ids), maxRoleIDs)
	}
	for i, id := range ids {
		entry := fmt.Sprintf("%s[%d]", field, i)
		if id == "" {
			return Invalid(entry, "The %s field must not be empty.", entry)
		}
		if err := checkText(entry, id, maxRoleID); err != nil {
			return err
		}
	}
	return nil
}

// checkIdentifier returns a BadRequest for a user id that is malformed, or longer than the ids that
// the service issues; the length matters because the answer repeats refused ids. Phone numbers and
// Teams users are well-formed and pass, but are later refused as participants.
func checkIdentifier(id communication.Identifier) error {
	user := id.Kind() == communication.KindUser || id.Kind() == communication.KindUnknown
	if user && !communication.ValidUserID(id.RawID()) || len(id.RawID()) > maxIdentifier {
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

// CheckRetentionDays returns a BadRequest unless days, the length of a retention policy, is
// from 30 to 90. Unverified: the refusal; no 400 was recorded (docs/contract/chat.md §3.6).
func CheckRetentionDays(days int32) error {
	if days < minRetentionDays || days > maxRetentionDays {
		const field = "retentionPolicy.deleteThreadAfterDays"
		return Invalid(field, "%s: must be from %d to %d", field, minRetentionDays, maxRetentionDays)
	}
	return nil
}

// checkText returns a BadRequest for a text that is not UTF-8, contains NUL or has
// more than limit characters.
func checkText(field, s string, limit int) error {
	if !utf8.ValidString(s) {
		return Invalid(field, "The %s field is not valid UTF-8.", field)
	}
	if strings.IndexByte(s, 0) >= 0 {
		return Invalid(field, "The %s field must not contain the NUL character.", field)
	}
	if n := utf8.RuneCountInString(s); n > limit {
		return tooLarge(field, n, limit, "characters", "", "The %s field has %d characters; at most %d are allowed.", field, n, limit)
	}
	return nil
}

// lookUp returns the rows of the participants who belong to this resource, and of the users
// with the ids others. The key of the map is the user's id.
func (s *Service) lookUp(rows Rows, ps []NewParticipant, others ...string) (map[string]User, error) {
	ids := others
	for _, p := range ps {
		if id := p.User.RawID(); s.resource.Owns(id) && !slices.Contains(others, id) {
			ids = append(ids, id)
		}
	}
	return rows.Users(ids...)
}

// ThreadIDFor returns the id of the thread that CreateThread creates for a caller with an
// idempotency token. The thread need not exist.
func (s *Service) ThreadIDFor(caller, token string) string {
	return threadIDFor(s.resource.ID, caller, token)
}

// decideCreate returns the change that creates a thread. users has the rows of the caller and of
// the participants of this resource; other participants are refused. If adopt is true, the change
// creates unknown participants of this resource. decideCreate fails with 401 unless the caller is a
// live user, and with 400 if the thread gets too many participants.
func decideCreate(id, caller string, cmd CreateThread, users map[string]User, adopt bool, limits Limits, now int64) (*Change, error) {
	if users[caller].State != UserLive {
		return nil, errUserDeleted
	}
	c := &Change{Key: id, Thread: id, ReadUsers: []User{users[caller]}}
	ps := cmd.Participants
	if !slices.ContainsFunc(ps, func(p NewParticipant) bool { return p.User.RawID() == caller }) {
		ps = slices.Insert(slices.Clone(ps), 0, NewParticipant{User: communication.ParseRawID(caller)})
	}
	c.admit(&Thread{}, caller, ps, users, adopt, now)
	if err := limits.checkRoster(&Thread{}, c.Members); err != nil {
		return nil, err
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
	return c, nil
}

// named returns the members in the form in which a system message names them.
func named(ms []Member) []MessageParticipant {
	ps := make([]MessageParticipant, len(ms))
	for i, m := range ms {
		ps[i] = MessageParticipant{User: m.User, DisplayName: m.DisplayName, ShareHistory: m.ShareHistory}
	}
	return ps
}

// Thread returns a thread's properties. It fails with 404 if the thread does not exist,
// was deleted or has expired, and with 403 unless the caller is a participant
// (docs/contract/chat.md §3.3).
func (s *Service) Thread(ctx context.Context, caller, id string) (ThreadProperties, error) {
	v, err := s.view(ctx, caller, id)
	if err != nil {
		return ThreadProperties{}, err
	}
	return ThreadProperties{ID: id, Properties: v.Head.Properties}, nil
}

// ThreadWithParticipants returns a thread's properties and all its participants, in the order of
// joining. It fails in the same cases as Thread.
func (s *Service) ThreadWithParticipants(ctx context.Context, caller, id string) (ThreadProperties, []*Member, error) {
	v, err := s.view(ctx, caller, id)
	if err != nil {
		return ThreadProperties{}, nil, err
	}
	t, err := s.threadAt(ctx, v)
	if err != nil {
		return ThreadProperties{}, nil, err
	}
	if _, err := participant(t, caller); err != nil {
		return ThreadProperties{}, nil, err
	}
	return ThreadProperties{ID: id, Properties: t.Properties}, t.Participants(), nil
}

// Participates reports whether the caller is a participant of a thread that is neither deleted
// nor expired. It may use outdated cached rows, and returns false on any error. Use it only to
// decide whether a request counts towards the thread's rate limit.
func (s *Service) Participates(ctx context.Context, caller, id string) bool {
	t, err := s.live(&storedRows{Service: s, ctx: ctx}, caller, id)
	return err == nil && participates(t.Member(caller)) == nil
}

// Inspect returns a thread with all members, even if the thread is deleted, and does not check
// permissions. It fails with 404 if the thread does not exist. It is meant for the server's
// operator.
func (s *Service) Inspect(ctx context.Context, id string) (*Thread, error) {
	t, err := s.store.Thread(ctx, id)
	if err == nil && t == nil {
		err = errThreadNotFound
	}
	return t, err
}

// InspectMessages returns a page of a thread's messages, newest first, and does not check
// permissions. The page has at most limit messages with sequences less than before; if before
// is 0, it begins with the newest. It fails with 404 if the thread does not exist, was deleted
// or has expired. It is meant for the server's operator.
func (s *Service) InspectMessages(ctx context.Context, id string, before uint64, limit int) (MessagesPage, error) {
	page, err := s.store.Messages(ctx, MessagesQuery{Thread: id, Before: before, Limit: limit})
	if err != nil {
		return MessagesPage{}, err
	}
	if err := s.exists(&page.Head, nil); err != nil {
		return MessagesPage{}, err
	}
	return page, nil
}

// UpdateThread has the fields of a request PATCH /chat/threads/{id}. A nil field is not
// changed; a nil value in Metadata removes its key.
type UpdateThread struct {
	Topic         *string
	Metadata      map[string]*string
	RetentionDays *int32 // 0: no expiry
}

// UpdateThread changes a thread's properties. The caller must be a participant
// (docs/contract/chat.md §3.4). A new topic also adds a system message. A command without fields
// does nothing.
func (s *Service) UpdateThread(ctx context.Context, caller, id string, cmd UpdateThread) error {
	if cmd.Topic != nil {
		if err := checkTopic(*cmd.Topic); err != nil {
			return err
		}
	}
	_, err := s.changeThread(ctx, caller, id, func(_ Rows, t *Thread, _ *Member) (*Change, error) {
		return decideUpdateThread(t, caller, cmd, s.limits)
	})
	return err
}

// decideUpdateThread returns the change that updates a thread's properties.
// Unverified: that metadata alone adds no system message, and that a null removes
// its key (docs/contract/chat.md §3.4).
func decideUpdateThread(t *Thread, caller string, cmd UpdateThread, limits Limits) (*Change, error) {
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
	if err := limits.checkPatched("metadata", t.Metadata, p.Metadata); err != nil {
		return nil, err
	}
	return c, nil
}

// changeOf returns a change of thread t that writes no rows yet. It contains the revision of t,
// so that Assign detects whether the thread has changed since t was read.
func changeOf(t *Thread) *Change {
	return &Change{Key: t.ID, Thread: t.ID, Revision: t.Revision, Roster: t.Participants()}
}

// merge returns metadata m with the pairs of patch set. A nil value in patch removes its key.
// merge does not change m.
func merge(m map[string]string, patch map[string]*string) map[string]string {
	if len(patch) == 0 {
		return m
	}
	out := make(map[string]string, len(m)+len(patch))
	maps.Copy(out, m)
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

// DeleteThread deletes a thread with its messages and receipts. The caller must be a participant
// (docs/contract/chat.md §3.5). The participants' lists of threads keep the thread, marked as
// deleted. A caller whose own deletion has begun may delete only a thread that it has created or in
// which it is alone; for other threads DeleteThread fails with 401.
//
// If the thread was deleted before or has expired, DeleteThread succeeds and does nothing for a
// caller who is or was in the thread. It always will, because deleted threads keep their head and
// their members. Unverified: which users may delete a thread, and that every other operation, and
// DeleteThread by other users, answers 404 afterwards.
func (s *Service) DeleteThread(ctx context.Context, caller, id string) error {
	_, err := s.change(ctx, func(rows Rows) (*Change, error) {
		t, err := s.live(rows, caller, id)
		if err == errThreadNotFound {
			return changeOf(t), nil
		}
		if err == nil {
			_, err = participant(t, caller)
		}
		if err != nil {
			return nil, err
		}
		users, err := rows.Users(caller)
		if err != nil {
			return nil, err
		}
		return decideDelete(t, users[caller])
	})
	return err
}

// decideDelete returns the change by which a participant deletes a thread. A deleted user may
// delete a thread that it has created, because Microsoft's test suites of 2021 delete the user
// first and the thread afterwards, or a thread in which it is alone. For other threads decideDelete
// fails with errLeaving, because such a thread also belongs to its other participants and the
// deleted user's token may have leaked.
func decideDelete(t *Thread, caller User) (*Change, error) {
	deleted := caller.State == UserDeleting || caller.State == UserDeleted
	if deleted && t.CreatedBy != caller.ID && len(t.Participants()) > 1 {
		return nil, errLeaving
	}
	c := purge(t, caller.ID)
	c.ReadUsers = []User{caller} // the change must fail if another server has deleted the caller meanwhile
	return c, nil
}

// purge returns the change that deletes a thread.
func purge(t *Thread, actor string) *Change {
	c := changeOf(t)
	c.Purge = true
	c.Events = []Event{{Kind: ThreadDeleted, Actor: actor}}
	return c
}

// ListThreads returns a page of the caller's threads, the latest activity first
// (docs/contract/chat.md §3.2). Deleted threads are marked. Threads that the caller has left
// are shown as they were when the caller left.
func (s *Service) ListThreads(ctx context.Context, caller string, before ThreadsCursor, since int64, limit int) (ThreadsPage, error) {
	return s.ExpandThreads(ctx, ThreadsQuery{User: caller, Before: before, Since: since, Limit: limit})
}

// ExpandThreads is like ListThreads for the user q.User, but adds previews, unread counts
// or both as q.Expand asks (docs/contract/chat.md §3.8). A deleted or expired thread has no
// preview and an unread count of 0.
func (s *Service) ExpandThreads(ctx context.Context, q ThreadsQuery) (ThreadsPage, error) {
	page, err := s.store.Threads(ctx, q)
	if err != nil {
		return page, fmt.Errorf("list threads of %s: %w", q.User, err)
	}
	now := s.now().UnixMilli()
	for i := range page.Threads {
		if e := &page.Threads[i]; e.DeletedOn != 0 || e.ExpiresOn != 0 && e.ExpiresOn <= now {
			if e.LastMessage = nil; e.Unread != nil {
				e.Unread = new(int)
			}
		}
	}
	return page, nil
}

// participant returns the caller's row. It fails with 404 if the thread was deleted, and with 403
// if the caller is not in the thread now.
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
	switch {
	case m == nil || !m.Present() && m.Left == nil:
		return errNotParticipant
	// Add the number of the event of leaving, so that Departure can find out later who removed the
	// user.
	case !m.Present():
		return errNotParticipant.Because(why.NotParticipant, "event", strconv.FormatUint(m.LastEvent(), 10))
	}
	return nil
}

// mayRead fails with 403 unless the member is or was in the thread. A former member may read the
// messages up to the time of leaving (docs/contract/chat.md §7.3).
func mayRead(m *Member) error {
	if m != nil && m.Left != nil {
		return nil
	}
	return participates(m)
}
