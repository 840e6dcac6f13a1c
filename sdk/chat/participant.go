package chat

import (
	"encoding/json"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// Participant is a participant of a thread, or a user to add to a thread (docs/contract/chat.md
// §3.1, §4.2). Only the identifier is required.
type Participant struct {
	// Identifier identifies the participant, such as communication.NewUser(id).
	Identifier communication.Identifier `json:"communicationIdentifier"`

	// DisplayName is the name of the participant that the other participants see.
	DisplayName string `json:"displayName,omitzero"`

	// ShareHistoryTime is the time of the oldest messages that the participant may see. If it is
	// zero, the service shares the whole history and returns the first second of 1970 in lists.
	ShareHistoryTime time.Time `json:"shareHistoryTime,omitzero"`

	// Metadata is stored with the participant. All keys and values together may have at most 1 KB.
	// It requires API version 2025-03-15.
	Metadata map[string]string `json:"metadata,omitzero"`
}

// MarshalJSON encodes the participant as the contract defines it, with ShareHistoryTime in whole
// seconds.
func (p Participant) MarshalJSON() ([]byte, error) {
	type plain Participant // the type plain has no method MarshalJSON, so json.Marshal does not call this method again
	p.ShareHistoryTime = seconds(p.ShareHistoryTime)
	return json.Marshal(plain(p))
}

// FailedParticipant is a participant that the service refused to add to a thread, with the reason
// (docs/contract/chat.md §3.1).
type FailedParticipant struct {
	// Identifier identifies the refused participant.
	Identifier communication.Identifier

	// Code is the service's error code: "403" for a user that may not be added, "404" for a user
	// that does not exist.
	Code string

	// Message is the service's error message.
	Message string

	// Participant is the participant that was passed to the call, with display name, history time
	// and metadata. It is zero if the service refused a participant that the call did not contain.
	Participant Participant
}

// FailedParticipants lists the participants that the service refused to add, although it carried
// out the rest of the request: it created the thread, or added the other participants. A refusal is
// not an error. The list is empty if all participants were added.
//
//	failed, err := thread.AddParticipants(ctx, bob, carol)
//	if err != nil {
//		return err
//	}
//	for _, f := range failed {
//		log.Printf("%s is not in the thread: %s %s", f.Identifier, f.Code, f.Message)
//	}
type FailedParticipants []FailedParticipant

// Participants returns the refused participants as they were passed to the call, so that they can
// be added again once the reason for the refusal is resolved. A user that does not exist (Code
// "404") is refused again:
//
//	failed, err = thread.AddParticipants(ctx, failed.Participants()...)
func (f FailedParticipants) Participants() []Participant {
	ps := make([]Participant, 0, len(f))
	for _, failed := range f {
		if !failed.Participant.Identifier.IsZero() {
			ps = append(ps, failed.Participant)
		}
	}
	return ps
}

// failedJSON is the JSON form of a refused participant. docs/contract/chat.md §3.1 calls the form
// CommunicationError. The field Target is the raw id of the participant.
type failedJSON struct {
	Target  string `json:"target,omitzero"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// MarshalJSON encodes the refusal as the service does. It omits the field Participant.
func (f FailedParticipant) MarshalJSON() ([]byte, error) {
	return json.Marshal(failedJSON{f.Identifier.RawID(), f.Code, f.Message})
}

// UnmarshalJSON decodes a refusal as the service encodes it. In the field Participant it sets only
// the Identifier.
func (f *FailedParticipant) UnmarshalJSON(data []byte) error {
	var w failedJSON
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	id := communication.ParseRawID(w.Target)
	*f = FailedParticipant{Identifier: id, Code: w.Code, Message: w.Message, Participant: Participant{Identifier: id}}
	return nil
}

// join completes each refusal: it sets the field Participant to the participant in given that has
// the same identifier.
func (f FailedParticipants) join(given []Participant) {
	if len(f) == 0 {
		return
	}
	byID := make(map[communication.Identifier]Participant, len(given))
	for _, p := range given {
		byID[p.Identifier] = p
	}
	for i := range f {
		f[i].Participant = byID[f[i].Identifier]
	}
}
