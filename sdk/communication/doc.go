// Package communication holds what the Confab clients and the Confab server
// share: identifiers, connection strings and access keys.
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
// An access key signs requests ([AccessKey.Sign]), and a server finds out with
// [VerifySignature] whether one of its keys made a signature.
//
// Neither a connection string nor an access key ever shows its secret by
// accident: not with any verb of fmt, not in log/slog, not in JSON, and not from
// inside another struct. The methods named Text give it out, on request.
//
// Comments name sections of the contract where the code follows one: §4 is access
// key signing, §5 connection strings, §7 identifiers, all of the identity contract.
package communication
