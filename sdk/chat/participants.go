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

// ListParticipantsOptions are the optional parts of a list of participants.
type ListParticipantsOptions struct {
	// Skip leaves out that many participants from the start of the list.
	Skip int

	// MaxPageSize is how many elements a page may have. 0 leaves it to the service.
	MaxPageSize int

	// Continuation is the Continuation of an earlier [Page], where the list goes
	// on. The other options are part of it and are not looked at.
	Continuation string
}

// ListParticipants returns who is in the thread, in the order of joining (docs/contract/chat.md §4.2).
// Pages are fetched as they are needed. An error is yielded once, as the last
// element.
func (t *ThreadClient) ListParticipants(ctx context.Context, options *ListParticipantsOptions) iter.Seq2[Participant, error] {
	return all(ctx, func() *Pager[Participant] { return t.NewListParticipantsPager(options) })
}

// NewListParticipantsPager returns a pager over what ListParticipants lists. It
// sends nothing; options that can never be right are an error of the first
// NextPage.
func (t *ThreadClient) NewListParticipantsPager(options *ListParticipantsOptions) *Pager[Participant] {
	var o ListParticipantsOptions
	if options != nil {
		o = *options
	}
	return threadPager[Participant](t, "list participants", "/participants", listOptions{
		skip: o.Skip, maxPageSize: o.MaxPageSize, continuation: o.Continuation,
	})
}

// AddParticipants puts participants into the thread, at most 200 on the real service
// (docs/contract/chat.md §4.2). Whoever is in it already stays as before. With nobody to add it does
// nothing.
//
// Participants whom the service refuses are no error: the others are in the
// thread, and the result tells who is not and why. See [FailedParticipants].
//
// It is retried after any failure that may pass: whoever an attempt had added
// stays as before in the next one.
func (t *ThreadClient) AddParticipants(ctx context.Context, participants ...Participant) (FailedParticipants, error) {
	return t.addParticipants(ctx, "add participants", participants)
}

// AddParticipant puts one participant into the thread, as AddParticipants does.
// Unlike there it is an error when the service refuses the participant: a
// *communication.Error with the reason, so that
// errors.Is(err, communication.ErrForbidden) works.
func (t *ThreadClient) AddParticipant(ctx context.Context, participant Participant) error {
	const operation = "add participants"
	failed, err := t.addParticipants(ctx, operation, []Participant{participant})
	if err != nil || len(failed) == 0 {
		return err
	}
	e := &communication.Error{
		Op: operation, Code: failed[0].Code, Message: failed[0].Message, Target: failed[0].Identifier.RawID(), Err: errRefused,
	}
	// The code is a status, as a text: "403" (docs/contract/chat.md §3.1).
	if status, err := strconv.Atoi(e.Code); err == nil && status >= 400 && status < 600 {
		e.StatusCode, e.Code = status, ""
	}
	return e
}

var errRefused = errors.New("the service did not add the participant")

func (t *ThreadClient) addParticipants(ctx context.Context, operation string, ps []Participant) (FailedParticipants, error) {
	if len(ps) == 0 {
		return nil, nil // as after an AddParticipants(ctx, failed.Participants()...) of no one
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

// RemoveParticipant takes somebody out of the thread, the user perhaps (docs/contract/chat.md §4.2). Who
// was removed sees the thread's messages up to then, and no later ones.
//
// It is retried after any failure that may pass. A Confab server does nothing when the
// participant is gone already. Unverified: the real service may answer an attempt after
// one that did its work with communication.ErrNotFound.
func (t *ThreadClient) RemoveParticipant(ctx context.Context, participant communication.Identifier) error {
	const operation = "remove participant"
	if participant.IsZero() {
		return invalid(operation, "identifier is empty")
	}
	return t.do(ctx, pipeline.Request{
		Operation: operation, Method: http.MethodPost, Path: "/participants/:remove", Status: http.StatusNoContent, Body: participant,
	}, nil)
}
