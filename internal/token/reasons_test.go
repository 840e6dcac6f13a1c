package token_test

import (
	"errors"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
)

// TestIssueWithAReplacedKey checks that Issue fails if the access key that signed the request was
// replaced afterwards, and returns a token neither of the old key nor of the new key. A key with
// the same serial and another secret counts as another key.
func TestIssueWithAReplacedKey(t *testing.T) {
	f := newFixture(t)
	u := f.user(t)
	signer, secondary := f.Held()[0], f.Held()[1]
	if !f.Holds(signer) || f.Holds(token.Key{}) {
		t.Error("Holds is wrong before the rotation")
	}
	for name, row := range map[string]core.AccessKeyRow{
		"a rotation":      {Serial: resource.Keys[0].Serial + 1, Secret: []byte("the key after the rotation, long enough")},
		"the same serial": {Serial: resource.Keys[0].Serial, Secret: []byte("another secret with that serial, long")},
	} {
		rows := resource.Keys
		rows[0] = row
		if err := f.SetKeys(rows); err != nil {
			t.Fatal(err)
		}
		if text, _, err := f.Issue(u, token.Chat, time.Hour, signer); !errors.Is(err, token.ErrKeyReplaced) || text != "" || f.Holds(signer) {
			t.Errorf("%s: a request signed with the old key gets %q, %v; want %v", name, text, err, token.ErrKeyReplaced)
		}
		if _, _, err := f.Issue(u, token.Chat, time.Hour, secondary); err != nil {
			t.Errorf("%s: the other key: %v", name, err)
		}
	}
	if _, _, err := f.Issue(u, token.Chat, time.Hour, token.Key{}); !errors.Is(err, token.ErrKeyReplaced) {
		t.Errorf("the zero key: %v", err)
	}
}

// TestReasons checks the reason of each refusal, which the server logs.
func TestReasons(t *testing.T) {
	f := newFixture(t)
	want := func(what, text, reason string) {
		t.Helper()
		_, err := f.verify(t, text)
		if got := token.ReasonOf(err); got != reason || !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%s: %v with reason %q, want %q", what, err, got, reason)
		}
	}
	live := f.user(t)
	good := f.issue(t, live, 0)
	want("text", "no token", token.ReasonMalformed)
	want("line breaks", good+"\n", token.ReasonMalformed)
	want("forged", good[:len(good)-8]+"AAAAAAAA", token.ReasonSignature)

	revoked := f.user(t)
	old := f.issue(t, revoked, 0)
	if err := f.core.RevokeTokens(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	want("revoked", old, token.ReasonRevoked)

	deleted := f.user(t)
	last := f.issue(t, deleted, 0)
	if err := f.core.DeleteUser(t.Context(), deleted.ID); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(time.Minute) // the deletion grace has then ended
	want("deleted", last, token.ReasonUserDeleted)

	f.clock.advance(2 * time.Hour)
	if _, err := f.verify(t, good); token.ReasonOf(err) != "expired 1h1m0s ago" {
		t.Errorf("expired: %v, want how long ago", err)
	}
	fresh := f.issue(t, live, 0)
	rows := resource.Keys
	rows[0] = core.AccessKeyRow{Serial: rows[0].Serial + 1, Secret: []byte("the key after the rotation, long enough")}
	if err := f.SetKeys(rows); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Verify(t.Context(), fresh); token.ReasonOf(err) != token.ReasonKey {
		t.Errorf("rotated: %v, want the reason %q", err, token.ReasonKey)
	}
	if token.ReasonOf(errors.New("another")) != "" {
		t.Error("another error has a reason")
	}
}
