package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/sdk/communication"
)

// identity sends a request to a path below /identities, signed with the access key.
func (r *running) identity(t *testing.T, method, path, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequest(method, r.Endpoint+"/identities"+path+"?api-version=2023-10-01", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	k, err := communication.NewAccessKey(r.AccessKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Sign(req, time.Now()); err != nil {
		t.Fatal(err)
	}
	return r.do(t, req)
}

// tokenOf requests a token for a user and returns it.
func (r *running) tokenOf(t *testing.T, user string) string {
	t.Helper()
	status, answer := r.identity(t, "POST", "/"+url.PathEscape(user)+"/:issueAccessToken", `{"scopes":["chat"]}`)
	var out struct{ Token string }
	if err := json.Unmarshal([]byte(answer), &out); err != nil || status != 200 {
		t.Fatalf("issue a token for %s: %d %s, %v", user, status, answer, err)
	}
	return out.Token
}

// TestMovingIn starts a server that takes over a resource from Azure, for each Azure cloud. It
// uses user ids that an app has stored before, everywhere an id can appear, before a token was
// issued for them. The server must accept these ids, and refuse ids of another cloud or resource.
func TestMovingIn(t *testing.T) {
	const resource = "a5ba7870-ef05-4e2b-9901-7751faa29e20"
	prefixes := map[string]string{"public": "8:acs:", "gcch": "8:gcch-acs:", "dod": "8:dod-acs:"}
	for cloud, prefix := range prefixes {
		t.Run(cloud, func(t *testing.T) {
			stored := func(n int) string { return fmt.Sprintf("%s%s_0000000c-6219-6975-dc7b-%012d", prefix, resource, n) }
			data := filepath.Join(t.TempDir(), "data")
			pairs := []string{"data", data, "resource-id", resource}
			if cloud != "public" {
				pairs = append(pairs, "cloud", cloud)
			}
			s := start(t, server.Options{Config: settings(t, pairs...)})
			_, ann, bearer := s.newUser(t, s.AccessKey)
			if !strings.HasPrefix(ann, prefix+resource+"_") {
				t.Errorf("a new user is %s, want one that begins with %s", ann, prefix+resource)
			}
			// Add users with stored ids to a new thread, and then to a thread that exists already.
			list := func(ids ...string) string {
				var ps []string
				for _, id := range ids {
					ps = append(ps, fmt.Sprintf(`{"communicationIdentifier":{"rawId":%q,"communicationUser":{"id":%[1]q}}}`, id))
				}
				return "[" + strings.Join(ps, ",") + "]"
			}
			foreign := []string{prefix + "99999999-ef05-4e2b-9901-7751faa29e20_0000000c-6219-6975-dc7b-2548220015a8"}
			for other, otherPrefix := range prefixes {
				if other != cloud {
					foreign = append(foreign, otherPrefix+resource+"_0000000c-6219-6975-dc7b-2548220015a8")
				}
			}
			type result struct {
				ChatThread          struct{ ID string }
				InvalidParticipants []struct{ Target, Code, Message string }
			}
			check := func(what, answer string, status int) string {
				t.Helper()
				var got result
				if err := json.Unmarshal([]byte(answer), &got); err != nil || status != 201 {
					t.Fatalf("%s: %d %s, %v", what, status, answer, err)
				}
				var refused []string
				for _, p := range got.InvalidParticipants {
					refused = append(refused, p.Code+" "+p.Target)
				}
				var want []string
				for _, id := range foreign {
					want = append(want, "403 "+id)
				}
				if diff := cmp.Diff(want, refused); diff != "" {
					t.Errorf("%s refuses (-want +got):\n%s", what, diff)
				}
				return got.ChatThread.ID
			}
			status, answer := s.chat(t, "POST", "", bearer, `{"topic":"moved","participants":`+list(append([]string{stored(1)}, foreign...)...)+`}`)
			thread := "/" + check("create", answer, status)
			status, answer = s.chat(t, "POST", thread+"/participants/:add", bearer, `{"participants":`+list(append([]string{stored(2), stored(1)}, foreign...)...)+`}`)
			check("add", answer, status)
			if status, answer := s.chat(t, "GET", thread+"/participants", bearer, ""); status != 200 || !strings.Contains(answer, stored(1)) || !strings.Contains(answer, stored(2)) {
				t.Errorf("participants: %d %s", status, answer)
			}
			// The users of the stored ids get their first tokens, send read receipts and send
			// messages.
			_, answer = s.chat(t, "POST", thread+"/messages", bearer, `{"content":"welcome"}`)
			var sent struct{ ID string }
			if err := json.Unmarshal([]byte(answer), &sent); err != nil {
				t.Fatal(answer, err)
			}
			for n := 1; n <= 2; n++ {
				token := s.tokenOf(t, stored(n))
				if status, answer := s.chat(t, "POST", thread+"/readReceipts", token, fmt.Sprintf(`{"chatMessageId":%q}`, sent.ID)); status != 200 {
					t.Errorf("a receipt of %s: %d %s", stored(n), status, answer)
				}
				if status, answer := s.chat(t, "POST", thread+"/messages", token, `{"content":"hello"}`); status != 201 {
					t.Errorf("a message of %s: %d %s", stored(n), status, answer)
				}
			}
			if status, answer := s.chat(t, "GET", thread+"/readReceipts", bearer, ""); status != 200 || strings.Count(answer, prefix+resource) < 2 {
				t.Errorf("receipts: %d %s", status, answer)
			}
			if status, answer := s.chat(t, "POST", thread+"/participants/:remove", bearer, fmt.Sprintf(`{"rawId":%q}`, stored(9))); status != 204 {
				t.Errorf("remove an id that was never there: %d %s", status, answer)
			}
			// Call each identity route with an id that the server has not seen before.
			for _, c := range []struct {
				method, id, path string
				status           int
			}{
				{"POST", stored(3), "/:revokeAccessTokens", 204},
				{"POST", stored(3), "/:issueAccessToken", 200},
				{"DELETE", stored(4), "", 204},
				{"POST", stored(4), "/:issueAccessToken", 401},
				{"POST", stored(4), "/:revokeAccessTokens", 401},
				{"POST", foreign[0], "/:revokeAccessTokens", 401},
				{"DELETE", foreign[1], "", 401},
				{"POST", foreign[2], "/:issueAccessToken", 401},
			} {
				if status, answer := s.identity(t, c.method, "/"+url.PathEscape(c.id)+c.path, `{"scopes":["chat"]}`); status != c.status {
					t.Errorf("%s %s%s: %d %s, want %d", c.method, c.id, c.path, status, answer, c.status)
				}
			}
			status, answer = s.chat(t, "POST", thread+"/participants/:add", bearer, `{"participants":`+list(stored(4))+`}`)
			if status != 201 || !strings.Contains(answer, `"404"`) {
				t.Errorf("add a deleted user: %d %s, want a 404 inside the 201", status, answer)
			}
			s.stop(t)

			// The store remembers its cloud: a start without --cloud must use it, and a start
			// with another cloud must fail.
			again := start(t, server.Options{Config: settings(t, "data", data)})
			if _, bob, _ := again.newUser(t, again.AccessKey); !strings.HasPrefix(bob, prefix+resource+"_") {
				t.Errorf("a user of the next start is %s, want one that begins with %s", bob, prefix+resource)
			}
			if status, answer := again.chat(t, "GET", thread, again.tokenOf(t, stored(1)), ""); status != 200 {
				t.Errorf("after a start without the settings: %d %s", status, answer)
			}
			again.stop(t)
			other := map[string]string{"public": "dod", "gcch": "public", "dod": "gcch"}[cloud]
			s2, err := server.Start(t.Context(), server.Options{Config: settings(t, "data", data, "cloud", other)})
			if err == nil {
				s2.Close(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), "cloud "+cloud) || !strings.Contains(err.Error(), "--cloud is "+other) {
				t.Errorf("a start with --cloud %s: %v", other, err)
			}
		})
	}
}

// TestNotMovingIn checks that a server without --resource-id refuses user ids that it did not
// create, because no app can have stored such an id.
func TestNotMovingIn(t *testing.T) {
	s := start(t, server.Options{Config: settings(t)})
	_, ann, bearer := s.newUser(t, s.AccessKey)
	resource, _, _ := strings.Cut(ann, "_")
	unknown := resource + "_0000000c-6219-6975-dc7b-2548220015a8"
	status, answer := s.chat(t, "POST", "", bearer, fmt.Sprintf(`{"topic":"t","participants":[{"communicationIdentifier":{"rawId":%q}}]}`, unknown))
	if status != 201 || !strings.Contains(answer, `"404"`) {
		t.Errorf("create with an unknown id: %d %s, want a 404 inside the 201", status, answer)
	}
	if status, answer := s.identity(t, "DELETE", "/"+url.PathEscape(unknown), ""); status != 401 {
		t.Errorf("delete an unknown id: %d %s, want 401", status, answer)
	}
}

// TestMovedIn checks that a chat user creates users of a resource that was taken over, by adding
// made-up ids to a thread. It checks that a later start without --resource-id keeps these users
// and creates no more in this way.
func TestMovedIn(t *testing.T) {
	const resource = "a5ba7870-ef05-4e2b-9901-7751faa29e20"
	data := t.TempDir()
	first, second := "8:acs:"+resource+"_0000000c-6219-6975-dc7b-254822000001", "8:acs:"+resource+"_0000000c-6219-6975-dc7b-254822000002"
	add := func(s *running, id string) (refused bool) {
		t.Helper()
		_, _, bearer := s.newUser(t, s.AccessKey)
		status, answer := s.chat(t, "POST", "", bearer, fmt.Sprintf(`{"topic":"t","participants":[{"communicationIdentifier":{"rawId":%q}}]}`, id))
		if status != 201 {
			t.Fatalf("create with %s: %d %s", id, status, answer)
		}
		return strings.Contains(answer, `"404"`)
	}
	s := start(t, server.Options{Config: settings(t, "data", data, "resource-id", resource)})
	if add(s, first) {
		t.Errorf("with --resource-id a made-up id is refused")
	}
	s.stop(t)
	s = start(t, server.Options{Config: settings(t, "data", data)})
	if add(s, first) {
		t.Errorf("without --resource-id the id that was used is refused")
	}
	if !add(s, second) {
		t.Errorf("without --resource-id a made-up id makes a user")
	}
}
