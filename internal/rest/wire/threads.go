package wire

import "github.com/confab-chat/confab/internal/core"

// CreateChatThreadRequest is the body of POST /chat/threads.
type CreateChatThreadRequest struct {
	Topic           string               `json:"topic"`
	Participants    []ChatParticipant    `json:"participants,omitzero"`
	Metadata        map[string]string    `json:"metadata,omitzero" in:"thread metadata"`
	RetentionPolicy *ChatRetentionPolicy `json:"retentionPolicy,omitzero" in:"retention"`
}

// CreateChatThreadResult is the response to POST /chat/threads.
type CreateChatThreadResult struct {
	ChatThread          *ChatThreadProperties `json:"chatThread,omitzero"`
	Errors              *ParticipantsErrors   `json:"errors,omitzero" in:"errors object"`
	InvalidParticipants []CommunicationError  `json:"invalidParticipants,omitzero" in:"invalid participants"`
}

// ChatThreadProperties holds the properties of a thread. DeletedOn is zero unless the thread is
// deleted.
type ChatThreadProperties struct {
	ID              string                        `json:"id"`
	Topic           string                        `json:"topic"`
	CreatedOn       Time                          `json:"createdOn"`
	CreatedByID     string                        `json:"createdBy" in:"flat ids"`
	CreatedBy       *CommunicationIdentifierModel `json:"createdByCommunicationIdentifier" in:"identifier models"`
	DeletedOn       Time                          `json:"deletedOn,omitzero"`
	Metadata        map[string]string             `json:"metadata,omitzero" in:"thread metadata"`
	RetentionPolicy *ChatRetentionPolicy          `json:"retentionPolicy,omitzero" in:"retention"`
	MessagingPolicy *MessagingPolicy              `json:"messagingPolicy,omitzero" in:"messaging policies"`
}

// MessagingPolicy says whether a thread may have messages with attachments. No operation of the
// contract sets this policy, so no thread has one.
type MessagingPolicy struct {
	TextOnlyChat bool `json:"textOnlyChat,omitzero"`
}

// UpdateChatThreadRequest is the body of PATCH /chat/threads/{id}, a merge patch.
// Unverified: that a null retentionPolicy removes the policy, as RFC 7396 says, that a
// null topic keeps the topic, because every thread has one, and that a null metadata
// changes nothing, because it names no key.
type UpdateChatThreadRequest struct {
	Topic           *string              `json:"topic,omitzero"`
	Metadata        Patch                `json:"metadata,omitzero" null:"{}" in:"thread metadata"`
	RetentionPolicy *ChatRetentionPolicy `json:"retentionPolicy,omitzero" null:"{\"kind\":\"none\"}" in:"retention"`
}

// ChatThreadsItemCollection is a page of the caller's threads. NextLink is empty on the
// last page.
type ChatThreadsItemCollection struct {
	Value    []ChatThreadItem `json:"value"`
	NextLink string           `json:"nextLink,omitzero"`
}

// ChatThreadItem is a thread in the caller's list. Its fields are in the recorded order
// (docs/contract/chat.md §3.2). LastMessage and Unread are extensions of Confab
// (docs/contract/chat.md §3.8).
type ChatThreadItem struct {
	ID                    string `json:"id"`
	Topic                 string `json:"topic"`
	DeletedOn             Time   `json:"deletedOn,omitzero"`
	LastMessageReceivedOn Time   `json:"lastMessageReceivedOn,omitzero"`

	LastMessage *ChatMessage `json:"lastMessage,omitzero"`
	Unread      *int32       `json:"unread,omitzero"`
}

// ChatRetentionPolicy is a retention policy of any kind (docs/contract/chat.md §3.6). Only
// kind threadCreationDate has deleteThreadAfterDays.
type ChatRetentionPolicy struct {
	Kind                  string `json:"kind"`
	DeleteThreadAfterDays *int32 `json:"deleteThreadAfterDays,omitzero"`
}

// The values of ChatRetentionPolicy.Kind.
const (
	policyNone               = "none"
	policyThreadCreationDate = "threadCreationDate"
)

// ToCore converts the request to a command of package core. It fails for an invalid
// participant or retention policy.
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

// ToCore converts the request to a command of package core. It fails for an invalid
// retention policy.
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

// toCore returns the number of days after which the policy deletes a thread, or 0 if the policy
// deletes none. It fails for an invalid policy. Unverified: the responses to invalid policies,
// because no recording has one (docs/contract/chat.md §3.6).
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

// retention returns the retention policy that deletes a thread after the given number of days.
// If days is 0, as for a thread that never had a policy, it returns the policy of kind none
// (docs/contract/chat.md §3.6).
func retention(days int32) *ChatRetentionPolicy {
	if days == 0 {
		return &ChatRetentionPolicy{Kind: policyNone}
	}
	return &ChatRetentionPolicy{Kind: policyThreadCreationDate, DeleteThreadAfterDays: &days}
}

// ThreadFromCore converts the properties of a thread to their JSON form.
func ThreadFromCore(t core.ThreadProperties) *ChatThreadProperties {
	return &ChatThreadProperties{
		ID: t.ID, Topic: t.Topic, CreatedOn: Time(t.CreatedOn), CreatedByID: t.CreatedBy, CreatedBy: IdentifierFromCore(t.CreatedBy),
		DeletedOn: Time(t.DeletedOn), Metadata: t.Metadata, RetentionPolicy: retention(t.RetentionDays),
	}
}

// ThreadsFromCore converts entries of a user's thread list to their JSON form. The results share
// memory with the messages of ts.
func ThreadsFromCore(ts []core.ThreadEntry) []ChatThreadItem {
	page := make([]ChatThreadItem, len(ts))
	for i, t := range ts {
		page[i] = ChatThreadItem{
			ID: t.Thread, Topic: t.Topic, DeletedOn: Time(t.DeletedOn), LastMessageReceivedOn: Time(t.LastMessageOn), Unread: count(t.Unread),
		}
		if t.LastMessage != nil {
			page[i].LastMessage = MessageFromCore(t.LastMessage)
		}
	}
	return page
}

// count converts a number, or nil for none, to its JSON form.
func count(n *int) *int32 {
	if n == nil {
		return nil
	}
	short := int32(*n)
	return &short
}
