package token_test

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
)

// sealed returns the claims of a new token of a new user, and a text that contains these claims
// and the data "data", sealed for the purpose "test".
func (f *fixture) sealed(t testing.TB) (token.Claims, string) {
	t.Helper()
	u, err := f.core.CreateUser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := f.Issue(u, token.Chat|token.VoIP, time.Hour, f.Held()[1])
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Verify(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.Seal("test", c, []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

// TestSeal seals claims and data, and checks that another server with the same keys can unseal
// them, but only for the same purpose.
func TestSeal(t *testing.T) {
	f := newFixture(t)
	c, s := f.sealed(t)
	other := f.another(t, resource)
	got, data, err := other.Unseal("test", s)
	if err != nil || string(data) != "data" {
		t.Fatalf("unsealed %q, %v", data, err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if _, _, err := other.Unseal("tes", s); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("with another purpose: %v", err)
	}
	if _, err := f.Verify(t.Context(), s); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("as a token: %v", err)
	}
}

// TestSealEnds checks that a sealed text becomes invalid when its token expires or its access
// key is replaced, and that Seal refuses claims that name a replaced key.
func TestSealEnds(t *testing.T) {
	f := newFixture(t)
	c, s := f.sealed(t)
	rotated := resource
	rotated.Keys[1] = core.AccessKeyRow{Serial: 5, Secret: []byte("the secondary key that replaced the other one")}
	other := f.another(t, rotated)
	if _, _, err := other.Unseal("test", s); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("with the key replaced: %v", err)
	}
	if _, err := other.Seal("test", c, nil); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("sealed with a key that was replaced: %v", err)
	}
	f.clock.advance(c.Expires.Sub(f.clock.now()) - time.Millisecond)
	if _, _, err := f.Unseal("test", s); err != nil {
		t.Errorf("just before the expiry: %v", err)
	}
	f.clock.advance(time.Millisecond)
	if _, _, err := f.Unseal("test", s); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("at the expiry: %v", err)
	}
}

// TestDamagedSeal changes each byte of a sealed text in turn, and checks that Unseal refuses the
// changed text.
func TestDamagedSeal(t *testing.T) {
	f := newFixture(t)
	_, s := f.sealed(t)
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		raw[i] ^= 0x41
		if _, _, err := f.Unseal("test", base64.RawURLEncoding.EncodeToString(raw)); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		raw[i] ^= 0x41
		if _, _, err := f.Unseal("test", base64.RawURLEncoding.EncodeToString(raw[:i])); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("cut at byte %d: %v", i, err)
		}
	}
}

// FuzzUnseal unseals arbitrary texts. It checks that Unseal accepts a text only if Seal returns the
// same text for the resulting claims and data.
func FuzzUnseal(f *testing.F) {
	fx := newFixture(f)
	_, s := fx.sealed(f)
	f.Add(s)
	f.Add("")
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, text string) {
		c, data, err := fx.Unseal("test", text)
		if err != nil {
			return
		}
		if again, err := fx.Seal("test", c, data); err != nil || again != text {
			t.Errorf("Unseal accepts %q, and Seal returns %q, %v", text, again, err)
		}
	})
}

// TestSealOfANewerKey checks that a server unseals a text that another server has sealed with a new
// key, although this server does not know the new key yet.
func TestSealOfANewerKey(t *testing.T) {
	f := newFixture(t)
	rotated := resource
	rotated.Keys[0] = core.AccessKeyRow{Serial: 2, Secret: []byte("another primary key, that is long enough")}
	other := f.another(t, rotated)
	u := f.user(t)
	text, _, err := other.Issue(u, token.Chat, time.Hour, other.Held()[0])
	if err != nil {
		t.Fatal(err)
	}
	c, err := other.Verify(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	s, err := other.Seal("test", c, []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Unseal("test", s); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("with the keys of before: %v", err)
	}
	f.Reloads(func(context.Context) (bool, error) { return true, f.SetKeys(rotated.Keys) })
	if _, data, err := f.Unseal("test", s); err != nil || string(data) != "data" {
		t.Errorf("after a new look at the keys: %q, %v", data, err)
	}
}
