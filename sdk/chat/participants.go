package chat

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"strconv"

	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/internal/pipeline"
)

// ListParticipantsOptions are the optional arguments of ListParticipants.
type ListParticipantsOptions struct {
	// Skip is the number of participants to omit from the start of the list.
	Skip int

	// MaxPageSize is the maximum number of elements in a page. 0 lets the service choose.
	MaxPageSize int

	// Continuation, if it is not empty, is the Continuation of a [Page] of an earlier list. The
	// list then begins after that page. A Continuation includes the options of the earlier list, so
	// the other options here are ignored.
	Continuation string
}

// ListParticipants returns the participants of the thread, in the order in which they joined
// (docs/contract/chat.md §4.2). It fetches pages as they are needed. An error is yielded once, as
// the last element.
func (t *ThreadClient) ListParticipants(ctx context.Context, options *ListParticipantsOptions) iter.Seq2[Participant, error] {
	return all(ctx, func() *Pager[Participant] { return t.NewListParticipantsPager(options) })
}

// NewListParticipantsPager returns a pager over the participants that ListParticipants returns. It
// sends no request; the first call of NextPage reports invalid options.
func (t *ThreadClient) NewListParticipantsPager(options *ListParticipantsOptions) *Pager[Participant] {
	var o ListParticipantsOptions
	if options != nil {
		o = *options
	}
	return threadPager[Participant](t, "list participants", "/participants", listOptions{
		skip: o.Skip, maxPageSize: o.MaxPageSize, continuation: o.Continuation,
	})
}

// AddParticipants adds participants to the thread; the real service accepts at most 200
// (docs/contract/chat.md §4.2). Existing participants are not changed. Without arguments
// AddParticipants does nothing.
//
// A participant that the service refuses does not make AddParticipants fail: the other participants
// are added, and the result lists the refusals. See [FailedParticipants].
//
// Temporary failures are retried: a participant that an earlier attempt added is not changed.
func (t *ThreadClient) AddParticipants(ctx context.Context, participants ...Participant) (FailedParticipants, error) {
	return t.addParticipants(ctx, "add participants", participants)
}

// AddParticipant adds one participant to the thread. Unlike AddParticipants, it fails if the
// service refuses the participant: the error is then a *communication.Error with the status and the
// reason, so that errors.Is(err, communication.ErrForbidden) works.
func (t *ThreadClient) AddParticipant(ctx context.Context, participant Participant) error {
	const operation = "add participants"
	failed, err := t.addParticipants(ctx, operation, []Participant{participant})
	if err != nil || len(failed) == 0 {
		return err
	}
	e := &communication.Error{
		Op: operation, Code: failed[0].Code, Message: failed[0].Message, Target: failed[0].Identifier.RawID(), Err: errRefused,
	}
	// The code of a refusal is an HTTP status as text, such as "403" (docs/contract/chat.md §3.1).
	if status, err := strconv.Atoi(e.Code); err == nil && status >= 400 && status < 600 {
		e.StatusCode, e.Code = status, ""
	}
	return e
}

var errRefused = errors.New("the service did not add the participant")

func (t *ThreadClient) addParticipants(ctx context.Context, operation string, ps []Participant) (FailedParticipants, error) {
	if len(ps) == 0 {
		return nil, nil // do nothing for an empty list, such as the list in AddParticipants(ctx, failed.Participants()...)
	}
	if err := checkParticipants(operation, ps); err != nil {
		return nil, err
	}
	var result addParticipantsResult
	err := t.do(ctx, pipeline.Request{
		Operation: operation, Method: http.MethodPost, Path: "/participants/:add", Status: http.StatusCreated,
		Body: addParticipantsRequest{Participants: ps},
	}, &result)
	if err != nil {
		return nil, err
	}
	result.Failed.join(ps)
	return result.Failed, nil
}

type addParticipantsRequest struct {
	Participants []Participant `json:"participants"`
}

type addParticipantsResult struct {
	Failed FailedParticipants `json:"invalidParticipants,omitempty"`
}

func checkParticipants(operation string, ps []Participant) error {
	for i, p := range ps {
		if p.Identifier.IsZero() {
			return invalid(operation, "participant %d has no identifier", i)
		}
	}
	return nil
}

// RemoveParticipant removes a participant, possibly the user itself, from the thread
// (docs/contract/chat.md §4.2). The removed user still sees the messages up to the removal.
//
// Temporary failures are retried. A Confab server does nothing if the participant has already been
// removed. Unverified: if an attempt removed the participant but its response was lost, the real
// service may answer the retry with communication.ErrNotFound.
func (t *ThreadClient) RemoveParticipant(ctx context.Context, participant communication.Identifier) error {
	const operation = "remove participant"
	if participant.IsZero() {
		return invalid(operation, "identifier is empty")
	}
	return t.do(ctx, pipeline.Request{
		Operation: operation, Method: http.MethodPost, Path: "/participants/:remove", Status: http.StatusNoContent, Body: participant,
	}, nil)
}
