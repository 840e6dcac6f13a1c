package trouter

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/token"
)

// signer returns a handler that can seal parameters, and claims that name its signing key.
func signer(t testing.TB) (*Handler, token.Claims) {
	t.Helper()
	tokens, err := token.New(core.Resource{Keys: [2]core.AccessKeyRow{
		{Serial: 1, Secret: []byte("the primary key of these tests, long enough")},
		{Serial: 1, Secret: []byte("the secondary key of these tests, long too")},
	}}, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{Hub: gateway.NewHub(gateway.Options{}), Tokens: tokens}), token.Claims{User: "8:acs:R_A", Scopes: token.Chat, Key: "primary-1", Generation: 3,
		Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}
}

// TestParams seals the parameters of an allocation and unseals them. It checks that the parameters
// are the same, and that the cursor has no valid epoch if the epoch of the store was renewed
// meanwhile.
func TestParams(t *testing.T) {
	h, c := signer(t)
	p := params{endpoint: "tab", connection: newConnection(c.User), issued: time.UnixMilli(time.Now().UnixMilli()),
		at: core.Cursor{Epoch: "first", Position: 9, Check: 5}}
	text, err := h.seal(c, p)
	if err != nil {
		t.Fatal(err)
	}
	gotClaims, got, err := h.unseal(text, "first")
	if err != nil || gotClaims != c || !cmp.Equal(got, p, cmp.AllowUnexported(params{})) {
		t.Errorf("got %+v %+v, %v; want %+v %+v", gotClaims, got, err, c, p)
	}
	if _, got, err := h.unseal(text, "second"); err != nil || got.at.Epoch != "" {
		t.Errorf("in another epoch: %+v, %v", got, err)
	}
	p.issued = time.Now().Add(-paramsLife)
	if text, err = h.seal(c, p); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.unseal(text, "first"); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("old parameters: %v", err)
	}
	if !ownsConnection(p.connection, c.User) || ownsConnection(p.connection, "8:acs:R_B") || ownsConnection("x", c.User) {
		t.Error("the owner of a connection is mistaken")
	}
}

// FuzzParams checks that unseal accepts no text that lacks a field of the parameters.
func FuzzParams(f *testing.F) {
	h, c := signer(f)
	text, err := h.seal(c, params{endpoint: "tab", connection: "c", issued: time.Now(), at: core.Cursor{Epoch: "first"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text, "tab\nc\n1\nx")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, text, data string) {
		if _, p, err := h.unseal(text, "first"); err == nil && p.connection == "" {
			t.Errorf("%q is %+v", text, p)
		}
		sealed, err := h.o.Tokens.Seal(sealPurpose, c, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		if _, p, err := h.unseal(sealed, "first"); err == nil && p.issued.IsZero() {
			t.Errorf("the data %q is %+v", data, p)
		}
	})
}
