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

// ClientOptions are the optional settings of a [Client]. The zero value selects the defaults.
type ClientOptions struct {
	// ClientOptions configures azcore: retries, transport, policies and tracing. APIVersion selects
	// an API version other than 2023-10-01; its requests and responses have the same form since
	// 2021-02-22-preview1. InsecureAllowCredentialWithHTTP allows a plain http endpoint, which a
	// constructor refuses otherwise.
	azcore.ClientOptions
	// CAFile names a PEM file of certificate authorities to trust in addition to the system's. If
	// it is empty and Transport is nil, the environment variable CONFAB_CA_FILE may name the file.
	// Setting both Transport and CAFile is an error.
	CAFile string
	// Logger receives one line at level debug for each attempt of a request, without tokens, keys,
	// bodies or queries. Nil disables logging.
	Logger *slog.Logger
}

const (
	apiVersion = "2023-10-01"
	// minVersion is the first API version in which the service returns a user in the JSON form
	// {"identity":{"id"}}.
	minVersion = "2021-02-22"
	// entraScope is the scope that the official SDKs request from an Entra ID credential. The
	// double slash is intended (docs/contract/identity.md §3).
	entraScope = "https://communication.azure.com//.default"
)

// Client creates users and access tokens of one resource. It is safe for concurrent use.
type Client struct{ pipeline *pipeline.Client }

// NewClient returns a client that signs its requests with the access key of the resource at
// endpoint, "https://host[:port]". It sends no request. Nil options select the defaults. It fails
// if the key is zero, if the endpoint is invalid, or if the options are invalid.
func NewClient(endpoint string, key communication.AccessKey, options *ClientOptions) (*Client, error) {
	if key.IsZero() {
		return nil, errors.New("identity client: access key is empty")
	}
	return newClient(endpoint, pipeline.Signature(key), options)
}

// NewClientFromConnectionString returns a client for the endpoint and the access key of a
// connection string. Nil options select the defaults. It fails as
// communication.ParseConnectionString and NewClient do. To rotate the key later, call
// ParseConnectionString yourself and pass its key to NewClient.
func NewClientFromConnectionString(connectionString string, options *ClientOptions) (*Client, error) {
	cs, err := communication.ParseConnectionString(connectionString)
	if err != nil {
		return nil, fmt.Errorf("identity client: %w", err)
	}
	return NewClient(cs.Endpoint(), cs.AccessKey(), options)
}

// NewClientWithTokenCredential returns a client that authenticates to the resource at endpoint with
// tokens of cred, such as a credential of package azidentity. Azure accepts such tokens; a Confab
// server accepts access keys only. Nil options select the defaults. It fails if cred is nil, or as
// NewClient does.
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

// Endpoint returns the endpoint of the client, "https://host[:port]", which a chat client can use
// too.
func (c *Client) Endpoint() string { return c.pipeline.Endpoint() }

// CreateUserOptions are the optional arguments of CreateUser. The type has no fields yet.
type CreateUserOptions struct{}

// CreateUser creates a user and returns its identifier (docs/contract/identity.md §3.1). Store the
// RawID: the service cannot list users. options may be nil.
//
// The service does not support idempotent creation. If an attempt may have created a user but its
// response is lost, CreateUser does not retry and returns communication.ErrUnknownFate. Calling it
// again may then leave an unused user behind.
func (c *Client) CreateUser(ctx context.Context, options *CreateUserOptions) (communication.Identifier, error) {
	created, err := c.create(ctx, "create user", createRequest{})
	return created.User, err
}

// TokenOptions are the optional arguments of the methods that issue a token.
type TokenOptions struct {
	// ExpiresIn is the lifetime of the token in whole minutes. The service accepts 60 to 1440
	// minutes (1 hour to 1 day); a Confab server may be configured to accept less. 0 means 1 day.
	ExpiresIn time.Duration
}

// CreateUserAndToken creates a user and a token with the given scopes in one request
// (docs/contract/identity.md §3.1). It fails if scopes is empty. options may be nil. Like
// CreateUser, it does not retry after an attempt that may have created a user, and returns
// communication.ErrUnknownFate.
func (c *Client) CreateUserAndToken(ctx context.Context, scopes []Scope, options *TokenOptions) (UserAndToken, error) {
	const operation = "create user"
	if len(scopes) == 0 {
		// Refuse the call, because the service would create a user without a token.
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

// GetToken issues a token with the given scopes for user (docs/contract/identity.md §3.2). Earlier
// tokens remain valid. options may be nil. Temporary failures are retried.
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

// RevokeTokens revokes all tokens that have been issued to user so far (docs/contract/identity.md
// §3.3). A Confab server rejects them at once, Azure within 15 minutes. Tokens that are issued
// later are valid. Temporary failures are retried; if the response of an attempt is lost, the retry
// also revokes tokens that were issued between the attempts.
func (c *Client) RevokeTokens(ctx context.Context, user communication.Identifier) error {
	return c.do(ctx, user, pipeline.Request{
		Operation: "revoke tokens",
		Method:    http.MethodPost,
		Path:      "/:revokeAccessTokens",
		Status:    http.StatusNoContent,
	}, nil)
}

// DeleteUser deletes user and its data, and revokes its tokens (docs/contract/identity.md §3.4).
// Temporary failures are retried. If an attempt deletes the user but its response is lost, the
// retry fails with an Error whose Code is "IdentityNotOwned", as for a user that never existed.
func (c *Client) DeleteUser(ctx context.Context, user communication.Identifier) error {
	return c.do(ctx, user, pipeline.Request{
		Operation: "delete user",
		Method:    http.MethodDelete,
		Status:    http.StatusNoContent,
	}, nil)
}

// do sends a request whose path is relative to the path of the user.
func (c *Client) do(ctx context.Context, user communication.Identifier, r pipeline.Request, out any) error {
	if user.RawID() == "" {
		return failed(r.Operation, errors.New("the user has no id")) // refuse an empty id, because the request would then have another path
	}
	r.Path = "/identities/" + url.PathEscape(user.RawID()) + r.Path
	_, err := c.pipeline.Do(ctx, r, out)
	return err
}

// TokenCredentialOptions are the optional settings of NewTokenCredential.
type TokenCredentialOptions struct {
	// Scopes are the scopes of the tokens. If Scopes is empty, the tokens have ScopeChat.
	Scopes []Scope
	// ExpiresIn is the lifetime of each token, as in TokenOptions.
	ExpiresIn time.Duration
	// Proactive makes the credential get the next token in the background before the current one
	// expires, until the credential is closed. See communication.RefreshingOptions.
	Proactive bool
}

// NewTokenCredential returns a credential for a chat client that acts for user. Unlike a credential
// of communication.NewTokenCredential, it renews its token: it calls c.GetToken when it has no
// token, before its token expires, and when the server refuses its token. It issues no token before
// the first request of the chat client, unless options.Proactive is set. options may be nil.
//
// The credential is for servers and bots, which hold the access key. Other programs get their
// tokens from such a server.
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
		panic(err) // NewRefreshingTokenCredential cannot fail here, because refresh is not nil and there is no first token
	}
	return cred
}

func failed(operation string, err error) error {
	return &communication.Error{Op: operation, Err: err}
}
