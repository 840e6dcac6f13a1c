package core

import "testing"

// TestHears checks which events are in the event streams of members who joined, left or came
// back at different times.
func TestHears(t *testing.T) {
	const joinedOn = 1000 // milliseconds
	// late joined the thread with event 10, and may not read older messages.
	late := Member{ShareHistory: joinedOn, JoinedOn: joinedOn, Intervals: []Interval{{From: 10}}}
	// shared joined the thread with event 10, and may read the whole history.
	shared := Member{JoinedOn: joinedOn, Intervals: []Interval{{From: 10}}}
	// left joined with the whole history, and left the thread with event 20, when the last message
	// had sequence 50.
	left := Member{JoinedOn: joinedOn, Intervals: []Interval{{From: 10, To: 20}}, Left: &Left{Sequence: 50}}
	// closed is like left, but may not read messages from before joining. erased is like closed,
	// but the member's data was erased.
	closed := Member{ShareHistory: joinedOn, JoinedOn: joinedOn, Intervals: []Interval{{From: 10, To: 20}}, Left: &Left{Sequence: 50}}
	erased := Member{JoinedOn: joinedOn, Intervals: []Interval{{From: 10, To: 20}}, Left: &Left{}}
	// back is like closed, but joined again with event 30, and may not read messages from before
	// event 30.
	back := Member{ShareHistory: 3000, JoinedOn: 3000, Intervals: []Interval{{From: 10, To: 20}, {From: 30}}}
	never := Member{}

	event := func(kind EventKind, number uint64) Happening {
		return Happening{Event: Event{Kind: kind, Number: number}}
	}
	about := func(kind EventKind, number uint64, m Message) Happening {
		h := event(kind, number)
		h.MessageID, h.Message = m.ID, &m
		return h
	}
	receipt := func(number uint64, message int64) Happening {
		h := event(ReceiptReceived, number)
		h.MessageID = message
		return h
	}
	message := func(createdOn int64, sequence uint64) Message {
		return Message{ID: createdOn, CreatedOn: createdOn, Sequence: sequence}
	}
	deleted := func(createdOn int64, sequence uint64) Message {
		m := message(createdOn, sequence)
		m.DeletedOn = createdOn + 500
		return m
	}

	for _, tc := range []struct {
		what  string
		who   Member
		event Happening
		want  bool
	}{
		{"before joining", late, event(ThreadUpdated, 9), false},
		{"its own joining", late, event(ParticipantsAdded, 10), true},
		{"long after joining", late, event(ThreadUpdated, 1000), true},
		{"the deletion of the thread", late, event(ThreadDeleted, 11), true},
		{"its own leaving", left, event(ParticipantsRemoved, 20), true},
		{"after leaving", left, event(ParticipantsRemoved, 21), false},
		{"the deletion of the thread after leaving", left, event(ThreadDeleted, 21), false},
		{"before leaving, when it is back", back, event(ThreadUpdated, 20), true},
		{"while it was away", back, event(ThreadUpdated, 29), false},
		{"its second joining", back, event(ParticipantsAdded, 30), true},
		{"anything, never in the thread", never, event(ThreadUpdated, 1), false},

		{"a new message", late, about(MessageReceived, 11, message(1001, 5)), true},
		{"a new message of the moment of joining", late, about(MessageReceived, 11, message(1000, 5)), true},
		{"a message before joining", shared, about(MessageReceived, 9, message(900, 5)), false},
		{"a message that is gone", late, event(MessageReceived, 11), false},
		{"a message that was deleted since", late, about(MessageReceived, 11, deleted(1001, 6)), false},
		{"the last message before leaving", left, about(MessageReceived, 19, message(1900, 50)), true},
		{"a message edited after leaving", left, about(MessageReceived, 19, message(1900, 51)), false},
		{"a message of the time before its erasure", erased, about(MessageReceived, 19, message(1900, 50)), false},
		{"a message from before it left, when it is back", back, about(MessageReceived, 15, message(1500, 5)), false},
		{"a message since it is back", back, about(MessageReceived, 31, message(3100, 60)), true},

		{"an edit of a message", late, about(MessageEdited, 12, message(1001, 6)), true},
		{"an edit of a message that it may not read", late, about(MessageEdited, 12, message(999, 6)), false},
		{"an edit of a message of the shared history", shared, about(MessageEdited, 12, message(999, 6)), true},
		{"an edit of a message that is gone", shared, event(MessageEdited, 12), false},
		{"an edit of a message that was deleted since", shared, about(MessageEdited, 12, deleted(1001, 7)), false},
		{"an edit of a message edited again after leaving", left, about(MessageEdited, 19, message(1900, 51)), false},

		{"a deletion", late, about(MessageDeleted, 12, deleted(1001, 6)), true},
		{"a deletion of a message that it may not read", late, about(MessageDeleted, 12, deleted(999, 6)), false},
		{"a deletion of a message that is gone", late, event(MessageDeleted, 12), false},
		{"a deletion before leaving", left, about(MessageDeleted, 20, deleted(1900, 50)), true},
		{"a deletion after leaving", left, about(MessageDeleted, 21, deleted(1900, 51)), false},

		{"a receipt", late, receipt(12, 1000), true},
		{"a receipt for a message that it may not read", late, receipt(12, 999), false},
		{"a receipt for a message of the shared history", shared, receipt(12, 999), true},
		{"a receipt before leaving", left, receipt(19, 1900), true},
		{"a receipt after leaving", left, receipt(21, 1900), false},
		{"a receipt from before it left, when it is back", back, receipt(15, 1500), false},

		{"typing", late, event(TypingReceived, 0), true},
		{"typing, when it is back", back, event(TypingReceived, 0), true},
		{"typing after leaving", left, event(TypingReceived, 0), false},
		{"typing, never in the thread", never, event(TypingReceived, 0), false},
	} {
		if got := tc.who.Hears(&tc.event); got != tc.want {
			t.Errorf("%s: heard: %t, want %t", tc.what, got, tc.want)
		}
		if tc.want && tc.who.ReadsOlder(&tc.event) {
			t.Errorf("%s: heard as it is, and in an older version", tc.what)
		}
	}

	for _, tc := range []struct {
		what  string
		who   Member
		event Happening
		want  bool
	}{
		{"a message edited after leaving", left, about(MessageReceived, 19, message(1900, 51)), true},
		{"an edit of a message edited again after leaving", left, about(MessageEdited, 19, message(1900, 51)), true},
		{"a message of before joining, edited after leaving", closed, about(MessageReceived, 19, message(900, 51)), false},
		{"a message deleted after leaving", left, about(MessageReceived, 19, deleted(1900, 51)), false},
		{"a message of after leaving", left, about(MessageReceived, 21, message(2100, 51)), false},
		{"a message that is gone", left, event(MessageReceived, 19), false},
		{"a message edited while it was away, when it is back", back, about(MessageReceived, 19, message(3100, 51)), false},
		{"somebody's removal", left, about(ParticipantsRemoved, 19, message(1900, 51)), false},
	} {
		if got := tc.who.ReadsOlder(&tc.event); got != tc.want {
			t.Errorf("%s: an older version: %t, want %t", tc.what, got, tc.want)
		}
	}
}
