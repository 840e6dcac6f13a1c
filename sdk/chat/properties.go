package chat

import (
	"encoding/json"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// ThreadProperties is what a thread has besides messages and participants (docs/contract/chat.md §3.3).
type ThreadProperties struct {
	// ID names the thread in every request; see [Client.NewThreadClient].
	ID    string `json:"id"`
	Topic string `json:"topic"`

	// CreatedOn is when the thread was created, and CreatedBy who did it.
	CreatedOn time.Time                `json:"createdOn"`
	CreatedBy communication.Identifier `json:"createdByCommunicationIdentifier"`

	// DeletedOn is when the thread was deleted, and zero if it was not.
	DeletedOn time.Time `json:"deletedOn,omitzero"`

	// Metadata is what was attached to the thread.
	Metadata map[string]string `json:"metadata,omitzero"`

	// RetentionPolicy says when the service deletes the thread by itself. It is
	// zero where the service says nothing, which means never.
	RetentionPolicy RetentionPolicy `json:"retentionPolicy,omitzero"`
}

// MarshalJSON writes the properties as the service does, times in whole seconds.
func (p ThreadProperties) MarshalJSON() ([]byte, error) {
	type plain ThreadProperties // without this method
	p.CreatedOn, p.DeletedOn = seconds(p.CreatedOn), seconds(p.DeletedOn)
	return json.Marshal(plain(p))
}

// ThreadItem is one entry of the caller's list of threads (docs/contract/chat.md §3.2).
type ThreadItem struct {
	ID    string `json:"id"`
	Topic string `json:"topic"`

	// DeletedOn is when the thread was deleted, and zero if it was not: deleted
	// threads stay in the list for a while.
	DeletedOn time.Time `json:"deletedOn,omitzero"`

	// LastMessageReceivedOn is when the last message arrived, system messages
	// included. It can be zero for a thread that was created a moment ago.
	LastMessageReceivedOn time.Time `json:"lastMessageReceivedOn,omitzero"`
}

// MarshalJSON writes the entry as the service does, times in whole seconds.
func (i ThreadItem) MarshalJSON() ([]byte, error) {
	type plain ThreadItem // without this method
	i.DeletedOn, i.LastMessageReceivedOn = seconds(i.DeletedOn), seconds(i.LastMessageReceivedOn)
	return json.Marshal(plain(i))
}

// RetentionPolicy says when a thread is deleted without anybody asking (docs/contract/chat.md §3.6).
// The zero value says nothing: the thread is kept, and an update leaves the policy
// as it is. It needs a service of 2025-03-15.
//
//	chat.RetentionPolicy{DeleteThreadAfterDays: 60}     // counted from the creation
//	chat.RetentionPolicy{Kind: chat.RetentionKindNone}  // no longer
type RetentionPolicy struct {
	// Kind is what the policy goes by. When it is empty and DeleteThreadAfterDays
	// is not zero, it is RetentionKindThreadCreationDate.
	Kind RetentionKind `json:"kind"`

	// DeleteThreadAfterDays is for RetentionKindThreadCreationDate, in days from
	// 30 to 90.
	DeleteThreadAfterDays int `json:"deleteThreadAfterDays,omitzero"`
}

// RetentionKind is what a [RetentionPolicy] goes by. The set is open.
type RetentionKind string

// The kinds of a retention policy (docs/contract/chat.md §3.6).
const (
	RetentionKindNone               RetentionKind = "none"
	RetentionKindThreadCreationDate RetentionKind = "threadCreationDate"
)

// MarshalJSON writes the policy as the contract has it, with the kind that the
// days imply.
func (p RetentionPolicy) MarshalJSON() ([]byte, error) {
	type plain RetentionPolicy // without this method
	if p.Kind == "" && p.DeleteThreadAfterDays != 0 {
		p.Kind = RetentionKindThreadCreationDate
	}
	if p.Kind == RetentionKindThreadCreationDate {
		return json.Marshal(struct {
			plain
			DeleteThreadAfterDays int `json:"deleteThreadAfterDays"` // also when it is 0
		}{plain(p), p.DeleteThreadAfterDays})
	}
	return json.Marshal(plain(p))
}

// CreateThreadResult is a new thread and those who could not be put into it.
type CreateThreadResult struct {
	// Thread is the thread. It exists, whoever is in Failed.
	Thread ThreadProperties `json:"chatThread"`

	// Failed are the participants whom the service refused. They can be added
	// later: see [FailedParticipants.Participants].
	Failed FailedParticipants `json:"invalidParticipants,omitzero"`
}
