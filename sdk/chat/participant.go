package chat

import (
	"encoding/json"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// Participant is somebody in a thread, or somebody to be put there (docs/contract/chat.md §3.1, §4.2).
// Only the identifier is required.
type Participant struct {
	// Identifier says who it is, such as communication.NewUser(id).
	Identifier communication.Identifier `json:"communicationIdentifier"`

	// DisplayName is shown to the others.
	DisplayName string `json:"displayName,omitzero"`

	// ShareHistoryTime is the time from which on the participant sees the
	// thread's messages. Zero leaves it to the service, which shares the whole
	// history: it then answers with the first second of 1970.
	ShareHistoryTime time.Time `json:"shareHistoryTime,omitzero"`

	// Metadata is anything to keep with the participant, all pairs together at
	// most 1 KB. It needs a service of 2025-03-15.
	Metadata map[string]string `json:"metadata,omitzero"`
}

// MarshalJSON writes the participant as the contract has it, ShareHistoryTime in
// whole seconds.
func (p Participant) MarshalJSON() ([]byte, error) {
	type plain Participant // without this method
	p.ShareHistoryTime = seconds(p.ShareHistoryTime)
	return json.Marshal(plain(p))
}

// FailedParticipant is somebody whom the service did not add to a thread, and
// why (docs/contract/chat.md §3.1).
type FailedParticipant struct {
	// Identifier says who was refused.
	Identifier communication.Identifier

	// Code is the service's short reason: "403" for somebody who may not be
	// added, "404" for somebody who does not exist.
	Code string

	// Message is the reason in words.
	Message string

	// Participant is the participant as the call was given it, with display name,
	// history time and metadata. It is zero where the service refused somebody
	// whom the call did not name.
	Participant Participant
}

// FailedParticipants are the participants whom the service did not add, while
// the rest of the request was carried out. It is data, not an error: a thread
// exists, or others were added, although these were not. It is empty when all
// went well.
//
//	failed, err := thread.AddParticipants(ctx, bob, carol)
//	if err != nil {
//		return err
//	}
//	for _, f := range failed {
//		log.Printf("%s is not in the thread: %s %s", f.Identifier, f.Code, f.Message)
//	}
type FailedParticipants []FailedParticipant

// Participants returns the refused ones as they were given, ready to be added
// again once the reason is gone; somebody who does not exist (Code "404") is refused
// every time:
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

// failedJSON is CommunicationError of the contract inside a success (docs/contract/chat.md §3.1).
// Target is the raw id of the participant.
type failedJSON struct {
	Target  string `json:"target,omitzero"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// MarshalJSON writes the refusal as the service does. The participant who was
// given is not part of it.
func (f FailedParticipant) MarshalJSON() ([]byte, error) {
	return json.Marshal(failedJSON{f.Identifier.RawID(), f.Code, f.Message})
}

// UnmarshalJSON reads a refusal as the service writes it. Participant holds no
// more than the identifier then.
func (f *FailedParticipant) UnmarshalJSON(data []byte) error {
	var w failedJSON
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	id := communication.ParseRawID(w.Target)
	*f = FailedParticipant{Identifier: id, Code: w.Code, Message: w.Message, Participant: Participant{Identifier: id}}
	return nil
}

// join gives every refusal the participant that was given to the call.
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
