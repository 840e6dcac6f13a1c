// Package communication contains the types that the Confab clients and the Confab server share:
// identifiers, connection strings, access keys, token credentials and errors.
//
// An [Identifier] identifies a participant of a conversation: a communication user, a phone number,
// or a Microsoft Teams user or application. It can be compared with == and used as a map key. Its
// raw id is a string that can be stored in a database:
//
//	id := communication.ParseRawID(row.UserID)
//	if id.Kind() == communication.KindUser {
//		...
//	}
//
// A [ConnectionString] combines an endpoint and an [AccessKey] in one string, as portals and
// command lines show them:
//
//	cs, err := communication.ParseConnectionString(os.Getenv("CONFAB_CONNECTION_STRING"))
//
// An access key signs requests ([AccessKey.Sign]).
//
// A [TokenCredential] authenticates the user of a chat client: it holds a token, or calls a
// function to get a token when it is needed.
//
//	cred, err := communication.NewRefreshingTokenCredential(fetchTokenFromMyServer, nil)
//
// Every method of a client that fails returns an [Error]:
//
//	if errors.Is(err, communication.ErrNotFound) {
//		...
//	}
//
// The status of an Error is always that of the operation. If a credential fails because its token
// issuer answered 403, for example, the Error does not match ErrForbidden; errors.As finds the
// error of the issuer in the field Err of the Error.
//
// Connection strings, access keys and credentials never print their secret: not with any verb of
// fmt, not with log/slog, not in JSON, and not as a field of another struct. Only the methods named
// Text, AccessKey.Bytes and TokenCredential.GetToken return it.
//
// Comments cite the sections of the contract that the code implements, such as
// docs/contract/identity.md §4 for access key signing, §5 for connection strings, §6 for tokens and
// §7 for identifiers.
package communication
