package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/internal/pipeline"
)

// ClientOptions are the optional settings of a client.
type ClientOptions struct {
	// ClientOptions are azcore's: retries, a transport, policies, tracing. APIVersion
	// overrides 2023-10-01; versions from 2021-02-22-preview1 on have the same form.
	// InsecureAllowCredentialWithHTTP allows an endpoint of plain http.
	azcore.ClientOptions
	// CAFile names a PEM file of certificates to trust besides the system's. When it is
	// empty, and Transport is nil, CONFAB_CA_FILE in the environment does.
	CAFile string
	// Logger gets a line at level debug for each try of each request. The lines have no
	// tokens, keys, bodies or queries. nil: no lines.
	Logger *slog.Logger
}

const (
	apiVersion = "2023-10-01"
	// minVersion is the first with {"identity":{"id"}}: those before have another form.
	minVersion = "2021-02-22"
	// entraScope is what official SDKs ask an Entra credential for; both slashes are real
	// (docs/contract/identity.md §3).
	entraScope = "https://communication.azure.com//.default"
)

// Client makes users and tokens for one resource. Its methods are safe for concurrent
// use.
type Client struct{ pipeline *pipeline.Client }

// NewClient returns a client that signs its requests with the access key of the
// resource at endpoint, https://host[:port]. It makes no request. options may be nil.
func NewClient(endpoint string, key communication.AccessKey, options *ClientOptions) (*Client, error) {
	if key.IsZero() {
		return nil, errors.New("identity client: access key is empty")
	}
	return newClient(endpoint, pipeline.Signature(key), options)
}

// NewClientFromConnectionString returns a client for the endpoint and the access key of
// a connection string. options may be nil. To rotate the key later, parse the string
// with communication.ParseConnectionString and give its key to NewClient.
func NewClientFromConnectionString(connectionString string, options *ClientOptions) (*Client, error) {
	cs, err := communication.ParseConnectionString(connectionString)
	if err != nil {
		return nil, fmt.Errorf("identity client: %w", err)
	}
	return NewClient(cs.Endpoint(), cs.AccessKey(), options)
}

// NewClientWithTokenCredential returns a client that shows tokens of cred, as those of
// package azidentity, to the resource at endpoint. Azure takes them; a Confab server
// takes access keys only. options may be nil.
func NewClientWithTokenCredential(endpoint string, cred azcore.TokenCredential, options *ClientOptions) (*Client, error) {
	if cred == nil {
		return nil, errors.New("identity client: credential is nil")
	}
	return newClient(endpoint, pipeline.Bearer(cred, entraScope), options)
}

func newClient(endpoint string, auth pipeline.Auth, options *ClientOptions) (*Client, error) {
	p, err := pipeline.New(pipeline.Config{
		Component:  "identity",
		Version:    apiVersion,
		MinVersion: minVersion,
		Endpoint:   endpoint,
		Auth:       auth,
		Options:    (*pipeline.Options)(options),
	})
	if err != nil {
		return nil, fmt.Errorf("identity client: %w", err)
	}
	return &Client{p}, nil
}

// Endpoint returns where the server is, for a chat client beside this one.
func (c *Client) Endpoint() string { return c.pipeline.Endpoint() }

// CreateUserOptions are the optional arguments of CreateUser. There are none yet.
type CreateUserOptions struct{}

// CreateUser makes a user (docs/contract/identity.md §3.1). Keep its RawID: nobody can list users. options may
// be nil.
//
// The service has no way to ask for the same user twice. When a try may have made one
// and its answer is lost, CreateUser does not try again, and its error is
// communication.ErrUnknownFate; calling it again then costs at most a user that nobody
// knows.
func (c *Client) CreateUser(ctx context.Context, options *CreateUserOptions) (communication.Identifier, error) {
	created, err := c.create(ctx, "create user", createRequest{})
	return created.User, err
}

// TokenOptions are the optional arguments of the methods that issue a token.
type TokenOptions struct {
	// ExpiresIn is how long the token lives, in whole minutes. The service takes 60 to
	// 1440 (from 1 hour to 1 day); a Confab server may be set to take less. 0: 1 day.
	ExpiresIn time.Duration
}

// CreateUserAndToken makes a user and a token with scopes for it, in one request
// (docs/contract/identity.md §3.1). options may be nil. What CreateUser says of lost answers is true here too.
func (c *Client) CreateUserAndToken(ctx context.Context, scopes []Scope, options *TokenOptions) (UserAndToken, error) {
	const operation = "create user"
	if len(scopes) == 0 {
		// The service would make a user without a token.
		return UserAndToken{}, failed(operation, errors.New("no scopes"))
	}
	minutes, err := options.minutes()
	if err != nil {
		return UserAndToken{}, failed(operation, err)
	}
	created, err := c.create(ctx, operation, createRequest{Scopes: scopes, ExpiresInMinutes: minutes})
	if err == nil && created.Token.Token == "" {
		return created, failed(operation, fmt.Errorf("the answer has no token for user %s", created.User))
	}
	return created, err
}

func (c *Client) create(ctx context.Context, operation string, body createRequest) (UserAndToken, error) {
	var created UserAndToken
	_, err := c.pipeline.Do(ctx, pipeline.Request{
		Operation: operation,
		Method:    http.MethodPost,
		Path:      "/identities",
		Body:      body,
		Once:      true,
		Status:    http.StatusCreated,
	}, &created)
	if err != nil {
		return UserAndToken{}, err
	}
	if created.User.IsZero() {
		return UserAndToken{}, &communication.Error{Op: operation, UnknownFate: true, Err: errors.New("the answer has no id of a user")}
	}
	return created, nil
}

// GetToken issues a token with scopes for user (docs/contract/identity.md §3.2). Tokens issued before stay good.
// options may be nil.
func (c *Client) GetToken(ctx context.Context, user communication.Identifier, scopes []Scope, options *TokenOptions) (AccessToken, error) {
	const operation = "issue token"
	minutes, err := options.minutes()
	if err != nil {
		return AccessToken{}, failed(operation, err)
	}
	var token AccessToken
	err = c.do(ctx, user, pipeline.Request{
		Operation: operation,
		Method:    http.MethodPost,
		Path:      "/:issueAccessToken",
		Body:      issueRequest{Scopes: scopes, ExpiresInMinutes: minutes},
		Status:    http.StatusOK,
	}, &token)
	if err == nil && token.Token == "" {
		err = failed(operation, fmt.Errorf("the answer has no token for user %s", user))
	}
	return token, err
}

// RevokeTokens ends all tokens that were issued to user before (docs/contract/identity.md §3.3). A Confab server
// refuses them at once, Azure within 15 minutes. Tokens issued afterwards are good;
// when an answer is lost and the request is tried again, it also ends those issued
// between the tries.
func (c *Client) RevokeTokens(ctx context.Context, user communication.Identifier) error {
	return c.do(ctx, user, pipeline.Request{
		Operation: "revoke tokens",
		Method:    http.MethodPost,
		Path:      "/:revokeAccessTokens",
		Status:    http.StatusNoContent,
	}, nil)
}

// DeleteUser deletes user, what belongs to it, and ends its tokens (docs/contract/identity.md §3.4). When an
// answer is lost and the request is tried again, it may find the user gone already:
// the error then has the Code "IdentityNotOwned", as for a user that never was.
func (c *Client) DeleteUser(ctx context.Context, user communication.Identifier) error {
	return c.do(ctx, user, pipeline.Request{
		Operation: "delete user",
		Method:    http.MethodDelete,
		Status:    http.StatusNoContent,
	}, nil)
}

// do sends r, whose Path is what follows the user.
func (c *Client) do(ctx context.Context, user communication.Identifier, r pipeline.Request, out any) error {
	if user.RawID() == "" {
		return failed(r.Operation, errors.New("the user has no id")) // the path would be another one
	}
	r.Path = "/identities/" + url.PathEscape(user.RawID()) + r.Path
	_, err := c.pipeline.Do(ctx, r, out)
	return err
}

// TokenCredentialOptions are the optional settings of NewTokenCredential.
type TokenCredentialOptions struct {
	// Scopes are those of the tokens. Empty: ScopeChat.
	Scopes []Scope
	// ExpiresIn is how long each token lives, as in TokenOptions.
	ExpiresIn time.Duration
	// Proactive gets each next token in the background before the last one ends, until
	// the credential is closed. communication.RefreshingOptions tells more.
	Proactive bool
}

// NewTokenCredential returns a credential for a chat client that acts for user, and
// renews itself, unlike that of communication.NewTokenCredential: it issues a token
// with c whenever one is needed, and again when a server refuses one. It
// makes no request before the first one of the chat client, unless options.Proactive
// is set. options may be nil.
//
// It is for servers and bots, which hold the access key: everybody else gets a token
// from them.
func (c *Client) NewTokenCredential(user communication.Identifier, options *TokenCredentialOptions) *communication.TokenCredential {
	o := TokenCredentialOptions{}
	if options != nil {
		o = *options
	}
	scopes := append([]Scope(nil), o.Scopes...)
	if len(scopes) == 0 {
		scopes = []Scope{ScopeChat}
	}
	issue := func(ctx context.Context) (string, error) {
		token, err := c.GetToken(ctx, user, scopes, &TokenOptions{ExpiresIn: o.ExpiresIn})
		return token.Token, err
	}
	cred, err := communication.NewRefreshingTokenCredential(issue, &communication.RefreshingOptions{Proactive: o.Proactive})
	if err != nil {
		panic(err) // only for a nil function or a bad first token
	}
	return cred
}

func failed(operation string, err error) error {
	return &communication.Error{Op: operation, Err: err}
}
