package wire

import (
	"strconv"

	"github.com/confab-chat/confab/internal/core"
)

// CreateChatThreadRequest is the body of POST /chat/threads.
type CreateChatThreadRequest struct {
	Topic           string               `json:"topic"`
	Participants    []ChatParticipant    `json:"participants,omitzero"`
	Metadata        map[string]string    `json:"metadata,omitzero" since:"2025-03-15"`
	RetentionPolicy *ChatRetentionPolicy `json:"retentionPolicy,omitzero" since:"2025-03-15"`
}

// CreateChatThreadResult is its answer.
type CreateChatThreadResult struct {
	ChatThread          *ChatThreadProperties `json:"chatThread,omitzero"`
	InvalidParticipants []CommunicationError  `json:"invalidParticipants,omitzero"`
}

// ChatThreadProperties is a thread.
type ChatThreadProperties struct {
	ID              string                        `json:"id"`
	Topic           string                        `json:"topic"`
	CreatedOn       Time                          `json:"createdOn"`
	CreatedBy       *CommunicationIdentifierModel `json:"createdByCommunicationIdentifier"`
	DeletedOn       Time                          `json:"deletedOn,omitzero"`
	Metadata        map[string]string             `json:"metadata,omitzero" since:"2025-03-15"`
	RetentionPolicy *ChatRetentionPolicy          `json:"retentionPolicy,omitzero" since:"2025-03-15"`
}

// ChatParticipant is somebody in a thread, or to be put there. Without a
// shareHistoryTime the whole history is shared: the zero Time is 1970
// (chat.md §0.7).
type ChatParticipant struct {
	Identifier       *CommunicationIdentifierModel `json:"communicationIdentifier"`
	DisplayName      string                        `json:"displayName,omitzero"`
	ShareHistoryTime Time                          `json:"shareHistoryTime"`
	Metadata         map[string]string             `json:"metadata,omitzero" since:"2025-03-15"`
}

// ChatRetentionPolicy is the union of the policies of chat.md §3.6; kind says
// which it is.
type ChatRetentionPolicy struct {
	Kind                  string `json:"kind"`
	DeleteThreadAfterDays *int32 `json:"deleteThreadAfterDays,omitzero"`
}

// CommunicationError is a refusal inside an answer. Target is the raw id of the
// participant whom it is about: the Python SDK joins on it (chat.md §3.1).
type CommunicationError struct {
	Code       string               `json:"code"`
	Message    string               `json:"message"`
	Target     string               `json:"target,omitzero"`
	Details    []CommunicationError `json:"details,omitzero"`
	InnerError *CommunicationError  `json:"innererror,omitzero"`
}

// The kinds of a retention policy, and its bounds in days.
const (
	keptForEver  = "none"
	fromCreation = "threadCreationDate"
	leastDays    = 30
	mostDays     = 90
)

// ToCore makes the command of the request.
func (r *CreateChatThreadRequest) ToCore() (core.CreateThread, error) {
	cmd := core.CreateThread{Topic: r.Topic, Metadata: r.Metadata}
	var err error
	if cmd.Participants, err = participants(r.Participants); err != nil {
		return cmd, inMember(err, "participants")
	}
	if cmd.RetentionDays, err = r.RetentionPolicy.toCore(); err != nil {
		return cmd, inMember(err, "retentionPolicy")
	}
	return cmd, nil
}

func participants(ps []ChatParticipant) ([]core.NewParticipant, error) {
	news := make([]core.NewParticipant, len(ps))
	for i, p := range ps {
		user, err := p.Identifier.ToCore()
		if err != nil {
			return nil, inElement(inMember(err, "communicationIdentifier"), i)
		}
		news[i] = core.NewParticipant{
			User: user, DisplayName: p.DisplayName, ShareHistory: int64(p.ShareHistoryTime), Metadata: p.Metadata,
		}
	}
	return news, nil
}

// toCore is the number of days, 0 for none. Unverified: the refusals; no 400
// was recorded (chat.md §3.6).
func (p *ChatRetentionPolicy) toCore() (days int32, err error) {
	switch {
	case p == nil || p.Kind == keptForEver:
		return 0, nil
	case p.Kind != fromCreation:
		return 0, &Error{Path: "kind", Reason: "must be " + keptForEver + " or " + fromCreation}
	case p.DeleteThreadAfterDays == nil:
		return 0, &Error{Path: "deleteThreadAfterDays", Reason: "is required"}
	case *p.DeleteThreadAfterDays < leastDays || *p.DeleteThreadAfterDays > mostDays:
		return 0, &Error{
			Path:   "deleteThreadAfterDays",
			Reason: "must be from " + strconv.Itoa(leastDays) + " to " + strconv.Itoa(mostDays),
		}
	}
	return *p.DeleteThreadAfterDays, nil
}

func retention(days int32) *ChatRetentionPolicy {
	if days == 0 {
		return nil
	}
	return &ChatRetentionPolicy{Kind: fromCreation, DeleteThreadAfterDays: &days}
}

// ThreadFromCore is a thread's properties.
func ThreadFromCore(t core.ThreadProperties) *ChatThreadProperties {
	return &ChatThreadProperties{
		ID: t.ID, Topic: t.Topic, CreatedOn: Time(t.CreatedOn), CreatedBy: IdentifierFromCore(t.CreatedBy),
		DeletedOn: Time(t.DeletedOn), Metadata: t.Metadata, RetentionPolicy: retention(t.RetentionDays),
	}
}

// InvalidFromCore is the participants who could not be added, nil if there are
// none (chat.md §3.1).
func InvalidFromCore(ps []core.InvalidParticipant) []CommunicationError {
	var errs []CommunicationError
	for _, p := range ps {
		errs = append(errs, CommunicationError{Code: p.Code, Message: p.Message, Target: p.User})
	}
	return errs
}
