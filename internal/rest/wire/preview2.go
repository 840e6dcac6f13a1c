package wire

import (
	"bytes"
	"encoding/xml"
	"math"
	"strconv"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// This file has the request and response bodies that only api-version 2020-09-21-preview2 has
// (docs/contract/chat.md §8). That version calls participants members, identifies users by
// strings, has the content of a message as a string, and has a status for each member in its
// responses.

// Member is a member of a thread or of a request to add members. The member may read messages
// since ShareHistoryTime. If ShareHistoryTime is absent, the member may read the whole history in
// a CreateThreadWithMembersRequest, and only later messages in an AddMembersRequest.
type Member struct {
	ID               string `json:"id" required:"true"`
	DisplayName      string `json:"displayName,omitzero"`
	ShareHistoryTime *Time  `json:"shareHistoryTime,omitzero"`
}

// MembersCollection is the list of all members of a thread. There are no pages, so NextLink is
// always empty.
type MembersCollection struct {
	Value    []Member `json:"value"`
	NextLink string   `json:"nextLink,omitzero"`
}

// CreateThreadWithMembersRequest is the body of POST /chat/threads.
type CreateThreadWithMembersRequest struct {
	Topic   string   `json:"topic"`
	Members []Member `json:"members" required:"true"`
}

// AddMembersRequest is the body of POST .../members.
type AddMembersRequest struct {
	Members []Member `json:"members" required:"true"`
}

// MultiStatus is the response to a CreateThreadWithMembersRequest or an AddMembersRequest.
type MultiStatus struct {
	MultipleStatus []IndividualStatus `json:"multipleStatus"`
}

// IndividualStatus is the outcome for one member or for the new thread. Message is empty if the
// member was added or the thread was created.
type IndividualStatus struct {
	ID         string `json:"id"`
	StatusCode int32  `json:"statusCode"`
	Message    string `json:"message,omitzero"`
	Type       string `json:"type"`
}

// The values of IndividualStatus.Type, and the value of IndividualStatus.StatusCode for success.
const (
	memberStatus  = "ThreadMember"
	threadStatus  = "Thread"
	statusCreated = 201
)

// ThreadWithMembers holds the properties and the members of a thread.
type ThreadWithMembers struct {
	ID        string   `json:"id"`
	Topic     string   `json:"topic"`
	CreatedOn Time     `json:"createdOn"`
	CreatedBy string   `json:"createdBy"`
	Members   []Member `json:"members"`
}

// ThreadInfosCollection is a page of the caller's threads. NextLink is empty on the last page.
type ThreadInfosCollection struct {
	Value    []ThreadInfo `json:"value"`
	NextLink string       `json:"nextLink,omitzero"`
}

// ThreadInfo is a thread in the caller's list. LastMessage and Unread are extensions of Confab
// (docs/contract/chat.md §3.8).
type ThreadInfo struct {
	ID                    string `json:"id"`
	Topic                 string `json:"topic"`
	IsDeleted             bool   `json:"isDeleted"`
	LastMessageReceivedOn Time   `json:"lastMessageReceivedOn,omitzero"`

	LastMessage *PlainMessage `json:"lastMessage,omitzero"`
	Unread      *int32        `json:"unread,omitzero"`
}

// SendPlainMessageRequest is the body of POST .../messages at 2020-09-21-preview2. The message is
// always plain text.
type SendPlainMessageRequest struct {
	Priority          string `json:"priority,omitzero"`
	Content           string `json:"content"`
	SenderDisplayName string `json:"senderDisplayName,omitzero"`
}

// UpdatePlainMessageRequest is the body of PATCH .../messages/{id}. Unlike a merge patch, it
// treats a null field as an absent one.
type UpdatePlainMessageRequest struct {
	Content  *string `json:"content,omitzero"`
	Priority string  `json:"priority,omitzero"`
}

// The values of the field priority.
const (
	priorityNormal = "Normal"
	priorityHigh   = "High"
)

// PlainMessagesCollection is a page of messages. NextLink is empty on the last page.
type PlainMessagesCollection struct {
	Value    []PlainMessage `json:"value"`
	NextLink string         `json:"nextLink,omitzero"`
}

// PlainMessage is a message. The content of a system message is XML. Its fields are in the
// recorded order.
type PlainMessage struct {
	ID                string  `json:"id"`
	Type              string  `json:"type"`
	Priority          string  `json:"priority"`
	Version           string  `json:"version"`
	Content           string  `json:"content"`
	SenderDisplayName *string `json:"senderDisplayName,omitzero"`
	CreatedOn         Time    `json:"createdOn"`
	SenderID          string  `json:"senderId"`
	DeletedOn         Time    `json:"deletedOn,omitzero"`
	EditedOn          Time    `json:"editedOn,omitzero"`
}

// ToCore converts the request to a command of package core. It fails with a BadRequest if the
// members do not include the caller, because at this api-version the caller is not added
// automatically. A member without a ShareHistoryTime may read the whole history.
func (r *CreateThreadWithMembersRequest) ToCore(caller string) (core.CreateThread, error) {
	cmd := core.CreateThread{Topic: r.Topic, Participants: newMembers(r.Members, 0)}
	for _, m := range r.Members {
		if m.ID == caller {
			return cmd, nil
		}
	}
	return cmd, core.Invalid("members", "Initiator is not a participant of the thread")
}

// ToCore converts the request to the participants to add. It fails if the request has none. A
// member without a ShareHistoryTime may read messages from now on.
func (r *AddMembersRequest) ToCore() ([]core.NewParticipant, error) {
	if len(r.Members) == 0 {
		return nil, inMember(errorf("is required"), "members")
	}
	const now = math.MaxInt64 // a share-history time far in the future, which package core replaces by the current time
	return newMembers(r.Members, now), nil
}

// newMembers converts members to the participants to add. A member without a ShareHistoryTime may
// read messages since the given time, in epoch milliseconds.
func newMembers(ms []Member, since int64) []core.NewParticipant {
	news := make([]core.NewParticipant, len(ms))
	for i, m := range ms {
		news[i] = core.NewParticipant{User: communication.ParseRawID(m.ID), DisplayName: m.DisplayName, ShareHistory: since}
		if m.ShareHistoryTime != nil {
			news[i].ShareHistory = int64(*m.ShareHistoryTime)
		}
	}
	return news
}

// Created returns the response to the request: a status for each member, in the order of the
// request, and a status for the new thread. The members in invalid were refused.
func (r *CreateThreadWithMembersRequest) Created(thread string, invalid []core.InvalidParticipant) *MultiStatus {
	all := statuses(r.Members, invalid)
	all = append(all, IndividualStatus{ID: thread, StatusCode: statusCreated, Type: threadStatus})
	return &MultiStatus{MultipleStatus: all}
}

// Added returns the response to the request: a status for each member, in the order of the
// request. The members in invalid were refused. Unverified: that a user who already is in the
// thread gets the same status as an added one.
func (r *AddMembersRequest) Added(invalid []core.InvalidParticipant) *MultiStatus {
	return &MultiStatus{MultipleStatus: statuses(r.Members, invalid)}
}

// statuses returns the status of each member.
func statuses(ms []Member, invalid []core.InvalidParticipant) []IndividualStatus {
	refused := make(map[string]core.InvalidParticipant, len(invalid))
	for _, p := range invalid {
		refused[p.User] = p
	}
	all := make([]IndividualStatus, len(ms), len(ms)+1)
	for i, m := range ms {
		all[i] = IndividualStatus{ID: m.ID, StatusCode: statusCreated, Type: memberStatus}
		if p, ok := refused[m.ID]; ok {
			code, _ := strconv.Atoi(p.Code) // ignore the error, because package core writes only numbers into Code
			all[i].StatusCode, all[i].Message = int32(code), p.Message
		}
	}
	return all
}

// MembersFromCore converts the members of a thread to their JSON form.
func MembersFromCore(ms []*core.Member) []Member {
	page, times := make([]Member, len(ms)), make([]Time, len(ms))
	for i, m := range ms {
		times[i] = Time(m.ShareHistory)
		page[i] = Member{ID: m.User, DisplayName: m.DisplayName, ShareHistoryTime: &times[i]}
	}
	return page
}

// ThreadWithMembersFromCore converts the properties and the members of a thread to their JSON
// form.
func ThreadWithMembersFromCore(t core.ThreadProperties, ms []*core.Member) *ThreadWithMembers {
	return &ThreadWithMembers{ID: t.ID, Topic: t.Topic, CreatedOn: Time(t.CreatedOn), CreatedBy: t.CreatedBy, Members: MembersFromCore(ms)}
}

// ThreadInfosFromCore converts entries of a user's thread list to their JSON form.
func ThreadInfosFromCore(ts []core.ThreadEntry) []ThreadInfo {
	page := make([]ThreadInfo, len(ts))
	for i, t := range ts {
		page[i] = ThreadInfo{ID: t.Thread, Topic: t.Topic, IsDeleted: t.DeletedOn != 0, LastMessageReceivedOn: Time(t.LastMessageOn), Unread: count(t.Unread)}
		if t.LastMessage != nil {
			page[i].LastMessage = PlainMessageFromCore(t.Thread, t.LastMessage)
		}
	}
	return page
}

// ToCore converts the request to a command of package core. It fails for an unknown priority.
func (r *SendPlainMessageRequest) ToCore() (core.SendMessage, error) {
	high, err := isHigh(r.Priority)
	return core.SendMessage{Content: r.Content, Kind: core.Text, High: high, SenderDisplayName: r.SenderDisplayName}, err
}

// ToCore converts the request to a command of package core. It fails for an unknown priority.
func (r *UpdatePlainMessageRequest) ToCore() (core.UpdateMessage, error) {
	high, err := isHigh(r.Priority)
	cmd := core.UpdateMessage{Content: r.Content}
	if r.Priority != "" {
		cmd.High = &high
	}
	return cmd, err
}

// isHigh reports whether a message's priority is High. It takes an empty priority as Normal, and
// fails for an unknown priority.
func isHigh(priority string) (bool, error) {
	switch priority {
	case priorityHigh:
		return true, nil
	case "", priorityNormal:
		return false, nil
	}
	return false, inMember(errorf("must be %s or %s", priorityNormal, priorityHigh), "priority")
}

// PlainMessagesFromCore converts messages of a thread to their JSON form. The results share memory
// with ms.
func PlainMessagesFromCore(thread string, ms []core.Message) []PlainMessage {
	page := make([]PlainMessage, len(ms))
	for i := range ms {
		page[i] = *PlainMessageFromCore(thread, &ms[i])
	}
	return page
}

// PlainMessageFromCore converts a message of a thread to its JSON form. The result shares memory
// with *m. The sender of a system message is the thread.
func PlainMessageFromCore(thread string, m *core.Message) *PlainMessage {
	w := &PlainMessage{
		ID: MessageID(m.ID), Type: plainTypes[m.Kind], Priority: priorityNormal, Version: strconv.FormatInt(m.Version, 10),
		Content: m.Content, CreatedOn: Time(m.CreatedOn), SenderID: thread, DeletedOn: Time(m.DeletedOn), EditedOn: Time(m.EditedOn),
	}
	if m.High {
		w.Priority = priorityHigh
	}
	switch m.Kind {
	case core.Text, core.HTML:
		w.SenderDisplayName, w.SenderID = &m.SenderDisplayName, m.Sender
	default:
		w.Content = activity(m)
	}
	return w
}

// plainTypes maps each kind of message to its type at 2020-09-21-preview2. Unverified: the types
// of HTML messages, which only later versions can send, and of the system message about a removed
// participant, which the OpenAPI file names.
var plainTypes = map[core.MessageKind]string{
	core.Text:               "Text",
	core.HTML:               "RichText/Html",
	core.TopicUpdated:       "ThreadActivity/TopicUpdate",
	core.ParticipantAdded:   "ThreadActivity/AddMember",
	core.ParticipantRemoved: "ThreadActivity/DeleteMember",
}

// activity returns the content of a system message, an XML text. Unverified: the content for a
// removed participant, and the meaning of rosterVersion, which was recorded to be some
// milliseconds before the event.
func activity(m *core.Message) string {
	var b bytes.Buffer
	element := func(name, text string) {
		b.WriteString("<" + name + ">")
		xml.EscapeText(&b, []byte(text)) // ignore the error, because writing to a bytes.Buffer does not fail
		b.WriteString("</" + name + ">")
	}
	begin := func(name string) {
		b.WriteString("<" + name + ">")
		element("eventtime", MessageID(m.ID))
		element("initiator", m.Initiator)
	}
	switch m.Kind {
	case core.TopicUpdated:
		begin("topicupdate")
		element("value", m.Content)
		b.WriteString("</topicupdate>")
	case core.ParticipantAdded:
		begin("addmember")
		element("rosterVersion", strconv.FormatInt(m.CreatedOn, 10))
		for _, p := range m.Participants {
			element("target", p.User)
			b.WriteString("<detailedtargetinfo>")
			element("id", p.User)
			b.WriteString("</detailedtargetinfo>")
		}
		b.WriteString("</addmember>")
	case core.ParticipantRemoved:
		begin("deletemember")
		element("rosterVersion", strconv.FormatInt(m.CreatedOn, 10))
		for _, p := range m.Participants {
			element("target", p.User)
		}
		b.WriteString("</deletemember>")
	}
	return b.String()
}
