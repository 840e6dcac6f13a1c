package local_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
)

// happenings returns happenings with the given event numbers.
func happenings(numbers ...uint64) (hs []*core.Happening) {
	for _, n := range numbers {
		hs = append(hs, &core.Happening{Event: core.Event{Number: n}})
	}
	return hs
}

func TestSubscribersGetEventsInOrder(t *testing.T) {
	var b local.Bus
	first, second := b.Subscribe(4), b.Subscribe(4)
	defer second.Close()
	want := [][]*core.Happening{happenings(1, 2), happenings(3)}
	for _, events := range want {
		b.Publish(events)
	}
	if !b.Listening() {
		t.Error("nobody listens, with two subscriptions")
	}
	first.Close()
	var got [][]*core.Happening
	for events := range first.Happenings() {
		got = append(got, events)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events of a closed subscription (-want +got):\n%s", diff)
	}
	if first.Missed() || second.Missed() {
		t.Error("Missed is true though nothing was dropped")
	}
	b.Publish(happenings(4)) // these happenings must not be sent to the closed subscription
	if n := len(second.Happenings()); n != 3 {
		t.Errorf("the open subscription holds %d batches, want 3", n)
	}
}

func TestFullSubscriberIsToldAndHoldsUpNobody(t *testing.T) {
	var b local.Bus
	slow, fast := b.Subscribe(1), b.Subscribe(2)
	defer slow.Close()
	defer fast.Close()
	b.Publish(happenings(1))
	b.Publish(happenings(2))
	if len(fast.Happenings()) != 2 || fast.Missed() {
		t.Error("a full subscriber cost another one its events")
	}
	if !slow.Missed() {
		t.Error("Missed is false though a batch was dropped")
	}
	if slow.Missed() {
		t.Error("Missed is true twice for one loss")
	}
}
