// Package communication holds what the Confab clients share with each other and
// with the Confab server: identifiers, connection strings, access keys, tokens and
// errors.
//
// An [Identifier] names somebody who can take part in a conversation: a
// communication user, a phone number, a Microsoft Teams user or app. It is a
// small value that can be compared with == and used as a map key. Its raw id is
// a string that a database can keep:
//
//	id := communication.ParseRawID(row.UserID)
//	if id.Kind() == communication.KindUser {
//		...
//	}
//
// A [ConnectionString] is an endpoint and an [AccessKey] in one text, the form
// in which a portal or a command line hands them out:
//
//	cs, err := communication.ParseConnectionString(os.Getenv("CONFAB_CONNECTION_STRING"))
//
// An access key signs requests ([AccessKey.Sign]).
//
// A [TokenCredential] is what a chat client shows of its user: a token, or a function
// that gets one whenever it is needed.
//
//	cred, err := communication.NewRefreshingTokenCredential(fetchTokenFromMyServer, nil)
//
// An [Error] is what every method of a client returns when it fails:
//
//	if errors.Is(err, communication.ErrNotFound) {
//		...
//	}
//
// What a client's errors report is about the operation: when a credential had no token
// for it, what the issuer of tokens answered is no ErrForbidden of the operation. It is
// in the Err of the Error, for errors.As.
//
// No connection string, access key or credential ever shows its secret by
// accident: not with any verb of fmt, not in log/slog, not in JSON, and not from
// inside another struct. The methods named Text, and GetToken, give it out, on request.
//
// Comments name sections of the contract where the code follows one: docs/contract/identity.md §4 is access
// key signing, §5 connection strings, §6 tokens, §7 identifiers, all of the identity
// contract.
package communication
