// Package identity creates chat users and their access tokens. It is for servers that hold the
// access key of a resource; a program that acts for a user needs only package chat and a token.
//
//	ids, err := identity.NewClientFromConnectionString(os.Getenv("CONFAB_CONNECTION_STRING"), nil)
//	...
//	alice, err := ids.CreateUser(ctx, nil)
//	...
//	client, err := chat.NewClient(ids.Endpoint(), ids.NewTokenCredential(alice, nil), nil)
//
// A server that issues tokens to its own clients, in browsers or on phones, stores the id of each
// user and issues a token when the user logs in:
//
//	token, err := ids.GetToken(ctx, communication.NewUser(row.ChatID), []identity.Scope{identity.ScopeChat}, nil)
//
// The client uses api-version 2023-10-01, with a Confab server and with Azure Communication
// Services alike. Comments cite sections of the identity contract.
//
// # Errors
//
// Every method that fails returns a [communication.Error]. For a user who was deleted or belongs to
// another resource, the error matches communication.ErrUnauthorized and has the Code
// "IdentityNotOwned".
//
// Constructors return other errors, because they send no request.
//
// Temporary failures are retried as azcore.ClientOptions.Retry says, 3 times by default: 429
// always, other failures if repeating the request does no harm. CreateUser and CreateUserAndToken
// are not retried if the first attempt may have created a user: then errors.Is(err,
// communication.ErrUnknownFate) is true.
package identity
