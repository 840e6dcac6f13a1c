package identity_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
	"github.com/confab-chat/confab/sdk/internal/recorded"
)

const connectionString = "endpoint=https://localhost/;accesskey=c2VjcmV0LWtleS1mb3ItdGVzdA=="

// entra is a fake credential that returns a token like a credential of package azidentity does.
type entra struct{}

func (entra) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || o.Scopes[0] != "https://communication.azure.com//.default" {
		return azcore.AccessToken{}, fmt.Errorf("got scopes %q", o.Scopes)
	}
	return azcore.AccessToken{Token: "entra", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// TestRecordings replays the recorded traffic between official SDKs and the real service. It checks
// that the client sends the recorded requests, at their api-version, and decodes the responses. It
// fails if a recording is not in the table calls.
func TestRecordings(t *testing.T) {
	ctx := context.Background()
	user := communication.NewUser("sanitized")
	create := func(c *identity.Client) (any, error) { return c.CreateUser(ctx, nil) }
	withToken := func(minutes time.Duration, scopes ...identity.Scope) func(*identity.Client) (any, error) {
		return func(c *identity.Client) (any, error) {
			return c.CreateUserAndToken(ctx, scopes, &identity.TokenOptions{ExpiresIn: minutes * time.Minute})
		}
	}
	issue := func(minutes time.Duration, scopes ...identity.Scope) func(*identity.Client) (any, error) {
		return func(c *identity.Client) (any, error) {
			return c.GetToken(ctx, user, scopes, &identity.TokenOptions{ExpiresIn: minutes * time.Minute})
		}
	}
	revoke := func(c *identity.Client) (any, error) { return nil, c.RevokeTokens(ctx, user) }
	remove := func(c *identity.Client) (any, error) { return nil, c.DeleteUser(ctx, user) }
	calls := map[string][]func(*identity.Client) (any, error){
		"2021-03-07-create-delete":                  {create, remove},
		"2021-03-07-create-issue-revoke":            {create, issue(0, identity.ScopeChat), revoke},
		"2022-06-01-create-entra-auth-async":        {create},
		"2022-06-01-create-with-token":              {withToken(0, identity.ScopeChat)},
		"2022-06-01-issue-missing-scopes-400":       {create, issue(0)},
		"2022-10-01-js-create-token-revoke":         {withToken(0, identity.ScopeChat, identity.ScopeVoIP), revoke},
		"2022-10-01-js-create-user-empty-body":      {create},
		"2022-10-01-js-delete-foreign-identity-401": {remove},
		"2022-10-01-js-expiry-1441-400":             {withToken(1441, identity.ScopeChat)},
		"2022-10-01-js-expiry-59-400":               {create, issue(59, identity.ScopeChat)},
		"2022-10-01-js-issue-empty-scopes-400":      {create, nil},
		"2022-10-01-js-issue-foreign-identity-401":  {issue(0, identity.ScopeChat, identity.ScopeVoIP)},
		"2022-10-01-js-revoke-foreign-identity-401": {revoke},
		"2023-10-01-js-create-join-scopes":          {withToken(0, identity.ScopeChatJoin, identity.ScopeVoIPJoin)},
	}
	// Pass an empty list, as in the recorded request. A variadic call without arguments would pass
	// nil.
	calls["2022-10-01-js-issue-empty-scopes-400"][1] = func(c *identity.Client) (any, error) {
		return c.GetToken(ctx, user, []identity.Scope{}, nil)
	}
	files, err := filepath.Glob("testdata/recordings/*.json")
	if err != nil || len(files) != len(calls) {
		t.Fatalf("got %d recordings (%v), want %d", len(files), err, len(calls))
	}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "identity-"), ".json")
		t.Run(name, func(t *testing.T) {
			traffic, err := recorded.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			c := replaying(t, traffic, strings.Contains(name, "entra"))
			for i, call := range calls[name] {
				answer := traffic.Exchanges[i].Response
				got, err := call(c)
				if answer.Status >= 400 {
					wantRefusal(t, err, answer)
				} else if err != nil {
					t.Fatalf("exchange %d: %v", i, err)
				} else {
					wantAnswer(t, got, answer.Body)
				}
			}
			if err := traffic.Done(); err != nil {
				t.Error(err)
			}
		})
	}
}

// replaying returns a client that receives the recorded responses in traffic and uses the
// api-version of the recording. The client authenticates with an Entra ID token if bearer is true,
// and with an access key otherwise.
func replaying(t *testing.T, traffic *recorded.Transport, bearer bool) *identity.Client {
	t.Helper()
	o := &identity.ClientOptions{}
	o.Transport = traffic
	o.APIVersion = traffic.Exchanges[0].Request.Query["api-version"]
	c, err := identity.NewClientFromConnectionString(connectionString, o)
	if bearer {
		c, err = identity.NewClientWithTokenCredential("https://localhost", entra{}, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantRefusal(t *testing.T, err error, answer recorded.Response) {
	t.Helper()
	var body struct {
		Error struct{ Code, Message, Target string }
	}
	if err := json.Unmarshal(answer.Body, &body); err != nil {
		t.Fatal(err)
	}
	var e *communication.Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v", err)
	}
	if e.StatusCode != answer.Status || e.Code != body.Error.Code || e.Message != body.Error.Message || e.Target != body.Error.Target || e.RequestID == "" {
		t.Errorf("got %+v, want %+v", e, body.Error)
	}
}

// wantAnswer encodes got and checks that the result has all members of the recorded response body.
func wantAnswer(t *testing.T, got any, body json.RawMessage) {
	t.Helper()
	if user, ok := got.(communication.Identifier); ok {
		got = identity.UserAndToken{User: user}
	}
	if got == nil {
		if len(body) > 0 && !bytes.Equal(body, []byte("null")) {
			t.Errorf("nothing is taken of the answer %s", body)
		}
		return
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := leaves(t, text), leaves(t, body); !maps.Equal(a, b) {
		t.Errorf("got %v, want %v", a, b)
	}
}

// leaves returns the strings in a JSON object, keyed by their paths. It parses times, so
// that two spellings of one time are equal. Other kinds of values fail the test.
func leaves(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	all := map[string]any{}
	var walk func(string, any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				walk(path+"/"+name, member)
			}
		case string:
			if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
				all[path] = at.UTC().String()
				return
			}
			all[path] = v
		default:
			t.Fatalf("%s: a %s", path, reflect.TypeOf(v))
		}
	}
	walk("", v)
	return all
}
