package wire

import "github.com/confab-chat/confab/internal/core"

// CreateChatThreadRequest is the body of POST /chat/threads.
type CreateChatThreadRequest struct {
	Topic           string               `json:"topic"`
	Participants    []ChatParticipant    `json:"participants,omitzero"`
	Metadata        map[string]string    `json:"metadata,omitzero" since:"2025-03-15"`
	RetentionPolicy *ChatRetentionPolicy `json:"retentionPolicy,omitzero" since:"2025-03-15"`
}

// CreateChatThreadResult is its response.
type CreateChatThreadResult struct {
	ChatThread          *ChatThreadProperties `json:"chatThread,omitzero"`
	Errors              *ParticipantsErrors   `json:"errors,omitzero" until:"2021-03-07"`
	InvalidParticipants []CommunicationError  `json:"invalidParticipants,omitzero" since:"2021-03-07"`
}

// ChatThreadProperties is a thread.
type ChatThreadProperties struct {
	ID              string                        `json:"id"`
	Topic           string                        `json:"topic"`
	CreatedOn       Time                          `json:"createdOn"`
	CreatedByID     string                        `json:"createdBy" until:"2021-01-27-preview4"`
	CreatedBy       *CommunicationIdentifierModel `json:"createdByCommunicationIdentifier" since:"2021-01-27-preview4"`
	DeletedOn       Time                          `json:"deletedOn,omitzero"`
	Metadata        map[string]string             `json:"metadata,omitzero" since:"2025-03-15"`
	RetentionPolicy *ChatRetentionPolicy          `json:"retentionPolicy,omitzero" since:"2025-03-15"`
}

// UpdateChatThreadRequest is the body of PATCH /chat/threads/{id}, a merge
// patch. Unverified: a null is read as RFC 7396 has it, so that it removes the
// retention policy; a topic that is null stays, since a thread has one, and metadata
// that is null removes no key, since the patch names none.
type UpdateChatThreadRequest struct {
	Topic           *string              `json:"topic,omitzero"`
	Metadata        Patch                `json:"metadata,omitzero" null:"{}" since:"2025-03-15"`
	RetentionPolicy *ChatRetentionPolicy `json:"retentionPolicy,omitzero" null:"{\"kind\":\"none\"}" since:"2025-03-15"`
}

// ChatThreadsItemCollection is a page of the caller's threads.
type ChatThreadsItemCollection struct {
	Value    []ChatThreadItem `json:"value"`
	NextLink string           `json:"nextLink,omitzero"`
}

// ChatThreadItem is a thread in the caller's list, its members in the recorded
// order (docs/contract/chat.md §3.2).
type ChatThreadItem struct {
	ID                    string `json:"id"`
	Topic                 string `json:"topic"`
	DeletedOn             Time   `json:"deletedOn,omitzero"`
	LastMessageReceivedOn Time   `json:"lastMessageReceivedOn,omitzero"`
}

// ChatRetentionPolicy is the union of the policies of docs/contract/chat.md §3.6, told apart by
// kind.
type ChatRetentionPolicy struct {
	Kind                  string `json:"kind"`
	DeleteThreadAfterDays *int32 `json:"deleteThreadAfterDays,omitzero"`
}

// The kinds of a retention policy.
const (
	policyNone               = "none"
	policyThreadCreationDate = "threadCreationDate"
)

// ToCore returns the command of the request.
func (r *CreateChatThreadRequest) ToCore() (core.CreateThread, error) {
	cmd := core.CreateThread{Topic: r.Topic, Metadata: r.Metadata}
	var err error
	if cmd.Participants, err = newParticipants(r.Participants); err != nil {
		return cmd, inMember(err, "participants")
	}
	if cmd.RetentionDays, err = r.RetentionPolicy.toCore(); err != nil {
		return cmd, inMember(err, "retentionPolicy")
	}
	return cmd, nil
}

// ToCore returns the command of the request.
func (r *UpdateChatThreadRequest) ToCore() (core.UpdateThread, error) {
	cmd := core.UpdateThread{Topic: r.Topic, Metadata: r.Metadata}
	if r.RetentionPolicy != nil {
		days, err := r.RetentionPolicy.toCore()
		if err != nil {
			return cmd, inMember(err, "retentionPolicy")
		}
		cmd.RetentionDays = &days
	}
	return cmd, nil
}

// toCore returns the number of days, 0 for none. Unverified: the refusals; no 400
// was recorded (docs/contract/chat.md §3.6).
func (p *ChatRetentionPolicy) toCore() (days int32, err error) {
	switch {
	case p == nil || p.Kind == policyNone:
		return 0, nil
	case p.Kind != policyThreadCreationDate:
		return 0, &Error{Path: "kind", Reason: "must be " + policyNone + " or " + policyThreadCreationDate}
	case p.DeleteThreadAfterDays == nil:
		return 0, &Error{Path: "deleteThreadAfterDays", Reason: "is required"}
	}
	return *p.DeleteThreadAfterDays, core.CheckRetentionDays(*p.DeleteThreadAfterDays)
}

func retention(days int32) *ChatRetentionPolicy {
	if days == 0 {
		return nil
	}
	return &ChatRetentionPolicy{Kind: policyThreadCreationDate, DeleteThreadAfterDays: &days}
}

// ThreadFromCore returns a thread's properties.
func ThreadFromCore(t core.ThreadProperties) *ChatThreadProperties {
	return &ChatThreadProperties{
		ID: t.ID, Topic: t.Topic, CreatedOn: Time(t.CreatedOn), CreatedByID: t.CreatedBy, CreatedBy: IdentifierFromCore(t.CreatedBy),
		DeletedOn: Time(t.DeletedOn), Metadata: t.Metadata, RetentionPolicy: retention(t.RetentionDays),
	}
}

// ThreadsFromCore returns a page of a user's list.
func ThreadsFromCore(ts []core.ThreadEntry) []ChatThreadItem {
	page := make([]ChatThreadItem, len(ts))
	for i, t := range ts {
		page[i] = ChatThreadItem{
			ID: t.Thread, Topic: t.Topic, DeletedOn: Time(t.DeletedOn), LastMessageReceivedOn: Time(t.LastMessageOn),
		}
	}
	return page
}
