package identity_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

// service starts a server that responds with answer. It returns a client of the server and the
// number of requests that the server has received.
func service(t *testing.T, answer http.HandlerFunc) (*identity.Client, *atomic.Int32) {
	t.Helper()
	var requests atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		answer(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	o := &identity.ClientOptions{}
	o.Transport = s.Client()
	o.Retry = policy.RetryOptions{RetryDelay: time.Millisecond}
	c, err := identity.NewClientFromConnectionString("endpoint="+s.URL+";accesskey=c2VjcmV0", o)
	if err != nil {
		t.Fatal(err)
	}
	return c, &requests
}

// operations lists the methods of a Client that send a request. once is true for a method that the
// client must not retry after an attempt that may have been carried out.
var operations = []struct {
	name string
	once bool
	call func(context.Context, *identity.Client) error
}{
	{"create user", true, func(ctx context.Context, c *identity.Client) error {
		_, err := c.CreateUser(ctx, nil)
		return err
	}},
	{"create user", true, func(ctx context.Context, c *identity.Client) error {
		_, err := c.CreateUserAndToken(ctx, []identity.Scope{identity.ScopeChat}, nil)
		return err
	}},
	{"issue token", false, func(ctx context.Context, c *identity.Client) error {
		_, err := c.GetToken(ctx, bob, []identity.Scope{identity.ScopeChat}, nil)
		return err
	}},
	{"revoke tokens", false, func(ctx context.Context, c *identity.Client) error { return c.RevokeTokens(ctx, bob) }},
	{"delete user", false, func(ctx context.Context, c *identity.Client) error { return c.DeleteUser(ctx, bob) }},
}

var bob = communication.NewUser("8:acs:fa5c4fc3-a269-43e2-9eb6-0ca17b388993_0000000c-6219-6975-dc7b-2548220015a8")

func TestFaults(t *testing.T) {
	status := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	for _, test := range []struct {
		name    string
		fault   http.HandlerFunc
		all     int32 // expected number of requests of each operation that may be repeated
		once    int32 // expected number of requests of each operation that must not be repeated
		unknown bool  // whether the operations that must not be repeated return ErrUnknownFate
	}{
		{"429", status(429), 4, 4, false},
		{"500", status(500), 4, 1, true},
		{"503", status(503), 4, 1, true},
		{"401", status(401), 1, 1, false},
		{"cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 4, 1, true},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://localhost:1/", http.StatusTemporaryRedirect)
		}, 1, 1, false},
	} {
		for _, op := range operations {
			t.Run(test.name+"/"+op.name, func(t *testing.T) {
				c, requests := service(t, test.fault)
				err := op.call(context.Background(), c)
				var e *communication.Error
				if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), op.name+": ") {
					t.Fatalf("got error %v", err)
				}
				want := test.all
				if op.once {
					want = test.once
				}
				if got := requests.Load(); got != want {
					t.Errorf("got %d requests, want %d", got, want)
				}
				if got := errors.Is(err, communication.ErrUnknownFate); got != (op.once && test.unknown) {
					t.Errorf("unknown fate: got %t (%v)", got, err)
				}
			})
		}
	}
}

func TestCancelled(t *testing.T) {
	c, requests := service(t, func(http.ResponseWriter, *http.Request) {})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, op := range operations {
		if err := op.call(ctx, c); !errors.Is(err, context.Canceled) || errors.Is(err, communication.ErrUnknownFate) {
			t.Errorf("%s: got %v", op.name, err)
		}
	}
	if got := requests.Load(); got != 0 {
		t.Errorf("got %d requests, want 0", got)
	}
}

func TestAnswersThatCannotBeUsed(t *testing.T) {
	for _, body := range []string{`garbage`, `{}`, `{"identity":{}}`, `[]`, ``} {
		c, requests := service(t, func(w http.ResponseWriter, r *http.Request) {
			status := http.StatusOK
			if r.URL.Path == "/identities" {
				status = http.StatusCreated
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		})
		for _, op := range operations[:3] {
			err := op.call(context.Background(), c)
			if err == nil || errors.Is(err, communication.ErrUnknownFate) != op.once {
				t.Errorf("%s: %s: got %v", body, op.name, err)
			}
		}
		if got := requests.Load(); got != 3 {
			t.Errorf("%s: got %d requests, want 3", body, got)
		}
	}
}

func TestArgumentsThatMakeNoSense(t *testing.T) {
	c, requests := service(t, func(http.ResponseWriter, *http.Request) {})
	ctx := context.Background()
	scopes := []identity.Scope{identity.ScopeChat}
	seconds := &identity.TokenOptions{ExpiresIn: 90 * time.Second}
	for want, call := range map[string]func() error{
		`delete user: the user has no id`: func() error {
			return c.DeleteUser(ctx, communication.Identifier{})
		},
		`issue token: a token cannot live for 1m30s: only for whole minutes`: func() error {
			_, err := c.GetToken(ctx, bob, scopes, seconds)
			return err
		},
		`create user: a token cannot live for 1m30s: only for whole minutes`: func() error {
			_, err := c.CreateUserAndToken(ctx, scopes, seconds)
			return err
		},
		`create user: no scopes`: func() error {
			_, err := c.CreateUserAndToken(ctx, nil, nil)
			return err
		},
	} {
		err := call()
		var e *communication.Error
		if !errors.As(err, &e) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if got := requests.Load(); got != 0 {
		t.Errorf("got %d requests, want 0", got)
	}
}

func TestClientsThatCannotBe(t *testing.T) {
	old := &identity.ClientOptions{}
	old.APIVersion = "2020-07-20-preview2"
	key, err := communication.NewAccessKey("c2VjcmV0")
	if err != nil {
		t.Fatal(err)
	}
	for want, make := range map[string]func() (*identity.Client, error){
		"identity client: access key is empty": func() (*identity.Client, error) {
			return identity.NewClient("https://localhost", communication.AccessKey{}, nil)
		},
		"identity client: endpoint has a path": func() (*identity.Client, error) {
			return identity.NewClient("https://localhost/x", key, nil)
		},
		"identity client: connection string has no endpoint (endpoint=https://host/)": func() (*identity.Client, error) {
			return identity.NewClientFromConnectionString("secret", nil)
		},
		"identity client: credential is nil": func() (*identity.Client, error) {
			return identity.NewClientWithTokenCredential("https://localhost", nil, nil)
		},
		"identity client: api-version 2020-07-20-preview2 is older than 2021-02-22, the oldest that package identity speaks": func() (*identity.Client, error) {
			return identity.NewClient("https://localhost", key, old)
		},
	} {
		if _, err := make(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestRotatedKeySigns(t *testing.T) {
	second, err := communication.NewAccessKey("c2Vjb25k")
	if err != nil {
		t.Fatal(err)
	}
	var bySecond []bool
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		again := httptest.NewRequest(r.Method, "https://"+r.Host+r.RequestURI, r.Body)
		date, err := http.ParseTime(r.Header.Get("x-ms-date"))
		if err := errors.Join(err, second.Sign(again, date)); err != nil {
			t.Error(err)
		}
		bySecond = append(bySecond, again.Header.Get("Authorization") == r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"identity":{"id":"8:acs:a_b"}}`)
	}))
	defer s.Close()
	key, err := communication.NewAccessKey("Zmlyc3Q=")
	if err != nil {
		t.Fatal(err)
	}
	o := &identity.ClientOptions{}
	o.Transport = s.Client()
	c, err := identity.NewClient(s.URL, key, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateUser(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if err := key.Rotate(second.Text()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateUser(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(bySecond); got != "[false true]" {
		t.Errorf("signed with the second key: got %s, want [false true]", got)
	}
}

// TestTokensDoNotPrint prints and logs access tokens, alone and in slices, maps and exported
// fields. The output must contain "(redacted)" and not the token. Unexported fields are not tested,
// because AccessToken cannot protect them.
func TestTokensDoNotPrint(t *testing.T) {
	token := identity.AccessToken{Token: "secret", ExpiresOn: time.Unix(0, 0).UTC()}
	both := identity.UserAndToken{User: bob, Token: token}
	for name, value := range map[string]any{
		"token": token, "*token": &token, "both": both, "*both": &both,
		"slice": []identity.AccessToken{token}, "slice of both": []identity.UserAndToken{both},
		"map":    map[string]identity.AccessToken{"a": token},
		"struct": struct{ Token identity.AccessToken }{token},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, "secret") || strings.Contains(text, "736563726574") || !strings.Contains(text, "(redacted)") {
				t.Errorf("%s of %s: %s", verb, name, text)
			}
		}
	}
	for name, value := range map[string]any{"token": token, "*token": &token, "both": both, "*both": &both} {
		var b strings.Builder
		slog.New(slog.NewJSONHandler(&b, nil)).Info("a", "b", value, slog.Group("c", "d", value))
		slog.New(slog.NewTextHandler(&b, nil)).With("e", value).Info("a")
		if strings.Contains(b.String(), "secret") || strings.Count(b.String(), "(redacted)") != 3 {
			t.Errorf("log of %s: %s", name, b.String())
		}
	}
	if got, want := token.String(), "(redacted), expires on 1970-01-01T00:00:00Z"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTokensAreHandedOutAsJSON(t *testing.T) {
	token := identity.AccessToken{Token: "secret", ExpiresOn: time.Unix(0, 0).UTC()}
	text, err := json.Marshal(token)
	if want := `{"token":"secret","expiresOn":"1970-01-01T00:00:00Z"}`; string(text) != want {
		t.Errorf("got %s, %v, want %s", text, err, want)
	}
}
