package rest

import (
	"fmt"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestReceiptsReserveWhatIsRead lists the read receipts of a small thread and of one with 3,000
// members, while only memory for a small page is free for the user. The store reads all receipts
// of a thread for each page, so the list of the large thread must be refused until more memory is
// free.
func TestReceiptsReserveWhatIsRead(t *testing.T) {
	f := newFixture(t, nil)
	f.answerWait = 50 * time.Millisecond
	ann, anns := f.user(t, token.Chat)
	small := f.large(t, ann, 1, "text")
	large := f.large(t, ann, 1, "text")
	th, err := f.store.Thread(t.Context(), large)
	if err != nil {
		t.Fatal(err)
	}
	c := &core.Change{Key: large, Thread: large, Revision: th.Revision, Roster: th.Participants()}
	for i := range 3000 {
		c.Members = append(c.Members, core.Member{
			User:  communication.JoinUserID(f.core.Resource().ID, fmt.Sprintf("00000000-0000-0000-0000-%012d", i)),
			Order: uint32(i + 2), Intervals: []core.Interval{{}},
		})
	}
	rs, err := f.store.Apply(t.Context(), core.Batch{At: f.clock.now().UnixMilli(), Changes: []*core.Change{c}})
	if err != nil || rs[0].Status != core.Applied {
		t.Fatalf("add members: %+v, %v", rs, err)
	}
	list := func(thread string) int {
		t.Helper()
		return f.get(anns, "/chat/threads/"+thread+"/readReceipts?api-version=2021-09-07").Code
	}
	making := f.answers.making
	held, err := making.acquire(t.Context(), ann, making.share-2*smallPage)
	if err != nil {
		t.Fatal(err)
	}
	if code := list(small); code != 200 {
		t.Errorf("a small thread: %d", code)
	}
	if code := list(large); code != 503 {
		t.Errorf("a large thread without memory: %d, want 503", code)
	}
	making.release(ann, held)
	if code := list(large); code != 200 {
		t.Errorf("a large thread with memory: %d", code)
	}
	for _, p := range []*pool{f.answers.making, f.answers.sending} {
		if len(p.users) != 0 {
			t.Errorf("memory is still reserved for %d users", len(p.users))
		}
	}
}
