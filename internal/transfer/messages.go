package transfer

import (
	"errors"
	"fmt"

	"github.com/confab-chat/confab/internal/core"
)

type messageLine struct {
	Kind         string            `json:"kind"`
	Thread       string            `json:"thread"`
	Sequence     uint64            `json:"sequence"`
	ID           int64             `json:"id"`
	Version      int64             `json:"version"`
	Type         string            `json:"type"`
	Priority     string            `json:"priority,omitempty"`
	CreatedOn    int64             `json:"createdOn"`
	EditedOn     int64             `json:"editedOn,omitempty"`
	DeletedOn    int64             `json:"deletedOn,omitempty"`
	Sender       string            `json:"sender,omitempty"`
	SenderName   string            `json:"senderDisplayName,omitempty"`
	Content      string            `json:"content,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Initiator    string            `json:"initiator,omitempty"`
	Participants []participantLine `json:"participants,omitempty"`
	Fingerprint  []byte            `json:"fingerprint,omitempty"` // base64 of 16 bytes
}

// high is the only value of the member priority. A message of priority Normal has no member
// priority.
const high = "High"

// supersededLine is the JSON form of an earlier version of a message, which an edit or a deletion
// has replaced.
type supersededLine struct {
	messageLine
	Until uint64 `json:"until"`
}

type participantLine struct {
	User         string `json:"user"`
	DisplayName  string `json:"displayName,omitempty"`
	ShareHistory int64  `json:"shareHistory,omitempty"`
}

func encodeMessage(r core.ThreadMessage, t *checker) messageLine {
	line := messageLine{
		Kind: "message", Thread: t.text(r.Thread), Sequence: r.Sequence, ID: r.ID, Version: r.Version, Type: word(t, r.Kind, core.ParseMessageKind),
		CreatedOn: r.CreatedOn, EditedOn: r.EditedOn, DeletedOn: r.DeletedOn, Sender: t.text(r.Sender), SenderName: t.text(r.SenderDisplayName),
		Content: t.text(r.Content), Metadata: t.dict(r.Metadata), Initiator: t.text(r.Initiator),
	}
	if r.High {
		line.Priority = high
	}
	if !r.Fingerprint.IsZero() {
		line.Fingerprint = r.Fingerprint[:]
	}
	for _, p := range r.Participants {
		line.Participants = append(line.Participants, participantLine{t.text(p.User), t.text(p.DisplayName), p.ShareHistory})
	}
	return line
}

func decodeMessage(l *messageLine) (core.Record, error) {
	kind, ok := core.ParseMessageKind(l.Type)
	m := core.Message{
		ID: l.ID, Sequence: l.Sequence, Version: l.Version, Kind: kind, High: l.Priority == high, CreatedOn: l.CreatedOn, EditedOn: l.EditedOn, DeletedOn: l.DeletedOn,
		Sender: l.Sender, SenderDisplayName: l.SenderName, Content: l.Content, Metadata: dict(l.Metadata), Initiator: l.Initiator,
	}
	for _, p := range l.Participants {
		m.Participants = append(m.Participants, core.MessageParticipant(p))
	}
	var misfit error
	if n := len(l.Fingerprint); n == len(m.Fingerprint) {
		m.Fingerprint = core.Fingerprint(l.Fingerprint)
	} else if n != 0 {
		misfit = fmt.Errorf("fingerprint has %d bytes instead of %d", n, len(m.Fingerprint))
	}
	return core.ThreadMessage{Thread: l.Thread, Message: m},
		errors.Join(knownWord(ok, "type", l.Type), knownWord(l.Priority == "" || m.High, "priority", l.Priority), atLeast(1, "id", l.ID), atLeast(1, "sequence", signed(l.Sequence)), misfit)
}
