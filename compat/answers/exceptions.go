package main

import (
	"regexp"
	"strings"
)

// This file lists all differences from the OpenAPI files that the judge accepts in responses, with
// the reasons. The reasons cite sections of docs/contract.

// aliases maps names of api-versions that have no OpenAPI file to the version whose file applies.
var aliases = map[string]string{
	"chat 2021-09-27":     "2021-09-07",         // the Java SDK sends a wrong date (docs/contract/api-versions.md §6)
	"identity 2021-11-01": "2021-10-31-preview", // this version has no OpenAPI file, but the same bodies as the preview (docs/contract/identity.md §2)
}

// livePaths lists the segments that follow /chat in the paths of live events
// (docs/contract/realtime.md).
var livePaths = []string{"events", "config"}

// errorRow is a row of errorTable: the error codes that a response with one status may have.
type errorRow struct {
	codes []string
	// beforeOperation contains the status if the server may send it for a request whose path,
	// method or api-version is not in the OpenAPI file.
	beforeOperation []int
	because         string
}

// errorTable lists the errors that docs/contract allows, by status. Most OpenAPI files of the chat
// API list only 401, 403, 429 and 503.
var errorTable = map[int]errorRow{
	400: {[]string{"BadRequest", "ValidationError", "ApiVersionUnspecified", "UnsupportedApiVersion", "AmbiguousApiVersion"}, []int{400},
		"recorded for malformed ids and bodies (chat.md §7.2, identity.md §3), and for an api-version (api-versions.md §7)"},
	401: {[]string{"Unauthorized", "Denied", "IdentityNotOwned", "InvalidAccessToken"}, nil,
		"identity.md §3.2, §3.6 and §4.5; the chat API sends no body"},
	403: {[]string{"Forbidden"}, []int{403}, "chat.md §7.2; a development server refuses pages of other machines on every path"},
	404: {[]string{"NotFound"}, []int{404}, "recorded for unknown threads (chat.md §7.2), and ours for unknown paths"},
	405: {[]string{"MethodNotAllowed"}, []int{405}, "RFC 9110 §15.5.6, for a method that the path does not have"},
	408: {[]string{"RequestTimeout"}, nil, "RFC 9110 §15.5.9, for a body that does not arrive"},
	413: {[]string{"RequestEntityTooLarge"}, nil, "RFC 9110 §15.5.14, for a body above --max-body-size"},
	415: {[]string{"UnsupportedMediaType"}, nil, "chat.md §1 and §7.2"},
	429: {[]string{"TooManyRequests"}, nil, "chat.md §7.2 and §9"},
	500: {[]string{"InternalServerError"}, nil, "chat.md §7.2"},
	501: {[]string{"NotImplemented"}, nil, "images, and assignments of identities: a server without Microsoft's tenants has none"},
	503: {[]string{"ServiceUnavailable"}, nil, "chat.md §7.2"},
}

// envelope describes a form in which the real service was recorded to send refusals at some
// versions. The OpenAPI files define another form. The answers of this server have both forms
// in one body, so that all SDKs find the code and the message (docs/contract/chat.md §7.1).
type envelope struct {
	name     string
	versions []string
	key      string // name of the second member of the body, beside "error"; "": the body has flatMembers and no "error"
	schema   string // in contractSchemas
}

// flatMembers lists members of the body of a refusal that has no member "error". They repeat
// members that the OpenAPI file has, in other letter case.
var flatMembers = []string{"Code", "Message", "InnerErrors"}

var envelopes = []envelope{
	{"envelope: flat", []string{"2020-09-21-preview2"}, "", "flat"},
	{"envelope: Error", []string{"2020-11-01-preview3", "2021-01-27-preview4"}, "Error", "recorded"},
	{"envelope: ChatError", []string{"2021-03-01-preview5"}, "ChatError", "recorded"},
	{"envelope: CommunicationError", nil, "CommunicationError", "recorded"}, // all later api-versions
}

// commonErrors is the location of the schema of refusals that applies if an OpenAPI file has no
// such schema, or if a request is in no file.
const commonErrors = "common/2021-03-07#/definitions/CommunicationErrorResponse"

// contractSchemas returns schemas for bodies that the OpenAPI files do not describe.
func contractSchemas() map[string]any {
	text := map[string]any{"type": "string", "minLength": 1}
	none := map[string]any{"type": "array", "maxItems": 0}
	return map[string]any{
		// Message is optional, because the service omits it when an error has no message
		// (docs/contract/chat.md §7.1).
		"recorded": map[string]any{
			"type": "object", "required": []any{"Code", "Details"}, "additionalProperties": false,
			"properties": map[string]any{"Code": text, "Message": text, "Details": none},
		},
		"flat": map[string]any{
			"type": "object", "required": []any{"Code"}, "additionalProperties": false,
			"properties": map[string]any{"Code": text, "Message": text, "InnerErrors": none},
		},
		// InnerErrors is required, because a 400 always has this member (docs/contract/chat.md
		// §7.1).
		"flat 400": map[string]any{
			"type": "object", "required": []any{"Code", "InnerErrors"}, "additionalProperties": false,
			"properties": map[string]any{"Code": text, "Message": text, "InnerErrors": none},
		},
	}
}

// otherPath is a second path for an operation, besides the path in the OpenAPI file.
type otherPath struct {
	name, api, version, method string // an empty version means every api-version
	because                    string
	// rename returns the operation's path in the OpenAPI file if segments is the second path of the
	// operation, and otherwise nil.
	rename func(segments []string) []string
}

var otherPaths = []otherPath{
	{
		name: "POST /participants for :add", api: "chat", version: "2020-11-01-preview3", method: "POST",
		because: "recorded from the real service (chat.md §4.2)",
		rename: func(s []string) []string {
			if len(s) == 4 && s[3] == "participants" {
				return append(s[:4:4], ":add")
			}
			return nil
		},
	},
	lettersOfReceipts("", "GET", "readReceipts"), lettersOfReceipts("", "POST", "readReceipts"),
	lettersOfReceipts("2020-09-21-preview2", "GET", "readreceipts"), lettersOfReceipts("2020-09-21-preview2", "POST", "readreceipts"),
}

// lettersOfReceipts returns an otherPath for the path of read receipts. In recordings, the real
// service also accepts this path in another letter case than in the OpenAPI file
// (docs/contract/chat.md §8).
func lettersOfReceipts(version, method, inFile string) otherPath {
	return otherPath{
		name: "readreceipts in other letters", api: "chat", version: version, method: method, because: "recorded from the real service (chat.md §8)",
		rename: func(s []string) []string {
			if len(s) == 4 && strings.EqualFold(s[3], inFile) && s[3] != inFile {
				return append(s[:3:3], inFile)
			}
			return nil
		},
	}
}

// strictRow names members that a response must have, or must not have, although the OpenAPI files
// make them optional. The reason is that a client of that time reads the member, or that this
// server never sends it.
type strictRow struct {
	folder, from, to string   // folder of the OpenAPI files, and their first and last version; an empty field to means all later versions
	definitions      []string // names that the object's definition has in the OpenAPI files
	required         []any
	unless           map[string][]any // by member: if the member has one of these values, the object may lack the required members
	forbidden        []string
	words            map[string][]any  // the only values that each member may have, by the member's name
	forms            map[string]string // the pattern that the date in each member must match, by the member's name
	because          string
}

const (
	preview2 = "2020-09-21-preview2"
	preview3 = "2020-11-01-preview3"
	preview4 = "2021-01-27-preview4"
)

// systemTypes lists the types of system messages, which no user has sent.
var systemTypes = map[string][]any{"type": {"topicUpdated", "participantAdded", "participantRemoved"}}

var stricter = []strictRow{
	{folder: "chat", from: preview2, to: preview2, definitions: []string{"ChatMessage"}, required: []any{"id", "type", "priority", "version", "content", "createdOn", "senderId"},
		words:   map[string][]any{"type": {"Text", "RichText/Html", "ThreadActivity/AddMember", "ThreadActivity/DeleteMember", "ThreadActivity/TopicUpdate"}},
		because: "recorded; the file requires nothing (chat.md §8)"},
	{folder: "chat", from: preview2, to: preview2, definitions: []string{"ChatMessage"}, required: []any{"senderDisplayName"},
		unless:  map[string][]any{"type": {"ThreadActivity/AddMember", "ThreadActivity/DeleteMember", "ThreadActivity/TopicUpdate"}},
		because: "recorded, empty if the sender gave none (chat.md §4.1)"},
	{folder: "chat", from: preview2, to: preview2, definitions: []string{"ChatMessagesCollection"}, required: []any{"value"}, because: "recorded"},
	{folder: "chat", from: preview2, to: preview2, definitions: []string{"ChatThread"}, required: []any{"id", "topic", "createdOn", "createdBy", "members"}, because: "recorded (chat.md §8)"},
	{folder: "chat", from: preview2, to: preview2, definitions: []string{"ChatThreadInfo"}, required: []any{"id", "topic", "isDeleted"}, because: "recorded (chat.md §8)"},
	{folder: "chat", from: preview2, to: preview2, definitions: []string{"ChatThreadsInfoCollection"}, required: []any{"value"}, because: "recorded"},
	{folder: "chat", from: preview2, to: preview2, definitions: []string{"ChatThreadMember"}, required: []any{"id", "shareHistoryTime"}, because: "recorded (chat.md §8)"},
	{folder: "chat", from: preview2, to: preview2, definitions: []string{"ChatThreadMembersCollection"}, required: []any{"value"}, because: "as the other lists"},
	{folder: "chat", from: preview2, to: preview2, definitions: []string{"IndividualStatusResponse"}, required: []any{"id", "statusCode", "type"},
		words: map[string][]any{"type": {"Thread", "ThreadMember"}}, because: "recorded (chat.md §8)"},
	{folder: "chat", from: preview2, to: preview2, definitions: []string{"MultiStatusResponse"}, required: []any{"multipleStatus"}, because: "recorded"},
	{folder: "chat", from: preview2, to: preview2, definitions: []string{"ReadReceipt"}, required: []any{"senderId", "chatMessageId", "readOn"}, because: "recorded"},
	{folder: "chat", from: preview2, to: preview2, definitions: []string{"ReadReceiptsCollection"}, required: []any{"value"}, because: "recorded"},
	{folder: "chat", from: preview2, to: preview2, definitions: []string{"SendChatMessageResult"}, required: []any{"id"}, because: "as at all later versions"},

	{folder: "chat", from: preview3, definitions: []string{"CreateChatThreadResult"}, required: []any{"chatThread"}, because: "a 201 has made a thread (chat.md §3.1)"},
	{folder: "chat", from: preview2, definitions: []string{"ChatThreadItem", "ChatThreadInfo"}, required: []any{"lastMessageReceivedOn"},
		because: "it is the time of the creation at first (chat.md §3.2)"},
	{folder: "chat", from: preview3, definitions: []string{"ChatParticipant"}, required: []any{"shareHistoryTime"}, because: "recorded: 1970 if nobody gave one (chat.md §0)"},
	{folder: "chat", from: preview3, definitions: []string{"ChatMessage"}, required: []any{"content"}, because: "recorded, of deleted messages too (chat.md §0)"},
	{folder: "chat", from: preview3, to: preview3, definitions: []string{"ChatMessage"}, required: []any{"senderId", "senderDisplayName"}, unless: systemTypes,
		because: "recorded, the name empty if the sender gave none (chat.md §4.1)"},
	{folder: "chat", from: preview4, definitions: []string{"ChatMessage"}, required: []any{"senderCommunicationIdentifier", "senderDisplayName"}, unless: systemTypes,
		because: "as above"},
	{folder: "chat", from: "2024-03-15-preview", definitions: []string{"ChatThreadProperties"}, required: []any{"retentionPolicy"},
		because: "always there at versions that know it (chat.md §3.6)"},
	{folder: "chat", from: "2024-06-05-preview", to: "2024-06-05-preview", definitions: []string{"ChatThreadProperties"}, forbidden: []string{"messagingPolicy"},
		because: "this server has no such policy"},
	{folder: "chat", from: "2024-06-05-preview", to: "2024-06-05-preview", definitions: []string{"ChatMessage"}, forbidden: []string{"policyViolation"},
		because: "nothing here censors messages"},

	{folder: "common", from: "2021-03-07", definitions: []string{"CommunicationIdentifierModel"}, required: []any{"rawId"}, because: "recorded, and .NET fails without it (identity.md §7)"},
	{folder: "common", from: "2022-07-13", definitions: []string{"CommunicationIdentifierModel"}, required: []any{"kind"},
		because: "the files call it required in responses (identity.md §7)"},

	{folder: "identity", from: "2020-07-20-preview2", definitions: []string{"CommunicationIdentityToken", "CommunicationIdentityAccessToken"}, required: []any{"expiresOn"},
		forms: map[string]string{"expiresOn": `^[^.]*(\.\d{0,6}[1-9])?\+00:00$`}, because: "rule 9 of identity.md §1"},
}

// unservedRow describes operations that the server always refuses, or that it refuses because the
// tests lack something, such as a token of Microsoft.
type unservedRow struct {
	api     string
	path    *regexp.Regexp
	status  int
	always  bool // true if the server always refuses the operations that match path
	because string
}

// unserved lists the operations that the server need not carry out in any record, even with the
// flag -every.
var unserved = []unservedRow{
	{"chat", regexp.MustCompile(`/images\b`), 501, true, "it stores no images"},
	{"identity", regexp.MustCompile(`/assignments\b`), 501, true, "it has no tenants of Microsoft"},
	{"identity", regexp.MustCompile(`/:exchangeAccessToken$`), 401, false, "it needs a token of Microsoft Entra ID, or of an issuer that the server trusts"},
}

// codesBeforeOperation lists the error codes for requests whose operation is not in the OpenAPI
// file.
var codesBeforeOperation = []string{"UnsupportedApiVersion", "MethodNotAllowed"}

// faultNames maps operations to their names in fault rules, with which tests make the server fail
// (docs/testing.md).
var faultNames = map[string]string{
	"POST /chat/threads":                                      "create thread",
	"GET /chat/threads":                                       "list threads",
	"GET /chat/threads/{}":                                    "get thread",
	"PATCH /chat/threads/{}":                                  "update thread",
	"DELETE /chat/threads/{}":                                 "delete thread",
	"POST /chat/threads/{}/messages":                          "send message",
	"GET /chat/threads/{}/messages":                           "list messages",
	"GET /chat/threads/{}/messages/{}":                        "get message",
	"PATCH /chat/threads/{}/messages/{}":                      "update message",
	"DELETE /chat/threads/{}/messages/{}":                     "delete message",
	"GET /chat/threads/{}/participants":                       "list participants",
	"POST /chat/threads/{}/participants/:add":                 "add participants",
	"POST /chat/threads/{}/participants/:update":              "update participant",
	"POST /chat/threads/{}/participants/:remove":              "remove participant",
	"DELETE /chat/threads/{}/participants/{}":                 "remove participant",
	"GET /chat/threads/{}/members":                            "list participants",
	"POST /chat/threads/{}/members":                           "add participants",
	"DELETE /chat/threads/{}/members/{}":                      "remove participant",
	"POST /chat/threads/{}/readReceipts":                      "send read receipt",
	"GET /chat/threads/{}/readReceipts":                       "list read receipts",
	"POST /chat/threads/{}/readreceipts":                      "send read receipt",
	"GET /chat/threads/{}/readreceipts":                       "list read receipts",
	"POST /chat/threads/{}/typing":                            "send typing notification",
	"POST /chat/threads/{}/images":                            "upload image",
	"DELETE /chat/threads/{}/images/{}":                       "delete image",
	"GET /chat/threads/{}/images/{}/view/{}":                  "get image",
	"POST /identities":                                        "create user",
	"GET /identities/{}":                                      "get user",
	"PATCH /identities/{}":                                    "revoke tokens",
	"DELETE /identities/{}":                                   "delete user",
	"POST /identities/{}/token":                               "issue token",
	"POST /identities/{}/:issueAccessToken":                   "issue token",
	"POST /identities/{}/:revokeAccessTokens":                 "revoke tokens",
	"POST /teamsUser/:exchangeAccessToken":                    "exchange token",
	"POST /access/entra/:exchangeAccessToken":                 "exchange token",
	"POST /access/teamsExtension/:exchangeAccessToken":        "exchange token",
	"GET /access/entra/assignments":                           "list assignments",
	"PATCH /access/entra/assignments":                         "update assignments",
	"GET /access/entra/assignments/{}":                        "get assignment",
	"PUT /access/entra/assignments/{}":                        "put assignment",
	"DELETE /access/entra/assignments/{}":                     "delete assignment",
	"GET /access/teamsExtension/tenants/{}/assignments/{}":    "get assignment",
	"PUT /access/teamsExtension/tenants/{}/assignments/{}":    "put assignment",
	"DELETE /access/teamsExtension/tenants/{}/assignments/{}": "delete assignment",
}

// otherBodies lists schemas of response bodies that the real service sends although its OpenAPI
// file defines no body.
var otherBodies = []struct {
	name, api, version, operation string
	status                        int
	schema                        string
	because                       string
}{
	{
		"207 with a body", "chat", "2020-09-21-preview2", "POST /chat/threads/{chatThreadId}/members", 207,
		"chat/2020-09-21-preview2#/definitions/MultiStatusResponse", "recorded from the real service, and needed by the SDKs of that time (chat.md §8)",
	},
}

// exception describes violations of the OpenAPI files that the judge accepts.
type exception struct {
	name      string
	api       string
	versions  []string // api-versions to which the exception applies; nil: all versions
	operation string   // operation to which the exception applies; empty: all operations
	status    int      // 0: all statuses
	what      *regexp.Regexp
	because   string
}

func (x exception) matches(v violation) bool {
	version := x.versions == nil
	for _, name := range x.versions {
		version = version || name == v.Version
	}
	return version && x.api == v.API && (x.operation == "" || x.operation == v.Operation) && (x.status == 0 || x.status == v.Status) && x.what.MatchString(v.What)
}

var exceptions = []exception{
	noMessage("POST /chat/threads/{chatThreadId}/readReceipts", 404, "read receipt refused"),
	noMessage("POST /chat/threads/{chatThreadId}/readreceipts", 404, "read receipt refused"),
	noMessage("POST /chat/threads", 400, "create with over 200 participants"),
	noMessage("DELETE /chat/threads/{chatThreadId}", 400, "malformed thread id"),
	{
		name: "unknown thread without a recorded message", api: "chat", versions: []string{preview2}, operation: "GET /chat/threads/{chatThreadId}", status: 404,
		what: regexp.MustCompile(`^the recorded envelope has no Message$`), because: "recorded (chat.md §7.2)",
	},
}

// noMessage returns the exception for a refusal without a message. The OpenAPI files require a
// message, but the real service sends none in the cases that docs/contract/chat.md §7.2 lists.
func noMessage(operation string, status int, which string) exception {
	return exception{
		name: "refusal without a message: " + which, api: "chat", operation: operation, status: status,
		what: regexp.MustCompile(`^at "(/error)?": missing property 'message'$`), because: "chat.md §7.2: " + which,
	}
}
