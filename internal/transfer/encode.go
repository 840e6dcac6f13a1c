package transfer

import (
	"fmt"
	"unicode/utf8"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// encode returns a struct whose JSON form is the line of a record. It fails for an unknown kind
// of record. It also fails for text that is not UTF-8, because encoding/json would replace parts
// of it.
func encode(r core.Record) (any, error) {
	var t checker
	switch r := r.(type) {
	case core.Resource:
		line := resourceLine{Kind: "resource", ID: t.text(r.ID)}
		if r.Cloud != communication.CloudPublic {
			line.Cloud = r.Cloud.String()
		}
		if len(r.Keys[0].Secret)+len(r.Keys[1].Secret) > 0 {
			for _, k := range r.Keys {
				line.Keys = append(line.Keys, keyLine(k))
			}
		}
		return line, t.err("the resource")
	case core.User:
		return userLine{"user", t.text(r.ID), word(&t, r.State, core.ParseUserState), r.DeletedAt, r.Generation, t.text(r.CustomID), r.TokenIssuedAt}, t.err("user " + r.ID)
	case core.Head:
		return threadLine{
			Kind: "thread", ID: t.text(r.ID), Revision: r.Revision, Topic: t.text(r.Topic), CreatedBy: t.text(r.CreatedBy),
			CreatedOn: r.CreatedOn, DeletedOn: r.DeletedOn, Metadata: t.dict(r.Metadata), RetentionDays: r.RetentionDays,
			LastID: r.LastID, LastSequence: r.LastSequence, LastEvent: r.LastEvent, LastPosition: r.LastPosition, LastMessageOn: r.LastMessageOn,
		}, t.err("thread " + r.ID)
	case core.ThreadMember:
		return encodeMember(r, &t), t.err("member " + r.User + " of thread " + r.Thread)
	case core.ThreadMessage:
		return encodeMessage(r, &t), t.err(fmt.Sprintf("message %d of thread %s", r.ID, r.Thread))
	case core.ThreadSuperseded:
		line := supersededLine{messageLine: encodeMessage(core.ThreadMessage{Thread: r.Thread, Message: r.Message}, &t), Until: r.Until}
		line.Kind = "superseded"
		return line, t.err(fmt.Sprintf("a superseded version of message %d of thread %s", r.ID, r.Thread))
	case core.ThreadAnswer:
		line := answerLine{
			Kind: "answer", Thread: t.text(r.Thread), Topic: t.text(r.Topic), CreatedBy: t.text(r.CreatedBy), CreatedOn: r.CreatedOn,
			Metadata: t.dict(r.Metadata), RetentionDays: r.RetentionDays,
		}
		for _, p := range r.Invalid {
			line.Invalid = append(line.Invalid, invalidLine{t.text(p.User), t.text(p.Code), t.text(p.Message)})
		}
		return line, t.err("the first answer of thread " + r.Thread)
	case core.SentToken:
		return tokenLine{"token", t.text(r.Thread), t.text(r.Caller), t.text(r.Token), r.MessageID}, t.err("a send token of thread " + r.Thread)
	case core.ThreadReceipt:
		return receiptLine{"receipt", t.text(r.Thread), t.text(r.User), r.MessageID, r.ReadOn}, t.err("a receipt of thread " + r.Thread)
	case core.Event:
		return eventLine{
			"event", r.Position, r.Day, t.text(r.Thread), r.Number, word(&t, r.Kind, core.ParseEventKind), r.MessageID, r.Version, t.text(r.Actor), r.At,
		}, t.err(fmt.Sprintf("event %d of thread %s", r.Number, r.Thread))
	case core.Audit:
		return encodeAudit(r, &t), t.err("audit row " + r.AuditKey.String())
	}
	return nil, fmt.Errorf("records of type %T have no line", r)
}

func encodeAudit(a core.Audit, t *checker) auditLine {
	return auditLine{
		Kind: "audit", At: a.At, Number: a.Number, Refused: a.Refused, Who: t.text(a.Who), SignedIn: t.text(a.Kind), Role: t.text(a.Role),
		From: t.text(a.From), Operation: t.text(a.Operation), Target: t.text(a.Target), Outcome: t.text(a.Outcome), Status: a.Status,
		Request: t.text(a.RequestID), Attempts: a.Attempts,
	}
}

func encodeMember(r core.ThreadMember, t *checker) memberLine {
	line := memberLine{
		Kind: "member", Thread: t.text(r.Thread), User: t.text(r.User), DisplayName: t.text(r.DisplayName),
		ShareHistory: r.ShareHistory, JoinedOn: r.JoinedOn, Order: r.Order, Metadata: t.dict(r.Metadata),
	}
	for _, id := range r.RoleIDs {
		line.RoleIDs = append(line.RoleIDs, t.text(id))
	}
	for _, i := range r.Intervals {
		line.Intervals = append(line.Intervals, [2]uint64{i.From, i.To})
	}
	if r.Left != nil {
		line.Left = &leftLine{r.Left.On, r.Left.Sequence, t.text(r.Left.Topic), t.dict(r.Left.Metadata), r.Left.RetentionDays}
	}
	return line
}

// checker collects the problems found while a record is encoded: bad is true if a text is not
// UTF-8, and unknown is true if a kind or a state has no known name.
type checker struct{ bad, unknown bool }

// text returns s unchanged. If s is not UTF-8, checker.err will return an error.
func (t *checker) text(s string) string {
	t.bad = t.bad || !utf8.ValidString(s)
	return s
}

// word returns the name of a kind or state. If parse does not accept the name, checker.err will
// return an error.
func word[K fmt.Stringer](t *checker, k K, parse func(string) (K, bool)) string {
	_, known := parse(k.String())
	t.unknown = t.unknown || !known
	return k.String()
}

// dict returns m unchanged. If a key or value is not UTF-8, checker.err will return an error.
func (t *checker) dict(m map[string]string) map[string]string {
	for k, v := range m {
		t.text(k)
		t.text(v)
	}
	return m
}

// err returns an error that names the record if text, dict or word has found a problem, and nil
// otherwise.
func (t *checker) err(record string) error {
	switch {
	case t.bad:
		return fmt.Errorf("%q holds text that is not UTF-8, which an export cannot hold", record)
	case t.unknown:
		return fmt.Errorf("%q is of a kind that this version does not know", record)
	}
	return nil
}
