package compat

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

func TestIdentity(t *testing.T) {
	for name, open := range map[string]func() (*identity.Client, error){
		"connection string": func() (*identity.Client, error) {
			return identity.NewClientFromConnectionString(connection.Text(), nil)
		},
		"endpoint and key": func() (*identity.Client, error) {
			return identity.NewClient(connection.Endpoint(), connection.AccessKey(), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ids, err := open()
			if err != nil {
				t.Fatal(err)
			}
			user, err := ids.CreateUser(t.Context(), nil)
			if err != nil || user.Kind() != communication.KindUser {
				t.Fatalf("user %v, %v", user, err)
			}
			before := serverNow(t)
			token, err := ids.GetToken(t.Context(), user, []identity.Scope{identity.ScopeChat}, &identity.TokenOptions{ExpiresIn: 2 * time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			if left := token.ExpiresOn.Sub(before); left < 119*time.Minute || left > 121*time.Minute {
				t.Errorf("the token is good for %v", left)
			}
			client := newClient(t, token.Token, nil)
			if _, err := client.CreateThread(t.Context(), "t", nil); err != nil {
				t.Fatal(err)
			}
			if err := ids.RevokeTokens(t.Context(), user); err != nil {
				t.Fatal(err)
			}
			_, err = client.CreateThread(t.Context(), "t", nil)
			mustBe(t, "a revoked token", err, communication.ErrUnauthorized)
			if err := ids.DeleteUser(t.Context(), user); err != nil {
				t.Fatal(err)
			}
			_, err = ids.GetToken(t.Context(), user, []identity.Scope{identity.ScopeChat}, nil)
			mustBe(t, "a token of a deleted user", err, communication.ErrUnauthorized)

			_, err = ids.CreateUserAndToken(t.Context(), []identity.Scope{identity.ScopeChat}, &identity.TokenOptions{ExpiresIn: time.Minute})
			var e *communication.Error
			if !errors.As(err, &e) || e.StatusCode != 400 || e.Target != "ExpiresInMinutes" {
				t.Errorf("a token for a minute: %v", err)
			}
		})
	}
	key, err := communication.NewAccessKey("bm90IHRoZSBzZXJ2ZXIncyBrZXkgYnV0IGFub3RoZXI=")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := identity.NewClient(connection.Endpoint(), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = stranger.CreateUser(t.Context(), nil)
	mustBe(t, "another key", err, communication.ErrUnauthorized)
	if strings.Contains(err.Error(), key.Text()) {
		t.Error("the error shows the key")
	}
	if err := key.Rotate(connection.AccessKey().Text()); err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.CreateUser(t.Context(), nil); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
}

// TestRenewing moves the server's clock until tokens have expired. Clients whose credential renews
// its token must still work, and the server must refuse a fixed token.
func TestRenewing(t *testing.T) {
	ids := newIdentity(t)
	user, err := ids.CreateUser(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	renewing := ids.NewTokenCredential(user, nil)
	refreshes := 0
	refreshing, err := communication.NewRefreshingTokenCredential(func(ctx context.Context) (string, error) {
		refreshes++
		token, err := ids.GetToken(ctx, user, []identity.Scope{identity.ScopeChat}, nil)
		return token.Token, err
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := ids.GetToken(t.Context(), user, []identity.Scope{identity.ScopeChat}, nil)
	if err != nil {
		t.Fatal(err)
	}
	fixed := newClient(t, token.Token, nil)
	clients := map[string]*chat.Client{}
	if clients["renewing"], err = chat.NewClient(connection.Endpoint(), renewing, nil); err != nil {
		t.Fatal(err)
	}
	if clients["refreshing"], err = chat.NewClient(connection.Endpoint(), refreshing, nil); err != nil {
		t.Fatal(err)
	}
	create := func(what string, c *chat.Client) {
		t.Helper()
		if _, err := c.CreateThread(t.Context(), what, nil); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	create("fixed", fixed)
	for range 2 {
		for what, c := range clients {
			create(what, c)
		}
	}
	mustEqual(t, "refreshes", refreshes, 1)
	dev(t, http.MethodPost, "/dev/clock", `{"advance":"25h"}`)
	_, err = fixed.CreateThread(t.Context(), "late", nil)
	mustBe(t, "the end of a token", err, communication.ErrUnauthorized)
	for what, c := range clients {
		create(what+", a day later", c)
	}
	mustEqual(t, "refreshes", refreshes, 2)
	// Revoke the tokens of the user. Clients whose credential renews its token must still work.
	if err := ids.RevokeTokens(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	for what, c := range clients {
		create(what+", after a revocation", c)
	}
	mustEqual(t, "refreshes", refreshes, 3)
}

func TestThrottling(t *testing.T) {
	ann := newPerson(t, "Ann")
	thread := newThread(t, ann)
	fault(t, `{"operation":"send message","status":429,"retryAfter":1,"times":1}`)
	began := time.Now()
	send(t, thread, "patience")
	if took := time.Since(began); took < time.Second {
		t.Errorf("the client waited %v, and was asked to wait a second", took)
	}
	mustEqual(t, "messages", messages(t, thread), []string{"patience"})
}
