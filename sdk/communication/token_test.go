package communication

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

var _ azcore.TokenCredential = (*TokenCredential)(nil)

// jwt returns a token that expires at end. Two tokens with different names are different.
func jwt(name string, end time.Time) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"none"}`)) + "." + part(fmt.Appendf(nil, `{"exp":%d}`, end.Unix())) + "." + part([]byte(name))
}

// issuer is a fake token issuer. Its method is the function refresh of a credential.
type issuer struct {
	calls atomic.Int32
	life  time.Duration
	takes time.Duration
	err   atomic.Pointer[error]
}

func (i *issuer) issue(ctx context.Context) (string, error) {
	n := i.calls.Add(1)
	select {
	case <-time.After(i.takes):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if err := i.err.Load(); err != nil {
		return "", *err
	}
	return jwt(fmt.Sprint(n), time.Now().Add(i.life)), nil
}

func (i *issuer) wantCalls(t *testing.T, want int) {
	t.Helper()
	if got := int(i.calls.Load()); got != want {
		t.Errorf("refresh was called %d times, want %d", got, want)
	}
}

func (i *issuer) credential(t *testing.T, o *RefreshingOptions) *TokenCredential {
	t.Helper()
	c, err := NewRefreshingTokenCredential(i.issue, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func get(t *testing.T, c *TokenCredential) azcore.AccessToken {
	t.Helper()
	got, err := c.GetToken(context.Background(), policy.TokenRequestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

var errDown = errors.New("the issuer is down")

func TestStaticToken(t *testing.T) {
	end := time.Unix(1599773979, 0)
	text := jwt("a", end)
	c, err := NewTokenCredential(" " + text + "\n")
	if err != nil {
		t.Fatal(err)
	}
	c.Refused(text)
	if got := get(t, c); got.Token != text || !got.ExpiresOn.Equal(end) {
		t.Errorf("got %+v, want %s until %s", got, text, end)
	}
	c.Close()
}

func TestTokensThatAreNone(t *testing.T) {
	payload := func(s string) string { return "e30." + base64.RawURLEncoding.EncodeToString([]byte(s)) + ".c2ln" }
	for _, test := range []struct{ token, want string }{
		{"", "token is empty"},
		{" \n", "token is empty"},
		{"secret", "token is not a JWT (three parts of base64url, joined by dots)"},
		{"secret.secret", "token is not a JWT (three parts of base64url, joined by dots)"},
		{"Bearer " + payload(`{"exp":1}`), "token is not a JWT (three parts of base64url, joined by dots)"},
		{payload(`{"exp":1}`) + "\r\nx-secret: 1", "token is not a JWT (three parts of base64url, joined by dots)"},
		{"a.secre.c", "token is not a JWT: its payload is not base64url"},
		{payload(`"secret"`), "token is not a JWT: its payload is not a JSON object, or exp is not a number"},
		{payload(`{"exp":true}`), "token is not a JWT: its payload is not a JSON object, or exp is not a number"},
		{payload(`{"exp":null}`), "token has no expiry (exp)"},
		{payload(`{}`), "token has no expiry (exp)"},
		{payload(`{"exp":-1}`), "token has an expiry (exp) that is not a time"},
		{payload(`{"exp":1e300}`), "token has an expiry (exp) that is not a time"},
	} {
		if _, err := NewTokenCredential(test.token); err == nil || err.Error() != test.want {
			t.Errorf("%q: got %v, want %s", test.token, err, test.want)
		}
	}
	if _, err := NewRefreshingTokenCredential(nil, nil); err == nil {
		t.Error("no error for a nil refresh")
	}
	if _, err := NewRefreshingTokenCredential((&issuer{}).issue, &RefreshingOptions{Token: "secret"}); err == nil {
		t.Error("no error for garbage as the first token")
	}
	if _, err := (&TokenCredential{}).GetToken(context.Background(), policy.TokenRequestOptions{}); err == nil {
		t.Error("no error for the zero credential")
	}
}

func TestTokenIsRefreshedOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour}
		c := i.credential(t, nil)
		i.wantCalls(t, 0)
		first := get(t, c)
		time.Sleep(57 * time.Minute)
		if got := get(t, c); got != first {
			t.Errorf("got another token after 57 minutes")
		}
		i.wantCalls(t, 1)
		time.Sleep(time.Minute)
		if got := get(t, c); got != first {
			t.Errorf("a request waited for a token that it did not need")
		}
		synctest.Wait()
		if got := get(t, c); got == first {
			t.Errorf("got the old token less than 2 minutes before its end")
		}
		i.wantCalls(t, 2)
	})
}

func TestFirstToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour}
		text := jwt("first", time.Now().Add(time.Hour))
		c := i.credential(t, &RefreshingOptions{Token: text})
		if got := get(t, c); got.Token != text {
			t.Errorf("got %s, want %s", got.Token, text)
		}
		i.wantCalls(t, 0)
		c = i.credential(t, &RefreshingOptions{Token: jwt("expired", time.Now().Add(-time.Hour))})
		get(t, c)
		i.wantCalls(t, 1)
	})
}

func TestShortTokensAreNotRefreshedWithEveryRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Minute}
		c := i.credential(t, nil)
		for range 60 {
			get(t, c)
			time.Sleep(time.Second)
		}
		i.wantCalls(t, 2)
	})
}

func TestOneRefreshForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour, takes: time.Second}
		c := i.credential(t, nil)
		var wg sync.WaitGroup
		for n := range 100 {
			wg.Go(func() {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if n%2 == 0 {
					time.AfterFunc(500*time.Millisecond, cancel) // after half a second, cancel also the request that started the refresh
				}
				_, err := c.GetToken(ctx, policy.TokenRequestOptions{})
				if want := n%2 == 0; errors.Is(err, context.Canceled) != want {
					t.Errorf("request %d: got %v", n, err)
				}
			})
		}
		wg.Wait()
		i.wantCalls(t, 1)
	})
}

func TestRefreshEndsWhenNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour, takes: time.Minute}
		c := i.credential(t, nil)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := c.GetToken(ctx, policy.TokenRequestOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		get(t, c) // this request starts a second refresh, because the first refresh was given up
		i.wantCalls(t, 2)
	})
}

func TestOldTokenIsUsedUntilItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour}
		c := i.credential(t, nil)
		first := get(t, c)
		i.err.Store(&errDown)
		time.Sleep(58 * time.Minute)
		for range 119 {
			if got := get(t, c); got != first {
				t.Fatal("got another token")
			}
			time.Sleep(time.Second)
		}
		if calls := i.calls.Load(); calls < 5 || calls > 12 {
			t.Errorf("refresh was called %d times in 2 minutes, want pauses that grow", calls)
		}
		time.Sleep(time.Second)
		if got, err := c.GetToken(context.Background(), policy.TokenRequestOptions{}); !errors.Is(err, errDown) {
			t.Errorf("got %v, %v, want %v", got, err, errDown)
		}
		i.err.Store(nil)
		get(t, c)
	})
}

func TestRefusedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour}
		c := i.credential(t, nil)
		first := get(t, c)
		c.Refused("another")
		if got := get(t, c); got != first {
			t.Error("another token was refused, and this one renewed")
		}
		c.Refused(first.Token)
		second := get(t, c)
		if second == first {
			t.Error("got the refused token")
		}
		// Let the issuer fail from here on. GetToken must then return the refused token again.
		i.err.Store(&errDown)
		for range 10 {
			c.Refused(second.Token)
			if got := get(t, c); got != second {
				t.Error("got a third token")
			}
		}
		i.wantCalls(t, 3)
	})
}

func TestRefreshThatGivesNoToken(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"secret", "refresh token: token is not a JWT (three parts of base64url, joined by dots)"},
		{jwt("a", time.Unix(1599773979, 0)), "refresh token: token is expired since 2020-09-10T21:39:39Z"},
	} {
		c, err := NewRefreshingTokenCredential(func(context.Context) (string, error) { return test.text, nil }, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.GetToken(context.Background(), policy.TokenRequestOptions{}); err == nil || err.Error() != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

func TestProactive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour, takes: time.Second}
		c := i.credential(t, &RefreshingOptions{Proactive: true})
		time.Sleep(2 * time.Second)
		i.wantCalls(t, 1)
		time.Sleep(50*time.Minute + time.Second)
		i.wantCalls(t, 2)
		start := time.Now()
		get(t, c)
		if took := time.Since(start); took != 0 {
			t.Errorf("a request waited %s", took)
		}
		i.err.Store(&errDown)
		time.Sleep(55 * time.Minute)
		get(t, c)
		if calls := i.calls.Load(); calls < 8 || calls > 25 {
			t.Errorf("refresh was called %d times, want about one in half a minute for 5 minutes", calls)
		}
		c.Close()
		c.Close()
		before := i.calls.Load()
		time.Sleep(time.Minute)
		i.wantCalls(t, int(before))
	})
}

func TestCloseEndsARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour, takes: 24 * time.Hour}
		c := i.credential(t, &RefreshingOptions{Proactive: true})
		synctest.Wait()
		i.wantCalls(t, 1)
		start := time.Now()
		c.Close()
		if took := time.Since(start); took != 0 {
			t.Errorf("Close took %s", took)
		}
	})
}

func TestTokensDoNotPrint(t *testing.T) {
	secret := jwt("a", time.Now().Add(time.Hour))
	c, err := NewTokenCredential(secret)
	if err != nil {
		t.Fatal(err)
	}
	in := struct {
		C *TokenCredential
		c TokenCredential
	}{c, *c}
	var all strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&all, verb+verb+verb+verb, c, *c, in, &in)
	}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	all.Write(text)
	for part := range strings.SplitSeq(secret, ".") {
		if strings.Contains(all.String(), part) || strings.Contains(all.String(), fmt.Sprintf("%x", part)) {
			t.Errorf("a part of the token is printed: %s", all.String())
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(jwt("a", time.Unix(1599773979, 0)))
	f.Fuzz(func(t *testing.T, text string) {
		if parsed, err := parseToken(text); err == nil && (strings.TrimSpace(text) != parsed.text || parsed.expires.Unix() < 0) {
			t.Errorf("%q: got %+v", text, parsed)
		}
	})
}

func TestUserOfToken(t *testing.T) {
	for payload, want := range map[string]string{
		`{"exp":4102444800,"skypeid":"acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_0000000c-6219-6975-dc7b-2548220015a8"}`: "8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_0000000c-6219-6975-dc7b-2548220015a8",
		`{"exp":4102444800}`:             "",
		`{"exp":4102444800,"skypeid":7}`: "",
	} {
		cred, err := NewTokenCredential("e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".x")
		if err != nil {
			t.Fatal(err)
		}
		user, err := cred.User(context.Background())
		if user.RawID() != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %v, %v", payload, user, err)
		}
	}
	if _, err := new(TokenCredential).User(context.Background()); err == nil {
		t.Error("a credential without a token has a user")
	}
}
