// Package identity makes the users of a chat and their access tokens. It is for
// servers that hold the access key of a resource; a program that acts for a user
// needs package chat and a token.
//
//	ids, err := identity.NewClientFromConnectionString(os.Getenv("CONFAB_CONNECTION_STRING"), nil)
//	...
//	alice, err := ids.CreateUser(ctx, nil)
//	...
//	client, err := chat.NewClient(ids.Endpoint(), ids.NewTokenCredential(alice, nil), nil)
//
// A server that hands tokens to its own clients, in browsers or on phones, keeps the
// id of each user and asks for a token when one logs in:
//
//	token, err := ids.GetToken(ctx, communication.NewUser(row.ChatID), []identity.Scope{identity.ScopeChat}, nil)
//
// It speaks api-version 2023-10-01, to a Confab server and to Azure Communication
// Services alike. Comments name sections of the identity contract.
//
// # Errors
//
// Every error of a method is a [communication.Error]. A user of another resource, or
// one that was deleted, is communication.ErrUnauthorized with the Code
// "IdentityNotOwned".
//
// Constructors return plain errors.
//
// What fails on the way is tried again, as azcore.ClientOptions.Retry says, 3 times
// by default: 429 always, and other failures where a second time does no harm.
// CreateUser and CreateUserAndToken are not tried again when the first try may have
// made a user already: then errors.Is(err, communication.ErrUnknownFate).
package identity
