package transfer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// decode decodes a line of an export into a record of the given kind. It fails for an unknown
// kind or member and for values out of range.
func decode(kind string, line []byte) (core.Record, error) {
	switch kind {
	case "resource":
		return read(line, func(l *resourceLine) (core.Record, error) {
			r := core.Resource{ID: l.ID}
			if l.Cloud != "" {
				cloud, err := communication.ParseCloud(l.Cloud)
				if err != nil {
					return nil, err
				}
				r.Cloud = cloud
			}
			if n := len(l.Keys); n != 0 && n != len(r.Keys) {
				return nil, fmt.Errorf("there are %d keys instead of %d", n, len(r.Keys))
			}
			for i, k := range l.Keys {
				r.Keys[i] = core.AccessKeyRow(k)
			}
			return r, nil
		})
	case "user":
		return read(line, func(l *userLine) (core.Record, error) {
			state, ok := core.ParseUserState(l.State)
			u := core.User{ID: l.ID, State: state, DeletedAt: l.DeletedAt, Generation: l.Generation, CustomID: l.CustomID, TokenIssuedAt: l.IssuedAt}
			return u, errors.Join(knownWord(ok, "state", l.State), atLeast(0, "tokenIssuedAt", l.IssuedAt), onlyLive(u))
		})
	case "thread":
		return read(line, decodeThread)
	case "member":
		return read(line, decodeMember)
	case "message":
		return read(line, decodeMessage)
	case "superseded":
		return read(line, func(l *supersededLine) (core.Record, error) {
			r, err := decodeMessage(&l.messageLine)
			m, _ := r.(core.ThreadMessage)
			if len(l.Fingerprint) > 0 {
				err = errors.Join(err, errors.New("a superseded version has no fingerprint"))
			}
			return core.ThreadSuperseded{Thread: m.Thread, Superseded: core.Superseded{Message: m.Message, Until: l.Until}},
				errors.Join(err, atLeast(signed(l.Sequence)+1, "until", signed(l.Until)))
		})
	case "answer":
		return read(line, func(l *answerLine) (core.Record, error) {
			a := core.CreateAnswer{Topic: l.Topic, CreatedBy: l.CreatedBy, CreatedOn: l.CreatedOn, Metadata: dict(l.Metadata), RetentionDays: l.RetentionDays}
			for _, p := range l.Invalid {
				a.Invalid = append(a.Invalid, core.InvalidParticipant(p))
			}
			return core.ThreadAnswer{Thread: l.Thread, CreateAnswer: a}, atLeast(0, "retentionDays", int64(l.RetentionDays))
		})
	case "token":
		return read(line, func(l *tokenLine) (core.Record, error) {
			return core.SentToken{SendKey: core.SendKey{Thread: l.Thread, Caller: l.Caller, Token: l.Token}, MessageID: l.Message}, atLeast(1, "message", l.Message)
		})
	case "receipt":
		return read(line, func(l *receiptLine) (core.Record, error) {
			return core.ThreadReceipt{Thread: l.Thread, Receipt: core.Receipt{User: l.User, MessageID: l.Message, ReadOn: l.ReadOn}}, atLeast(1, "message", l.Message)
		})
	case "event":
		return read(line, decodeEvent)
	case "audit":
		return read(line, decodeAudit)
	}
	return nil, fmt.Errorf("lines of kind %q are not known", kind)
}

// read decodes the JSON object in line into a T, and returns the record that the function record
// makes of it. It fails for unknown members.
func read[T any](line []byte, record func(*T) (core.Record, error)) (core.Record, error) {
	var l T
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return nil, fmt.Errorf("the line cannot be read: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("the line has more than one value")
	}
	return record(&l)
}

func decodeThread(l *threadLine) (core.Record, error) {
	h := core.Head{ID: l.ID, Revision: l.Revision}
	h.Properties = core.Properties{
		Topic: l.Topic, CreatedBy: l.CreatedBy, CreatedOn: l.CreatedOn, DeletedOn: l.DeletedOn,
		Metadata: dict(l.Metadata), RetentionDays: l.RetentionDays,
	}
	h.Counters = core.Counters{
		LastID: l.LastID, LastSequence: l.LastSequence, LastEvent: l.LastEvent, LastPosition: l.LastPosition, LastMessageOn: l.LastMessageOn,
	}
	return h, errors.Join(
		atLeast(1, "revision", signed(l.Revision)), atLeast(0, "retentionDays", int64(l.RetentionDays)),
		atLeast(0, "lastSequence", signed(l.LastSequence)), atLeast(0, "lastMessageOn", l.LastMessageOn))
}

func decodeMember(l *memberLine) (core.Record, error) {
	m := core.Member{
		User: l.User, DisplayName: l.DisplayName, ShareHistory: l.ShareHistory, JoinedOn: l.JoinedOn, Order: l.Order, Metadata: dict(l.Metadata),
		RoleIDs: l.RoleIDs,
	}
	for _, i := range l.Intervals {
		m.Intervals = append(m.Intervals, core.Interval{From: i[0], To: i[1]})
	}
	if l.Left != nil {
		m.Left = &core.Left{
			On: l.Left.On, Sequence: l.Left.Sequence, Topic: l.Left.Topic, Metadata: dict(l.Left.Metadata), RetentionDays: l.Left.RetentionDays,
		}
		if err := errors.Join(atLeast(0, "left.on", l.Left.On), atLeast(0, "left.retentionDays", int64(l.Left.RetentionDays))); err != nil {
			return nil, err
		}
	}
	return core.ThreadMember{Thread: l.Thread, Member: m}, nil
}

func decodeEvent(l *eventLine) (core.Record, error) {
	kind, ok := core.ParseEventKind(l.Event)
	e := core.Event{
		Thread: l.Thread, Day: l.Day, Number: l.Number, Position: l.Position, Kind: kind, MessageID: l.Message, Version: l.Version, Actor: l.Actor, At: l.At,
	}
	owner := cmp.Or(l.Thread, l.Actor) // an event without a thread belongs to its actor
	var misplaced error
	if kind.OfUser() != (l.Thread == "") {
		misplaced = fmt.Errorf("thread %q does not go with event %q", l.Thread, l.Event)
	}
	return e, errors.Join(misplaced, sortKey{ids: []string{owner}}.check(), knownWord(ok, "event", l.Event), atLeast(1, "number", signed(l.Number)))
}

func decodeAudit(l *auditLine) (core.Record, error) {
	a := core.Audit{
		AuditKey: core.AuditKey{At: l.At, Number: l.Number}, Refused: l.Refused, Who: l.Who, Kind: l.SignedIn, Role: l.Role,
		From: l.From, Operation: l.Operation, Target: l.Target, Outcome: l.Outcome, Status: l.Status, RequestID: l.Request, Attempts: l.Attempts,
	}
	return a, errors.Join(atLeast(1, "at", l.At), atLeast(0, "number", signed(l.Number)), atLeast(0, "status", int64(l.Status)), atLeast(0, "attempts", signed(l.Attempts)))
}

// onlyLive fails if a user has a custom id although its state is not live.
func onlyLive(u core.User) error {
	if u.CustomID != "" && u.State != core.UserLive {
		return errors.New("a deleted user has a customId")
	}
	return nil
}

// knownWord returns nil if ok is true. Otherwise it returns an error that says that the word is
// not a valid value of the field.
func knownWord(ok bool, field, word string) error {
	if !ok {
		return fmt.Errorf("%s %q is not known", field, word)
	}
	return nil
}

// atLeast fails if n, the value of the field, is less than least.
func atLeast(least int64, field string, n int64) error {
	if n < least {
		return fmt.Errorf("%s is out of range", field)
	}
	return nil
}

// signed converts n to an int64. If n is too large for an int64, it returns -1.
func signed(n uint64) int64 {
	if n > math.MaxInt64 {
		return -1
	}
	return int64(n)
}

// dict returns m, or nil if m is empty, because records have nil for an empty map.
func dict(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}
