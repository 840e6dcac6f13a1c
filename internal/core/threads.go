package core

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/confab-chat/confab/sdk/communication"
)

// Limits of a thread. Unverified: the contract names no length for topics.
const (
	maxTopic       = 250 // characters
	maxDisplayName = 256 // characters
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
// be added; the others are returned (chat.md §3.1). The same caller with the
// same token gets the first answer again, whatever else it asks for.
func (s *Service) CreateThread(ctx context.Context, caller string, cmd CreateThread) (ThreadProperties, []InvalidParticipant, error) {
	if err := cmd.check(); err != nil {
		return ThreadProperties{}, nil, err
	}
	var answer *CreateAnswer
	c, r, err := s.change(ctx, func() (*Change, error) {
		id := newThreadID()
		if cmd.Token != "" {
			id = threadIDFor(s.resource.ID, caller, cmd.Token)
		}
		users, err := s.lookUp(ctx, cmd.Participants)
		if err != nil {
			return nil, err
		}
		c, a := decideCreate(id, caller, cmd, users, s.now().UnixMilli())
		answer = a
		return c, nil
	})
	if err != nil {
		return ThreadProperties{}, nil, err
	}
	// The answer is only read from here on: replays in the same batch share it.
	createdOn := r.Head.CreatedOn
	if r.Status == Replayed {
		answer, createdOn = r.Answer, r.Answer.CreatedOn
	}
	return ThreadProperties{ID: c.Thread, Properties: Properties{
		Topic: answer.Topic, CreatedBy: answer.CreatedBy, CreatedOn: createdOn,
		Metadata: answer.Metadata, RetentionDays: answer.RetentionDays,
	}}, answer.Invalid, nil
}

func (cmd *CreateThread) check() error {
	if err := checkTopic(cmd.Topic); err != nil {
		return err
	}
	for i, p := range cmd.Participants {
		field := fmt.Sprintf("participants[%d]", i)
		if err := checkText(field+".displayName", p.DisplayName, maxDisplayName); err != nil {
			return err
		}
		if id := p.User.RawID(); addable(p.User) && !communication.ValidUserID(id) {
			return InvalidIdentifier(clip(id))
		}
	}
	return checkToken(cmd.Token)
}

// addable says whether the kind is one of a user of this or another resource;
// phone numbers and Teams users are refused one by one, not as malformed.
func addable(id communication.Identifier) bool {
	return id.Kind() == communication.KindUser || id.Kind() == communication.KindUnknown
}

func checkTopic(topic string) error {
	if topic == "" {
		return Invalid("topic", "The topic field is required.")
	}
	return checkText("topic", topic, maxTopic)
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
func (s *Service) lookUp(ctx context.Context, ps []NewParticipant) (map[string]User, error) {
	users := make(map[string]User, len(ps))
	for _, p := range ps {
		id := p.User.RawID()
		if _, seen := users[id]; seen || !s.owns(id) {
			continue
		}
		u, err := s.User(ctx, id)
		if err != nil {
			return nil, err
		}
		users[id] = u
	}
	return users, nil
}

// decideCreate is pure: what a create writes, given the rows of the
// participants of this resource.
func decideCreate(id, caller string, cmd CreateThread, users map[string]User, now int64) (*Change, *CreateAnswer) {
	c := &Change{Key: id, Thread: id}
	answer := &CreateAnswer{Topic: cmd.Topic, CreatedBy: caller, Metadata: clone(cmd.Metadata), RetentionDays: cmd.RetentionDays}
	seen := map[string]bool{}
	add := func(p NewParticipant) {
		user := p.User.RawID()
		if seen[user] {
			return
		}
		seen[user] = true
		if user != caller {
			if bad, ok := refuse(p.User, users); ok {
				answer.Invalid = append(answer.Invalid, bad)
				return
			}
			c.Users = append(c.Users, users[user])
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
		c.Answer = answer
	}
	return c, answer
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
// recorded codes stands for an unknown and which for a foreign user (chat.md §3.1).
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

// Thread returns a thread's properties to a participant (chat.md §3.3).
func (s *Service) Thread(ctx context.Context, caller, id string) (ThreadProperties, error) {
	t, err := s.store.Thread(ctx, id)
	if err != nil {
		return ThreadProperties{}, fmt.Errorf("load thread %s: %w", id, err)
	}
	if t == nil {
		return ThreadProperties{}, errThreadNotFound
	}
	if _, err := participant(t, caller); err != nil {
		return ThreadProperties{}, err
	}
	return ThreadProperties{ID: id, Properties: t.Properties}, nil
}

// participant returns the caller's row if it is in the thread now.
func participant(t *Thread, caller string) (*Member, error) {
	if t.DeletedOn != 0 {
		return nil, errThreadNotFound
	}
	if m := t.Member(caller); m != nil && m.Present() {
		return m, nil
	}
	return nil, errNotMember
}
