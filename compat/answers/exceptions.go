package main

import (
	"regexp"
	"strings"
)

// This file has all that an answer may be beside what its OpenAPI file says, with the reasons.
// Sections are those of docs/contract.

// aliases are names that stand for another version.
var aliases = map[string]string{
	"chat 2021-09-27":     "2021-09-07",         // a wrong date in the Java SDK (api-versions.md §6)
	"identity 2021-11-01": "2021-10-31-preview", // has no file and the same shapes (identity.md §2)
}

// livePaths are the second segments of paths below /chat that carry live events (realtime.md).
var livePaths = []string{"events", "config"}

// errorRow is a row of the contract's error table.
type errorRow struct {
	codes []string
	// beforeOperation has the status if a request can get it whose path, method or api-version
	// the file does not have.
	beforeOperation []int
	because         string
}

// errorTable is the contract's error table by status. Most of the OpenAPI files of the chat API
// have 401, 403, 429 and 503 alone.
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

// envelope is how the real service was recorded to send refusals at some versions, beside what
// the files say. Answers have both, so that SDKs find code and message (chat.md §7.1).
type envelope struct {
	name     string
	versions []string
	key      string // of the member beside "error"; empty: the body itself has flatMembers, and no "error"
	schema   string // in contractSchemas
}

// flatMembers are the members of the flat envelope, beside those of the file in other letters.
var flatMembers = []string{"Code", "Message", "InnerErrors"}

var envelopes = []envelope{
	{"envelope: flat", []string{"2020-09-21-preview2"}, "", "flat"},
	{"envelope: Error", []string{"2020-11-01-preview3", "2021-01-27-preview4"}, "Error", "recorded"},
	{"envelope: ChatError", []string{"2021-03-01-preview5"}, "ChatError", "recorded"},
	{"envelope: CommunicationError", nil, "CommunicationError", "recorded"}, // all later ones
}

// commonErrors is the schema of refusals for files that have none, and for requests that no file
// knows.
const commonErrors = "common/2021-03-07#/definitions/CommunicationErrorResponse"

// contractSchemas returns the schemas of what the OpenAPI files do not have.
func contractSchemas() map[string]any {
	text := map[string]any{"type": "string", "minLength": 1}
	none := map[string]any{"type": "array", "maxItems": 0}
	return map[string]any{
		// docs/contract/chat.md §7.1: Message is left out when there is none.
		"recorded": map[string]any{
			"type": "object", "required": []any{"Code", "Details"}, "additionalProperties": false,
			"properties": map[string]any{"Code": text, "Message": text, "Details": none},
		},
		"flat": map[string]any{
			"type": "object", "required": []any{"Code"}, "additionalProperties": false,
			"properties": map[string]any{"Code": text, "Message": text, "InnerErrors": none},
		},
	}
}

// otherPath is a path that the server has beside that of the file.
type otherPath struct {
	name, api, version, method string // any version if it is empty
	because                    string
	// rename returns the path of the file for such a path, or nil.
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

// lettersOfReceipts returns the row for the path of receipts, which the real service was recorded
// to answer in other letters too than those of the file (chat.md §8).
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

// stricter names members that are always there although the file does not require them, because a
// client of that time reads them.
var stricter = []struct {
	file, definition string
	required         []any
	words            map[string][]any // all values of a member
	because          string
}{
	{"chat/2020-09-21-preview2", "ChatMessage", []any{"id", "type", "priority", "version", "content", "createdOn", "senderId"},
		map[string][]any{"type": {"Text", "RichText/Html", "ThreadActivity/AddMember", "ThreadActivity/DeleteMember", "ThreadActivity/TopicUpdate"}},
		"recorded; the file requires nothing (chat.md §8)"},
	{"chat/2020-09-21-preview2", "ChatMessagesCollection", []any{"value"}, nil, "recorded"},
	{"chat/2020-09-21-preview2", "ChatThread", []any{"id", "topic", "createdOn", "createdBy", "members"}, nil, "recorded (chat.md §8)"},
	{"chat/2020-09-21-preview2", "ChatThreadInfo", []any{"id", "topic", "isDeleted"}, nil, "recorded (chat.md §8)"},
	{"chat/2020-09-21-preview2", "ChatThreadsInfoCollection", []any{"value"}, nil, "recorded"},
	{"chat/2020-09-21-preview2", "ChatThreadMember", []any{"id", "shareHistoryTime"}, nil, "recorded (chat.md §8)"},
	{"chat/2020-09-21-preview2", "ChatThreadMembersCollection", []any{"value"}, nil, "as the other lists"},
	{"chat/2020-09-21-preview2", "IndividualStatusResponse", []any{"id", "statusCode", "type"}, map[string][]any{"type": {"Thread", "ThreadMember"}}, "recorded (chat.md §8)"},
	{"chat/2020-09-21-preview2", "MultiStatusResponse", []any{"multipleStatus"}, nil, "recorded"},
	{"chat/2020-09-21-preview2", "ReadReceipt", []any{"senderId", "chatMessageId", "readOn"}, nil, "recorded"},
	{"chat/2020-09-21-preview2", "ReadReceiptsCollection", []any{"value"}, nil, "recorded"},
	{"chat/2020-09-21-preview2", "SendChatMessageResult", []any{"id"}, nil, "as at all later versions"},
	{"common/2021-03-07", "CommunicationIdentifierModel", []any{"rawId"}, nil, "recorded, and .NET fails without it (identity.md §7)"},
	{"common/2022-07-13", "CommunicationIdentifierModel", []any{"rawId"}, nil, "as above"},
	{"common/2023-11-15", "CommunicationIdentifierModel", []any{"rawId"}, nil, "as above"},
	{"common/2025-06-30", "CommunicationIdentifierModel", []any{"rawId"}, nil, "as above"},
}

// otherBodies are bodies that the file does not have.
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

// exception is a violation that is accepted.
type exception struct {
	name      string
	api       string
	versions  []string // nil: all
	operation string   // empty: all
	status    int      // 0: all
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
	{
		name: "refusal without a message", api: "chat", what: regexp.MustCompile(`^at "/error": missing property 'message'$`),
		because: "the files require it, and the real service leaves it out where there is none (chat.md §7.1)",
	},
}
