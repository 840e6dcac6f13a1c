package chat

import (
	"encoding/json"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// ThreadProperties are the properties of a thread, without its messages and participants
// (docs/contract/chat.md §3.3).
type ThreadProperties struct {
	// ID identifies the thread in requests; see [Client.NewThreadClient].
	ID    string `json:"id"`
	Topic string `json:"topic"`

	// CreatedOn is the time at which the thread was created, and CreatedBy the user that created
	// it.
	CreatedOn time.Time                `json:"createdOn"`
	CreatedBy communication.Identifier `json:"createdByCommunicationIdentifier"`

	// DeletedOn is the time of the deletion, zero if the thread is not deleted.
	DeletedOn time.Time `json:"deletedOn,omitzero"`

	// Metadata holds the keys and values that are stored with the thread.
	Metadata map[string]string `json:"metadata,omitzero"`

	// RetentionPolicy sets when the service deletes the thread. If it is zero, the service has
	// returned no policy and does not delete the thread automatically.
	RetentionPolicy RetentionPolicy `json:"retentionPolicy,omitzero"`
}

// MarshalJSON encodes the properties as the service does, with times in whole seconds.
func (p ThreadProperties) MarshalJSON() ([]byte, error) {
	type plain ThreadProperties // the type plain has no method MarshalJSON, so json.Marshal does not call this method again
	p.CreatedOn, p.DeletedOn = seconds(p.CreatedOn), seconds(p.DeletedOn)
	return json.Marshal(plain(p))
}

// ThreadItem is an entry in the user's list of threads (docs/contract/chat.md §3.2).
type ThreadItem struct {
	ID    string `json:"id"`
	Topic string `json:"topic"`

	// DeletedOn is the time of the deletion, zero if the thread is not deleted. Deleted threads
	// stay in the list for some time.
	DeletedOn time.Time `json:"deletedOn,omitzero"`

	// LastMessageReceivedOn is the time at which the server received the last message, including
	// system messages. It may be zero for a new thread.
	LastMessageReceivedOn time.Time `json:"lastMessageReceivedOn,omitzero"`
}

// MarshalJSON encodes the entry as the service does, with times in whole seconds.
func (i ThreadItem) MarshalJSON() ([]byte, error) {
	type plain ThreadItem // the type plain has no method MarshalJSON, so json.Marshal does not call this method again
	i.DeletedOn, i.LastMessageReceivedOn = seconds(i.DeletedOn), seconds(i.LastMessageReceivedOn)
	return json.Marshal(plain(i))
}

// RetentionPolicy sets when the service deletes a thread automatically
// (docs/contract/chat.md §3.6). The zero value sets nothing: a new thread is kept, and an update
// does not change the policy. It requires API version 2025-03-15.
//
//	chat.RetentionPolicy{DeleteThreadAfterDays: 60}     // delete 60 days after the creation
//	chat.RetentionPolicy{Kind: chat.RetentionKindNone}  // remove the policy
type RetentionPolicy struct {
	// Kind selects the rule by which the thread is deleted. If it is empty and
	// DeleteThreadAfterDays is not zero, the policy is encoded with
	// RetentionKindThreadCreationDate.
	Kind RetentionKind `json:"kind"`

	// DeleteThreadAfterDays is the number of days after the creation, 30 to 90, for
	// RetentionKindThreadCreationDate.
	DeleteThreadAfterDays int `json:"deleteThreadAfterDays,omitzero"`
}

// RetentionKind is the rule of a [RetentionPolicy]. Newer servers may add kinds.
type RetentionKind string

// The kinds of retention policies (docs/contract/chat.md §3.6).
const (
	RetentionKindNone               RetentionKind = "none"
	RetentionKindThreadCreationDate RetentionKind = "threadCreationDate"
)

// MarshalJSON encodes the policy as the contract defines it. It sets the kind if Kind is empty and
// DeleteThreadAfterDays is not zero.
func (p RetentionPolicy) MarshalJSON() ([]byte, error) {
	type plain RetentionPolicy // the type plain has no method MarshalJSON, so json.Marshal does not call this method again
	if p.Kind == "" && p.DeleteThreadAfterDays != 0 {
		p.Kind = RetentionKindThreadCreationDate
	}
	if p.Kind == RetentionKindThreadCreationDate {
		return json.Marshal(struct {
			plain
			DeleteThreadAfterDays int `json:"deleteThreadAfterDays"` // the protocol requires this member for this kind of policy, even if it is 0
		}{plain(p), p.DeleteThreadAfterDays})
	}
	return json.Marshal(plain(p))
}

// CreateThreadResult contains a new thread and the participants that the service refused to add to
// it.
type CreateThreadResult struct {
	// Thread holds the properties of the new thread. The thread exists even if Failed is not empty.
	Thread ThreadProperties `json:"chatThread"`

	// Failed are the participants that the service refused. They can be added later: see
	// [FailedParticipants.Participants].
	Failed FailedParticipants `json:"invalidParticipants,omitzero"`
}
