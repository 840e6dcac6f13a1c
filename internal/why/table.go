package why

// Row is a row of the table: a reason for which the server refuses requests.
type Row struct {
	Code Code
	// Sentence tells the user what happened, and Mend how to solve it. A word in braces is the name
	// of a fact and is replaced by the fact's value. A part in brackets is left out if a fact in it
	// is missing.
	Sentence, Mend string
	// Example has names of facts, each followed by its value, for docs/troubleshooting.md and the
	// tests.
	Example []string
}

// Group is a group of rows that form a section of docs/troubleshooting.md.
type Group struct {
	Title string
	Rows  []Row
}

// Table returns all groups of rows. The caller must not change them.
func Table() []Group { return table }

var byCode = func() map[Code]*Row {
	all := map[Code]*Row{}
	for _, g := range table {
		for i := range g.Rows {
			all[g.Rows[i].Code] = &g.Rows[i]
		}
	}
	return all
}()

// Codes of the reasons. The table has one row for each code.
const (
	NoToken          Code = "no-token"
	TokenExpired     Code = "token-expired"
	TokenRevoked     Code = "token-revoked"
	TokenMalformed   Code = "token-malformed"
	TokenSignature   Code = "token-signature"
	TokenKey         Code = "token-key"
	TokenResource    Code = "token-resource"
	UserDeleted      Code = "user-deleted"
	UserUnknown      Code = "user-unknown"
	UserLeaving      Code = "user-leaving"
	Scope            Code = "scope"
	TwoCredentials   Code = "two-credentials"
	NotSigned        Code = "not-signed"
	SignatureHeader  Code = "signature-header"
	SignedDate       Code = "signed-date"
	ClockOff         Code = "clock-off"
	WrongKey         Code = "wrong-key"
	SignedHost       Code = "signed-host"
	ContentHash      Code = "content-hash"
	KeyReplaced      Code = "key-replaced"
	NoEntra          Code = "no-entra"
	IdentityNotOwned Code = "identity-not-owned"

	NeverParticipant   Code = "never-a-participant"
	NotParticipant     Code = "not-a-participant"
	Removed            Code = "removed"
	Left               Code = "left"
	UnknownThread      Code = "unknown-thread"
	ThreadDeleted      Code = "thread-deleted"
	UnknownMessage     Code = "unknown-message"
	MessageDeleted     Code = "message-deleted"
	NotTheSender       Code = "not-the-sender"
	UnknownParticipant Code = "unknown-participant"
	HistoryOwn         Code = "history-own"
	HistoryOther       Code = "history-other"

	InvalidField Code = "invalid-field"
	TooLarge     Code = "too-large"
	TooMany      Code = "too-many"
	NoHTML       Code = "no-html"
	BodyEnded    Code = "body-ended"
	SlowBody     Code = "slow-body"
	MediaType    Code = "media-type"
	BadPath      Code = "bad-path"
	UnknownPath  Code = "unknown-path"
	Method       Code = "method"
	BadQuery     Code = "bad-query"
	BadParameter Code = "bad-parameter"
	BadCursor    Code = "bad-cursor"
	NoVersion    Code = "no-version"
	TwoVersions  Code = "two-versions"
	NoSuchRoute  Code = "version-without-route"
	BadVersion   Code = "unknown-version"
	NewerVersion Code = "newer-version"
	NotServed    Code = "not-served"

	RateLimit    Code = "rate-limit"
	WrittenLimit Code = "written-limit"
	UserSessions Code = "user-sessions"
	NodeSessions Code = "server-sessions"
	Handshakes   Code = "handshakes"

	LiveEnded     Code = "live-ended"
	LiveParams    Code = "live-parameters"
	LiveSid       Code = "live-sid"
	LiveHost      Code = "live-host"
	LiveFrame     Code = "live-frame"
	LiveCursor    Code = "live-cursor"
	NotWebSocket  Code = "not-a-websocket"
	Registration  Code = "registration"
	UnknownHost   Code = "unknown-host"
	UnknownOrigin Code = "unknown-origin"
	OriginLeftOut Code = "origin-left-out"

	Busy        Code = "busy"
	DiskFull    Code = "disk-full"
	StoreAway   Code = "store-away"
	NoMemory    Code = "no-memory"
	Draining    Code = "draining"
	Internal    Code = "internal"
	UnknownFate Code = "unknown-fate"
	NotWritten  Code = "answer-not-written"
	HungUp      Code = "hung-up"
	Dropped     Code = "dropped"
	Fault       Code = "fault"
	Other       Code = "other"
)

// Remedies that several rows share; the rows have them in their field Mend.
const (
	newToken = "Get a new token for the user and send the request again; the SDKs do so by themselves if their credential has a refresher."
	bug      = "This is a fault of the server: look in its log for the request's id, and report it."
	again    = "Nothing was written: send the request again after the Retry-After of the answer."
	addAgain = "Add it again, or use another user's token."
	signWith = "Use the connection string of this server (`confab env` prints it); one of Azure has another key."
)

var table = []Group{
	{"Tokens and keys", []Row{
		{NoToken, "The request has no token: its Authorization header is {has} `Bearer TOKEN`.",
			"Send the header `Authorization: Bearer TOKEN`, as {operation} needs it, with a token from `confab token` or from the identity API.",
			[]string{"has", "missing, not", "operation", "send message"}},
		{TokenExpired, "The token[ of {user}] expired {ago} ago, at {at}.", newToken,
			[]string{"user", "8:acs:..88f7", "ago", "5m0s", "at", "21:03:11 UTC on 2026-11-28"}},
		{TokenRevoked, "The token[ of {user}] was revoked: all tokens of the user from before were ended.",
			"Issue a new token for the user; who holds an old one is kept out on purpose.", []string{"user", "8:acs:..88f7"}},
		{TokenMalformed, "What the request sends as a token is not one of this server: {problem}.",
			"Send the whole token, as it was issued, after `Bearer `.", []string{"problem", "it is not a JWT"}},
		{TokenSignature, "The signature of the token is wrong: the token was changed, or made by another server.",
			newToken, nil},
		{TokenKey, "The token was made with the access key {key}, which this server does not have: the key was rotated, or the token is of another server.",
			newToken, []string{"key", "primary-1"}},
		{TokenResource, "The token is of another resource: it was issued by another server or before the data of this one was replaced.",
			newToken, nil},
		{UserDeleted, "The user {user} was deleted[ at {at}].",
			"Make a new user and issue a token for it; a deleted user does not come back.", []string{"user", "8:acs:..88f7", "at", "21:03:11 UTC on 2026-11-28"}},
		{UserUnknown, "The user {user} of the token does not exist in this server's data.",
			"Make the user again and issue a new token: the data of the server is another one than when the token was issued.", []string{"user", "8:acs:..88f7"}},
		{UserLeaving, "The user {user} was deleted, and its tokens may now only delete threads that it has created or is alone in, and remove it from threads.",
			"Let another participant delete the thread.", []string{"user", "8:acs:..88f7"}},
		{Scope, "The token of {user} has the scope {has}, and {operation} needs {needs}.",
			"Issue a token with the scope that is needed.", []string{"user", "8:acs:..88f7", "has", "voip", "operation", "send message", "needs", "chat"}},
		{TwoCredentials, "The request has more than one {header} header, and a proxy may have checked another one than this server reads.",
			"Send one.", []string{"header", "Authorization"}},
		{NotSigned, "The request is not signed: {problem}.",
			"Sign requests to the identity API with an access key (HMAC-SHA256), as the SDKs do that were made with a connection string.", []string{"problem", "it has no Authorization header"}},
		{SignatureHeader, "The Authorization header of the signed request is malformed: {problem}.",
			"Send `HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=BASE64`.", []string{"problem", "the signature is not the base64 of 32 bytes"}},
		{SignedDate, "The header {header}, which the request signs, is {problem}.",
			"Send the present time in the form of HTTP dates, such as `Sat, 28 Nov 2026 21:03:11 GMT`.", []string{"header", "x-ms-date", "problem", "missing"}},
		{ClockOff, "The header {header} is {by} {side} the clock of the server, and at most {limit} are allowed: it says {date}, and it is {now}.",
			"Set the clock of the client, or that of the server (`timedatectl` shows whether it is kept in time).",
			[]string{"header", "x-ms-date", "by", "16m0s", "side", "behind", "limit", "15m0s", "date", "20:47:11 UTC on 2026-11-28", "now", "21:03:11 UTC on 2026-11-28"}},
		{WrongKey, "The request is signed with neither access key of this server, or it signs another text than the server saw for the host {host}: {signed}.",
			signWith, []string{"host", `"localhost:8443"`, "signed", `"POST\n/identities?api-version=2023-10-01\nSat, 28 Nov 2026 21:03:11 GMT;localhost:8443;47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="`}},
		{SignedHost, "The key is right, but the host {other} was signed, and the request came for the host {host}: a proxy has changed the Host header.",
			"Let the proxy pass the Host header on unchanged, or set --public-endpoint to the address that clients use.",
			[]string{"other", `"chat.example.org"`, "host", `"localhost:8443"`}},
		{ContentHash, "The header x-ms-content-sha256, which the request signs, is not {problem}.",
			"Hash the body that is sent, byte for byte; nothing between client and server may change it.", []string{"problem", "the hash of the body"}},
		{KeyReplaced, "The access key that signed the request was rotated while the request ran.",
			"Sign with the new key.", nil},
		{NoEntra, "The request has a token of Microsoft Entra, and this server has no Microsoft tenant that could vouch for it.",
			"Use an access key and users of this server instead.", nil},
		{IdentityNotOwned, "The user {user} is not one of this server: it was deleted, never made here, or made by another resource.",
			"Make a user with POST /identities, or start the server with the data that has this one.", []string{"user", "8:acs:..88f7"}},
	}},
	{"Threads, participants and messages", []Row{
		{NeverParticipant, "{user} is not in this thread and never was.",
			"Let a participant add it, or use a participant's token.", []string{"user", "8:acs:..c2f1"}},
		{NotParticipant, "{user} is not in this thread any more.", addAgain, []string{"user", "8:acs:..c2f1"}},
		{Removed, "{user} is not in this thread: {by} removed it at {at}.", addAgain,
			[]string{"user", "8:acs:..c2f1", "by", "Ann", "at", "21:03:11 UTC on 2026-11-28"}},
		{Left, "{user} is not in this thread: it left at {at}.", addAgain, []string{"user", "8:acs:..c2f1", "at", "21:03:11 UTC on 2026-11-28"}},
		{UnknownThread, "There is no thread {thread} that {user} is or was in: it never existed here, or it was deleted.",
			"Use the id that creating the thread has returned, at the server that made it.", []string{"user", "8:acs:..c2f1", "thread", "19:f00d.."}},
		{ThreadDeleted, "The thread {thread} was deleted[ at {at}].", "Create a new thread; a deleted one does not come back.",
			[]string{"thread", "19:f00d..", "at", "21:03:11 UTC on 2026-11-28"}},
		{UnknownMessage, "The thread has no message[ {message}] that {user} may see: it does not exist, or is from before the history that was shared, or from after the user left.",
			"Use an id from sending or listing messages of this thread.", []string{"message", "1798750991234", "user", "8:acs:..c2f1"}},
		{MessageDeleted, "The message {message} was deleted at {at}.", "Send a new message.", []string{"message", "1798750991234", "at", "21:03:11 UTC on 2026-11-28"}},
		{NotTheSender, "{user} did not send the message {message}: {sender} did, and only the sender may change it.",
			"Use the sender's token.", []string{"user", "8:acs:..c2f1", "message", "1798750991234", "sender", "8:acs:..88f7"}},
		{UnknownParticipant, "{who} is not in this thread.", "Add the participant first.", []string{"who", "8:acs:..c2f1"}},
		{HistoryOwn, "{user} would show itself more of the history than it was given.", "Let another participant share the history.", []string{"user", "8:acs:..c2f1"}},
		{HistoryOther, "{user} would hide some of the history from {who}, who could not undo it.", "Share as much of the history as before, or more.",
			[]string{"user", "8:acs:..c2f1", "who", "8:acs:..88f7"}},
	}},
	{"What the request says", []Row{
		{InvalidField, "The request's {field} is not valid: {problem}", "Send it as the sentence says.",
			[]string{"field", "content", "problem", "The content field is required."}},
		{TooLarge, "The {field} has {has} {unit}, and at most {limit} are allowed.", "Send less[, or raise the limit with {setting}].",
			[]string{"field", "content", "has", "30000", "unit", "bytes", "limit", "28672", "setting", "another profile of --limits"}},
		{TooMany, "There would be {has} {unit}, and at most {limit} are allowed.", "Send fewer[, or raise the limit with {setting}].",
			[]string{"has", "300", "unit", "participants", "limit", "250", "setting", "another profile of --limits"}},
		{NoHTML, "Nothing of the content is HTML that is allowed in a message.", "Send text, or HTML with text in it; scripts, styles and frames are removed.", nil},
		{BodyEnded, "The body ended before it was whole.", "Look at the network and proxies between; send the request again.", nil},
		{SlowBody, "The body did not arrive within {limit}.", "Send it faster, or raise --body-timeout.", []string{"limit", "10s"}},
		{MediaType, "The body cannot be read: {problem}", "Send JSON in UTF-8 without compression, with `Content-Type: application/json`.",
			[]string{"problem", "The Content-Type must be application/json."}},
		{BadPath, "The path of the request is malformed: {problem}.", "Escape ids in paths, each % as %25.", []string{"problem", "a percent-encoding is not complete"}},
		{UnknownPath, "The server has no path {path}.", "Compare the path with that of the SDK: something between, or the endpoint, may have changed it.", []string{"path", "/chat/thread"}},
		{Method, "The path does not have the method {method}: it has {allowed}.", "Use one of these.", []string{"method", "PUT", "allowed", "GET, POST, OPTIONS"}},
		{BadQuery, "The query of the request is malformed.", "Escape values in queries.", nil},
		{BadParameter, "The query parameter {parameter} is not valid: {problem}", "Send it as the sentence says, or leave it out.",
			[]string{"parameter", "maxPageSize", "problem", "Value for maxPageSize (0) is not valid. It must be from 1 to 200."}},
		{BadCursor, "The {parameter} of the request is not one that this server made for this list and user.",
			"Follow nextLink as it was answered, with the token of the same user; after a change of servers begin the list anew.", []string{"parameter", "syncState"}},
		{NoVersion, "The request names no api-version.", "Add `api-version` to the query, such as `?api-version={newest}`.", []string{"newest", "VERSION"}},
		{TwoVersions, "The request names several api-versions: {asked}.", "Name one.", []string{"asked", "ONE, ANOTHER"}},
		{NoSuchRoute, "The api-version {asked} does not have {method} {path}: the versions that do are {known}.", "Use one of these versions.",
			[]string{"asked", "VERSION", "method", "GET", "path", "/chat/threads/19:f00d@thread.v2/participants", "known", "ONE, ANOTHER"}},
		{BadVersion, "This server does not know the api-version {asked}; for this path it knows {known}.", "Use one of these versions; docs/compatibility.md says which SDK speaks which.",
			[]string{"asked", "VERSION", "known", "ONE, ANOTHER"}},
		{NewerVersion, "The api-version {asked} is newer than all that this server knows; the newest is {newest}.",
			"Start the server with {setting}, so that it answers as {newest}; or update it.", []string{"asked", "VERSION", "newest", "NEWEST", "setting", "--newer-api-versions newest"}},
		{NotServed, "This server does not have this operation: {problem}", "Do without it, as the sentence says.", []string{"problem", "This server stores no images. Send a link to the image instead."}},
	}},
	{"Limits", []Row{
		{RateLimit, "{user} is over the limit {limit}: the next request is allowed in {resets}.", "Wait for the Retry-After of the answer, or send less often; the setting --limits has other profiles.",
			[]string{"user", "8:acs:..c2f1", "limit", "send, update or delete message: 10 per 10 s in a thread", "resets", "4s"}},
		{WrittenLimit, "{user} has written as much as one user may in an hour: {limit}; the next request is allowed in {resets}.", "Wait for the Retry-After of the answer, or raise --written-per-hour.",
			[]string{"user", "8:acs:..c2f1", "limit", "268435456 bytes written per hour by a user", "resets", "4m0s"}},
		{UserSessions, "{user} has too many live connections open.", "Close some: each tab and each client has one.", []string{"user", "8:acs:..c2f1"}},
		{NodeSessions, "The server has as many live connections open as it may.", "Raise --live-sessions and the limit of open files, or add a server.", nil},
		{Handshakes, "More clients open live connections at this moment than the server keeps in mind.", "Try again in a moment.", nil},
	}},
	{"Live events and web pages", []Row{
		{LiveEnded, "The live connection has ended.", "Allocate a new one; the SDKs do so by themselves.", nil},
		{LiveParams, "The parameters of the live connection are not valid any more[: {problem}].", "Allocate a new connection; the SDKs do so by themselves.", []string{"problem", "expired"}},
		{LiveSid, "The session id in the path of the live connection was used before, has expired, or is of another server.",
			"Do the handshake again; with several servers, long polls of a client must reach the same one.", nil},
		{LiveHost, "The live connection needs the address of the server, and the Host header of the request is none.", "Send the request with the host that the client asked for, or set --public-endpoint.", nil},
		{LiveFrame, "What the live client sent is not of its protocol: {problem}.", "Use the official client, or docs/contract/realtime.md.", []string{"problem", "not a frame"}},
		{LiveCursor, "The cursor of the event stream cannot be used: {problem}.", "Open the stream without a cursor, and list what was missed.", []string{"problem", "it was made for other threads"}},
		{NotWebSocket, "The request is no WebSocket handshake: a proxy may have left out the headers Upgrade and Connection.", "Let the proxy pass WebSockets on.", nil},
		{Registration, "The registration of the live client is not valid: {problem}.", "Use the official client, or docs/contract/realtime.md.", []string{"problem", "not a path of a connection"}},
		{UnknownHost, "The request came for the host {host}, which is not a name of this server: a page of a stranger may point a name at this machine.",
			"Use localhost or an address, or give the name with --tls-names or --public-endpoint.", []string{"host", `"chat.test"`}},
		{UnknownOrigin, "A page of the origin {origin} sent the request, and such pages may not use this development server.",
			"Serve the page from localhost, or give its origin with --cors-origins.", []string{"origin", `"https://app.example.org"`}},
		{OriginLeftOut, "The request was carried out, but a page of the origin {origin} cannot read the answer: --cors-origins does not have it, so the answer has no CORS headers.",
			"Give the origin with --cors-origins.", []string{"origin", `"https://app.example.org"`}},
	}},
	{"The server", []Row{
		{Busy, "The server had too much to do: {problem}.", again, []string{"problem", "the queue of changes is full"}},
		{DiskFull, "The disk of the server has too little free space, so it refuses writes.", "Make room on the disk, or lower --min-free-space; writes then work again by themselves.", nil},
		{StoreAway, "The store could not be read or written[: {problem}].", again + " If it lasts, see whether the database is up.", []string{"problem", "connection refused"}},
		{NoMemory, "No memory became free for the answer: --answer-memory bounds all answers together.", again, nil},
		{Draining, "The server is shutting down.", "Connect again: another server, or this one after its start, will answer.", nil},
		{Internal, "The server failed at this request.", bug, nil},
		{UnknownFate, "The client got no answer, because nobody knows whether the request was carried out: the database went away during the commit.",
			"Look whether it was, and send it again if not; a send with a repeatability id can be repeated at once.", nil},
		{NotWritten, "The answer {status} could not be written to the client: {problem}.", "The request was carried out as the status says; the client has hung up or its network failed.", []string{"status", "201", "problem", "the client has hung up"}},
		{HungUp, "The client hung up before it was answered.", "Give the client a longer timeout, if that was not on purpose.", nil},
		{Dropped, "A fault of this development server closed the connection on purpose: {problem}.", "Remove the fault: `DELETE /dev/faults`.", []string{"problem", "dropped on purpose: not carried out"}},
		{Fault, "A fault of this development server answered {status} on purpose.", "Remove the fault: `DELETE /dev/faults`.", []string{"status", "503"}},
		{Other, "The server refused the request with the status {status}[: {problem}].", "See the answer, and the log for the request's id.", []string{"status", "418", "problem", "I'm a teapot"}},
	}},
}
