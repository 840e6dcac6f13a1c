package trouter

import (
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

// TestRestoredAnswers restores an endpoint whose client has answered event 7 but not event 6. The
// client then answers event 6 before event 7 is written again. The test checks that event 7 stays
// answered, and that the endpoint's cursor stays before event 7 while the check of event 7 is not
// known.
func TestRestoredAnswers(t *testing.T) {
	at := func(position uint64) core.Cursor { return core.Cursor{Epoch: "e", Position: position, Check: 9} }
	e := &endpoint{}
	e.restore(core.Endpoint{At: at(5), Answered: []uint64{7}}, true)
	s := &socket{e: e}
	e.current = s
	six := &flight{at: at(6), lasting: true, socket: s}
	e.flights = append([]*flight{six}, e.flights...)
	e.reached = at(6)
	e.answer(six)
	if e.low != at(6) || len(e.flights) != 1 || !e.flights[0].answered || e.flights[0].at.Position != 7 {
		t.Fatalf("after the answer to 6: low is %+v, with %d events behind", e.low, len(e.flights))
	}
	e.reached, e.flights[0].at = at(7), at(7) // as Append does
	e.settle()
	if e.low != at(7) || len(e.flights) != 0 {
		t.Errorf("after 7 has come again: low is %+v, with %d events behind", e.low, len(e.flights))
	}
}

// TestFullOfRestored restores an endpoint with one unanswered event, followed by as many answered
// events as an endpoint may remember. It checks that the next socket does not count as full before
// it has got the unanswered event, because it would then wait forever.
func TestFullOfRestored(t *testing.T) {
	e := &endpoint{}
	r := core.Endpoint{At: core.Cursor{Epoch: "e", Position: 5, Check: 9}}
	for p := range uint64(maxSpan) {
		r.Answered = append(r.Answered, 7+p)
	}
	e.restore(r, true)
	s := &socket{e: e}
	e.current = s
	if s.Full() {
		t.Error("the socket is full before event 6")
	}
	e.reached.Position = r.Answered[maxSpan-1]
	if !s.Full() {
		t.Error("the socket is not full at the bound")
	}
}
