package core_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
)

func TestPreview(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"", ""},
		{"short", "short"},
		{strings.Repeat("x", 1024), strings.Repeat("x", 1024)},
		{strings.Repeat("x", 1025), strings.Repeat("x", 1024)},
		{strings.Repeat("x", 1023) + "é", strings.Repeat("x", 1023)},
		{strings.Repeat("x", 1022) + "é!", strings.Repeat("x", 1022) + "é"},
		{strings.Repeat("x", 1021) + "😀", strings.Repeat("x", 1021)},
	} {
		m := core.Message{ID: 1, Kind: core.Text, Sender: "8:acs:a", Content: c.content, Metadata: map[string]string{"a": "1"}, Fingerprint: core.Fingerprint{1}}
		want := &core.Message{ID: 1, Kind: core.Text, Sender: "8:acs:a", Content: c.want}
		if diff := cmp.Diff(want, m.Preview()); diff != "" {
			t.Errorf("%d bytes (-want +got):\n%s", len(c.content), diff)
		}
	}
	// A name alone may be longer than a preview; the first participant is kept nevertheless.
	m := core.Message{Participants: []core.MessageParticipant{{User: "a", DisplayName: strings.Repeat("😀", 256)}, {User: "b"}}}
	if got := m.Preview().Participants; len(got) != 1 || got[0] != m.Participants[0] {
		t.Errorf("%d participants, want the first", len(got))
	}
}

// TestExpandExpired lists a thread that has expired and that no sweep has deleted yet. It checks
// that the list shows nothing of the thread's messages.
func TestExpandExpired(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	month := h.kept(t, ann, 30)
	h.send(t, ann, month, "hello")
	list := func() core.ThreadEntry {
		t.Helper()
		page, err := h.ExpandThreads(t.Context(), core.ThreadsQuery{User: ann, Limit: 10, Expand: core.Expand{LastMessage: true, Unread: true}})
		if err != nil || len(page.Threads) != 1 {
			t.Fatalf("%+v, %v", page, err)
		}
		return page.Threads[0]
	}
	h.pass(30*day - time.Millisecond)
	if e := list(); e.LastMessage == nil || e.LastMessage.Content != "hello" {
		t.Errorf("before it expires: %+v", e)
	}
	h.pass(time.Millisecond)
	if e := list(); e.LastMessage != nil || *e.Unread != 0 {
		t.Errorf("after it expired: %+v", e)
	}
}
