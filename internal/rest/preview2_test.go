package rest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestAnOperationHasTheSameRightsAtAllVersions checks that all routes of an operation accept the
// same tokens. This is needed because the matrix of callers in TestAuthorizationMatrix tests only
// the newest version of each operation.
func TestAnOperationHasTheSameRightsAtAllVersions(t *testing.T) {
	first := map[string]route{}
	for _, r := range routes {
		f, ok := first[r.operation]
		if !ok {
			first[r.operation] = r
			continue
		}
		if r.scopes != f.scopes || r.users != f.users {
			t.Errorf("%s %s in %q accepts other tokens than %s %s in %q", r.method, r.path, r.in, f.method, f.path, f.in)
		}
	}
}

// TestAllMembersAreInOneAnswer gets a thread with so many members that the answer needs more
// memory than a small page. It checks that the answer has all members, and that it waits for
// memory.
func TestAllMembersAreInOneAnswer(t *testing.T) {
	f := newFixture(t, nil)
	f.answerWait = time.Millisecond
	ann, bearer := f.user(t, token.Chat)
	thread, _ := f.thread(t, ann)
	var users []core.NewParticipant
	for range 600 {
		id, _ := f.user(t, token.Chat)
		users = append(users, core.NewParticipant{User: communication.ParseRawID(id)})
	}
	if _, err := f.core.AddParticipants(t.Context(), ann, thread, users); err != nil {
		t.Fatal(err)
	}
	for path, members := range map[string]string{"": "members", "/members": "value"} {
		target := "/chat/threads/" + thread + path + "?api-version=2020-09-21-preview2"
		w := f.get(bearer, target)
		var got map[string]json.RawMessage
		var ids []struct{ ID string }
		if err := cmp.Or(json.Unmarshal(w.Body.Bytes(), &got), json.Unmarshal(got[members], &ids)); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d, %v", target, w.Code, err)
		}
		seen := map[string]bool{}
		for _, m := range ids {
			seen[m.ID] = true
		}
		if len(seen) != 601 || len(ids) != 601 || got["nextLink"] != nil {
			t.Errorf("%s: %d members, %d different ones, next link %s; want 601 and no link", target, len(ids), len(seen), got["nextLink"])
		}
		p := f.answers.sending
		held, err := p.acquire(t.Context(), ann, p.share)
		if err != nil {
			t.Fatal(err)
		}
		if w := f.get(bearer, target); w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s without memory: %d, want 503", target, w.Code)
		}
		p.release(ann, held)
	}
}

// TestOnlyVersionsWithTokensPromiseIdempotentSends checks that only answers at api-versions with
// idempotency tokens tell a client that it may repeat a send.
func TestOnlyVersionsWithTokensPromiseIdempotentSends(t *testing.T) {
	f := newFixture(t, nil)
	_, bearer := f.user(t, token.Chat)
	for _, v := range apiver.Chat.Versions() {
		w := f.get(bearer, "/chat/threads?api-version="+string(v))
		if promised := w.Header().Get("confab-idempotent-send") == "true"; promised == threadMembers.Has(v) || w.Code != http.StatusOK {
			t.Errorf("%s: %d, promised: %v", v, w.Code, promised)
		}
	}
}
