package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/communication"
)

// numbered is a fake credential of a type outside package communication. Its first token is "1",
// its second "2", and so on. Each token expires after the duration life.
type numbered struct {
	n    int
	life time.Duration
	err  error
}

func (c *numbered) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if c.err != nil {
		return azcore.AccessToken{}, c.err
	}
	c.n++
	return azcore.AccessToken{Token: fmt.Sprint(c.n), ExpiresOn: time.Now().Add(c.life)}, nil
}

// told is a fake credential with the method Refused. It records the refused tokens and returns
// another token afterwards.
type told struct {
	token   string
	refused []string
}

func (c *told) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: c.token}, nil
}

func (c *told) Refused(token string) {
	c.refused = append(c.refused, token)
	c.token = "fresh"
}

// accepts returns a server that answers 201 with the request's body if the request has the given
// token, and answers 401 otherwise. It also returns the list of the Authorization headers that the
// server receives.
func accepts(t *testing.T, token string) (*server, *[]string) {
	t.Helper()
	var seen []string
	return newServer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		seen = append(seen, r.Header.Get("Authorization"))
		if r.Header.Get("Authorization") != "Bearer "+token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		text, _ := io.ReadAll(r.Body)
		answerJSON(w, http.StatusCreated, string(text))
	}), &seen
}

func with(cred azcore.TokenCredential) func(*Config) {
	return func(c *Config) { c.Auth = Bearer(cred, "scope") }
}

func TestRefusedTokenIsRefreshedOnce(t *testing.T) {
	s, seen := accepts(t, "2")
	c := s.client(t, with(&numbered{life: time.Hour}))
	for range 2 {
		var out struct{ Topic string }
		if _, err := c.Do(context.Background(), create(), &out); err != nil || out.Topic != "<b>" {
			t.Fatalf("got %+v, %v", out, err)
		}
	}
	if got, want := fmt.Sprint(*seen), "[Bearer 1 Bearer 2 Bearer 2]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCredentialIsToldOfRefusedToken(t *testing.T) {
	s, seen := accepts(t, "fresh")
	cred := &told{token: "stale"}
	if _, err := s.client(t, with(cred)).Do(context.Background(), create(), nil); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(*seen, cred.refused), "[Bearer stale Bearer fresh] [stale]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSecondRefusalIsFinal(t *testing.T) {
	s, _ := accepts(t, "none")
	_, err := s.client(t, with(&numbered{life: time.Hour})).Do(context.Background(), create(), nil)
	if !errors.Is(err, communication.ErrUnauthorized) || errors.Is(err, communication.ErrUnknownFate) {
		t.Errorf("got %v", err)
	}
	if got := s.requests.Load(); got != 2 {
		t.Errorf("got %d requests, want 2", got)
	}
}

func TestSameTokenIsNotTriedAgain(t *testing.T) {
	s, _ := accepts(t, "none")
	_, err := s.client(t, with(staticToken("token"))).Do(context.Background(), read(), nil)
	if !errors.Is(err, communication.ErrUnauthorized) {
		t.Errorf("got %v", err)
	}
	if got := s.requests.Load(); got != 1 {
		t.Errorf("got %d requests, want 1", got)
	}
}

func TestNoTokenNoRequest(t *testing.T) {
	s, _ := accepts(t, "none")
	broken := errors.New("no network")
	_, err := s.client(t, with(&numbered{err: broken})).Do(context.Background(), create(), nil)
	wantError(t, err, "create it: get a token: no network")
	if !errors.Is(err, broken) || errors.Is(err, communication.ErrUnknownFate) {
		t.Errorf("got %v", err)
	}
	if got := s.requests.Load(); got != 0 {
		t.Errorf("got %d requests, want 0", got)
	}
}

func TestKeptToken(t *testing.T) {
	cred := &numbered{life: time.Hour}
	tokens := newTokens(cred, nil)
	get := func(refused, want string) {
		t.Helper()
		if got, err := tokens.get(context.Background(), refused); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	get("", "1")
	get("", "1")
	get("1", "2")
	get("1", "2") // an earlier call has already replaced the refused token "1", so get returns the cached token
	tokens.kept.ExpiresOn, tokens.after = time.Now().Add(refreshEarly-time.Second), time.Time{}
	cred.err = errors.New("no network")
	get("", "2") // the credential fails, so the cached token is used until it expires
	cred.err = nil
	get("", "2") // get requests no new token during the pause after a failure
	tokens.after = time.Time{}
	get("", "3")
	tokens.kept.ExpiresOn = time.Now().Add(-time.Second)
	cred.err = errors.New("no network")
	if _, err := tokens.get(context.Background(), ""); !errors.Is(err, cred.err) {
		t.Errorf("got %v, want %v", err, cred.err)
	}
}

func TestWaitForTokenEndsWithContext(t *testing.T) {
	tokens := newTokens(&numbered{life: time.Hour}, nil)
	tokens.lock <- struct{}{} // another call holds the lock
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := tokens.get(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNoTokenOverPlainHTTP(t *testing.T) {
	s, _ := accepts(t, "token")
	c := s.client(t, func(c *Config) {
		c.Options.PerCallPolicies = []policy.Policy{policyFunc(func(req *policy.Request) (*http.Response, error) {
			req.Raw().URL.Scheme = "http"
			return req.Next()
		})}
	})
	_, err := c.Do(context.Background(), read(), nil)
	wantError(t, err, "read it: no credential goes over plain http: use https, or set InsecureAllowCredentialWithHTTP in the client options")
}

func TestSignature(t *testing.T) {
	key, err := communication.NewAccessKey("c2VjcmV0LWtleS1mb3ItdGVzdA==")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if err := verify(r, key); err != nil {
			t.Errorf("try %d: %v", n, err)
		}
		if n == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	c := s.client(t, func(c *Config) { c.Auth = Signature(key) })
	if _, err := c.Do(context.Background(), create(), nil); err != nil {
		t.Fatal(err)
	}
	c = s.client(t, func(c *Config) { c.Auth = Signature(communication.AccessKey{}) })
	_, err = c.Do(context.Background(), create(), nil)
	wantError(t, err, "create it: sign request: access key is empty")
}

// verify checks the signature of a received request. It signs the request again, at the date in the
// request's header, and compares the headers.
func verify(r *http.Request, key communication.AccessKey) error {
	again, err := http.NewRequest(r.Method, "https://"+r.Host+r.RequestURI, r.Body)
	if err != nil {
		return err
	}
	date, err := http.ParseTime(r.Header.Get("x-ms-date"))
	if err != nil {
		return err
	}
	if err := key.Sign(again, date); err != nil {
		return err
	}
	for _, name := range []string{"Authorization", "x-ms-content-sha256"} {
		if got, want := r.Header.Get(name), again.Header.Get(name); got != want {
			return fmt.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	return nil
}
