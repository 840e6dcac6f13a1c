package compat

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/confab-chat/confab/sdk/chat"
)

// TestBigPages lists a hundred messages of 65,000 bytes, a size that a server accepts by default. A
// server puts at most 4 MiB into a page, even if the client asks for more messages. The pager must
// return all messages.
func TestBigPages(t *testing.T) {
	const count, size, bound = 100, 65_000, 4 << 20
	thread := newThread(t, newPerson(t, "Ann"))
	var want []string // the first bytes of each message, newest first
	for n := range count {
		want = append(want, fmt.Sprintf("%08d", n))
		send(t, thread, want[n]+strings.Repeat("x", size-8))
	}
	slices.Reverse(want)
	var got []string
	pages, biggest := 0, 0
	for pager := thread.NewListMessagesPager(&chat.ListMessagesOptions{MaxPageSize: 200}); pager.More(); pages++ {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		bytes := 0
		for _, m := range page.Values {
			bytes += len(m.Content.Message)
			if m.Type == chat.MessageTypeText && len(m.Content.Message) == size {
				got = append(got, m.Content.Message[:8])
			}
		}
		biggest = max(biggest, bytes)
	}
	mustEqual(t, "big messages", got, want)
	if pages < 2 || biggest > bound {
		t.Errorf("the biggest of %d pages holds %d bytes, want at most %d", pages, biggest, bound)
	}
}
