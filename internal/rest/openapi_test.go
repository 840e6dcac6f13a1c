package rest

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/rest/wire"
)

// threadMembers is the feature of only 2020-09-21-preview2, whose routes and bodies differ from
// all later ones.
const threadMembers apiver.Feature = "thread members"

// extraOperations lists the operations that this server has at an api-version although
// the OpenAPI file of that version lacks them.
var extraOperations = map[apiver.Version][]string{
	// The real service was recorded to accept this operation (docs/contract/chat.md
	// §4.2).
	"2020-11-01-preview3": {"POST /chat/threads/{chatThreadId}/participants 201"},
}

// neverAnswered lists the success statuses in the OpenAPI files that this server never sends,
// because it refuses the operation with a 501. Another status of the same operation is in the
// table of routes.
var neverAnswered = []string{
	"PATCH /access/entra/assignments 204",
	"PUT /access/entra/assignments/{objectId} 201",
	"PUT /access/teamsExtension/tenants/{tenantId}/assignments/{objectId} 201",
}

// withoutStruct lists the OpenAPI definitions for which package wire has no struct. Package rest
// writes the error bodies without one, the struct ChatRetentionPolicy has the fields of all kinds
// of retention policy, no image is ever sent, and routes of Microsoft Entra and of Teams Phone are
// refused before their bodies are read.
var withoutStruct = []string{
	"CommunicationErrorResponse", "Error", "ErrorDetail", "ErrorResponse", "NoneRetentionPolicy", "ThreadCreationDateRetentionPolicy",
	"ChatImageFile", "UploadChatImageResult",
	"EntraAssignment", "EntraAssignmentCreateOrUpdateRequest", "EntraAssignmentUpdateBulkRequest", "EntraAssignmentsResponse", "EntraExchangeTokenRequest",
	"TeamsExtensionAssignmentCreateOrUpdateRequest", "TeamsExtensionAssignmentResponse", "TeamsExtensionExchangeTokenRequest",
}

// definitions maps the name of each definition in the OpenAPI files to a value of the struct in
// package wire that has its fields.
var definitions = map[string]any{
	"AddChatParticipantsErrors":               wire.ParticipantsErrors{},
	"AddChatParticipantsRequest":              wire.AddChatParticipantsRequest{},
	"AddChatParticipantsResult":               wire.AddChatParticipantsResult{},
	"ChatMessageReadReceipt":                  wire.ChatMessageReadReceipt{},
	"ChatMessageReadReceiptsCollection":       wire.ChatMessageReadReceiptsCollection{},
	"ChatParticipantsCollection":              wire.ChatParticipantsCollection{},
	"ChatThread":                              wire.ChatThreadProperties{}, // ChatThreadProperties in the previews
	"ChatThreadInfo":                          wire.ChatThreadItem{},
	"ChatThreadItem":                          wire.ChatThreadItem{},
	"ChatThreadsInfoCollection":               wire.ChatThreadsItemCollection{},
	"ChatThreadsItemCollection":               wire.ChatThreadsItemCollection{},
	"CreateChatThreadErrors":                  wire.ParticipantsErrors{},
	"SendReadReceiptRequest":                  wire.SendReadReceiptRequest{},
	"SendTypingNotificationRequest":           wire.SendTypingNotificationRequest{},
	"UpdateChatMessageRequest":                wire.UpdateChatMessageRequest{},
	"UpdateChatThreadRequest":                 wire.UpdateChatThreadRequest{},
	"ChatAttachment":                          wire.ChatAttachment{},
	"ChatMessage":                             wire.ChatMessage{},
	"ChatMessageContent":                      wire.ChatMessageContent{},
	"ChatMessagesCollection":                  wire.ChatMessagesCollection{},
	"ChatParticipant":                         wire.ChatParticipant{},
	"ChatRetentionPolicy":                     wire.ChatRetentionPolicy{},
	"ChatThreadProperties":                    wire.ChatThreadProperties{},
	"CommunicationError":                      wire.CommunicationError{},
	"CommunicationIdentifierModel":            wire.CommunicationIdentifierModel{},
	"CommunicationUserIdentifierModel":        wire.CommunicationUserIdentifierModel{},
	"CreateChatThreadRequest":                 wire.CreateChatThreadRequest{},
	"CreateChatThreadResult":                  wire.CreateChatThreadResult{},
	"MessagingPolicy":                         wire.MessagingPolicy{},
	"PolicyViolation":                         wire.PolicyViolation{},
	"MicrosoftTeamsAppIdentifierModel":        wire.MicrosoftTeamsAppIdentifierModel{},
	"MicrosoftTeamsUserIdentifierModel":       wire.MicrosoftTeamsUserIdentifierModel{},
	"PhoneNumberIdentifierModel":              wire.PhoneNumberIdentifierModel{},
	"SendChatMessageRequest":                  wire.SendChatMessageRequest{},
	"SendChatMessageResult":                   wire.SendChatMessageResult{},
	"TeamsExtensionUserIdentifierModel":       wire.TeamsExtensionUserIdentifierModel{},
	"CommunicationIdentity":                   wire.CommunicationIdentity{},
	"CommunicationIdentityAccessToken":        wire.CommunicationIdentityAccessToken{},
	"CommunicationIdentityAccessTokenRequest": wire.CommunicationIdentityAccessTokenRequest{},
	"CommunicationIdentityAccessTokenResult":  wire.CommunicationIdentityAccessTokenResult{},
	"CommunicationIdentityCreateRequest":      wire.CommunicationIdentityCreateRequest{},
	"CommunicationIdentityToken":              wire.CommunicationIdentityToken{},
	"CommunicationIdentityUpdateRequest":      wire.CommunicationIdentityUpdateRequest{},
	"CommunicationTokenRequest":               wire.CommunicationTokenRequest{},
	"TeamsUserAccessTokenRequest":             wire.TeamsUserAccessTokenRequest{},
	"TeamsUserExchangeTokenRequest":           wire.TeamsUserExchangeTokenRequest{},
}

// memberDefinitions maps the names of definitions in the OpenAPI file of 2020-09-21-preview2 to
// structs of package wire. Some of these names mean other definitions in later versions.
var memberDefinitions = map[string]any{
	"AddChatThreadMembersRequest": wire.AddMembersRequest{},
	"ChatMessage":                 wire.PlainMessage{},
	"ChatMessagesCollection":      wire.PlainMessagesCollection{},
	"ChatThread":                  wire.ThreadWithMembers{},
	"ChatThreadInfo":              wire.ThreadInfo{},
	"ChatThreadMember":            wire.Member{},
	"ChatThreadMembersCollection": wire.MembersCollection{},
	"ChatThreadsInfoCollection":   wire.ThreadInfosCollection{},
	"CreateChatThreadRequest":     wire.CreateThreadWithMembersRequest{},
	"IndividualStatusResponse":    wire.IndividualStatus{},
	"MultiStatusResponse":         wire.MultiStatus{},
	"ReadReceipt":                 wire.ChatMessageReadReceipt{},
	"ReadReceiptsCollection":      wire.ChatMessageReadReceiptsCollection{},
	"SendChatMessageRequest":      wire.SendPlainMessageRequest{},
	"SendChatMessageResult":       wire.SendChatMessageResult{},
	"SendReadReceiptRequest":      wire.SendReadReceiptRequest{},
	"UpdateChatMessageRequest":    wire.UpdatePlainMessageRequest{},
	"UpdateChatThreadRequest":     wire.UpdateChatThreadRequest{},
}

// extensions lists the response fields that Confab adds to definitions of the OpenAPI files
// (docs/contract/chat.md §3.8), by the name of the definition. No OpenAPI file has these fields.
var extensions = map[string][]string{
	"ChatThreadInfo": {"lastMessage", "unread"}, // ChatThreadItem in the previews of 2020
	"ChatThreadItem": {"lastMessage", "unread"},
}

// extraParameters lists the query parameters that this server reads although no OpenAPI file has
// them: syncState, which is in links to the next page (docs/contract/chat.md §3.2), and expand, an
// extension of Confab (docs/contract/chat.md §3.8).
var extraParameters = []string{"expand", "syncState"}

// TestQueryParametersAreThoseOfTheOpenAPIFiles checks that the server reads all query parameters
// that the OpenAPI files have for chat and, apart from extraParameters, no others.
func TestQueryParametersAreThoseOfTheOpenAPIFiles(t *testing.T) {
	want := slices.Clone(extraParameters)
	eachSpec(t, func(t *testing.T, fam *api, v apiver.Version, s swagger) {
		for _, methods := range s.Paths {
			for _, operation := range methods {
				for _, p := range operation.Parameters {
					if p.In == "query" && slices.Contains(extraParameters, p.Name) {
						t.Errorf("the OpenAPI file has the parameter %s", p.Name)
					}
					if p.In == "query" && fam == chat && !slices.Contains(want, p.Name) {
						want = append(want, p.Name)
					}
				}
			}
		}
	})
	want = append(want, "api-version") // add this parameter, which the OpenAPI files include by a reference
	got := slices.Clone(parameters)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(slices.Compact(want), got); diff != "" {
		t.Errorf("query parameters (-files +server):\n%s", diff)
	}
}

type swagger struct {
	Paths map[string]map[string]struct {
		Responses  map[string]any
		Parameters []parameter
	}
	Definitions map[string]schema
}

type parameter struct {
	In, Name string
	Schema   schema // of a body
}

type schema struct {
	Ref                  string `json:"$ref"`
	Type, Format         string
	Enum                 []string
	Required             []string
	Properties           map[string]schema
	AdditionalProperties *schema
	Items                *schema
	AllOf                []schema
}

func readSwagger(t *testing.T, elem ...string) (s swagger) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "api"}, elem...)...))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// eachSpec runs f as a subtest for each api-version that has an OpenAPI file.
func eachSpec(t *testing.T, f func(t *testing.T, api *api, v apiver.Version, s swagger)) {
	for name, fam := range map[string]*api{"chat": chat, "identity": identity} {
		for _, v := range fam.versions.Versions() {
			t.Run(name+"/"+string(v), func(t *testing.T) {
				f(t, fam, v, readSwagger(t, name, string(v)+".json"))
			})
		}
	}
}

func TestRoutesAreThoseOfTheOpenAPIFiles(t *testing.T) {
	used := map[string]bool{} // the entries of neverAnswered that were found in an OpenAPI file
	defer func() {
		for _, operation := range neverAnswered {
			if !used[operation] {
				t.Errorf("no OpenAPI file has %s", operation)
			}
		}
	}()
	eachSpec(t, func(t *testing.T, fam *api, v apiver.Version, s swagger) {
		var want, got []string
		for p, methods := range s.Paths {
			for method, operation := range methods {
				for status := range operation.Responses {
					if status[0] == '2' {
						want = append(want, strings.ToUpper(method)+" "+p+" "+status)
					}
				}
			}
		}
		for _, row := range routes {
			if row.api.versions == fam.versions && row.in.Has(v) {
				got = append(got, row.method+" "+row.path+" "+strconv.Itoa(row.status))
			}
		}
		if fam == chat {
			want = append(want, extraOperations[v]...)
		}
		want = slices.DeleteFunc(want, func(operation string) bool {
			never := slices.Contains(neverAnswered, operation)
			used[operation] = used[operation] || never
			return never
		})
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("operations (-file +routes):\n%s", diff)
		}
	})
}

func TestDefinitionsAreThoseOfTheOpenAPIFiles(t *testing.T) {
	var used, usedMembers []string
	eachSpec(t, func(t *testing.T, fam *api, v apiver.Version, s swagger) {
		definitions, used := definitions, &used
		if fam == chat && threadMembers.Has(v) {
			definitions, used = memberDefinitions, &usedMembers
		}
		for name, def := range objects(t, s) {
			*used = append(*used, name)
			if slices.Contains(withoutStruct, name) {
				continue
			}
			in, ok := definitions[name]
			if !ok {
				t.Errorf("wire has no %s", name)
				continue
			}
			want := slices.AppendSeq(slices.Clone(extensions[name]), maps.Keys(def.Properties))
			slices.Sort(want)
			if diff := cmp.Diff(want, fieldsAt(reflect.TypeOf(in), v)); diff != "" {
				t.Errorf("properties of %s (-file +wire):\n%s", name, diff)
			}
			for _, field := range required(reflect.TypeOf(in), v) {
				if !slices.Contains(def.Required, field) {
					t.Errorf("%s of %s is required in wire but not in the file", field, name)
				}
			}
		}
	})
	used = append(used, usedMembers...)
	for _, names := range [][]string{slices.Collect(maps.Keys(definitions)), withoutStruct} {
		for _, name := range names {
			if !slices.Contains(used, name) {
				t.Errorf("no OpenAPI file defines %s", name)
			}
		}
	}
	for name := range memberDefinitions {
		if !slices.Contains(usedMembers, name) {
			t.Errorf("the OpenAPI file of 2020-09-21-preview2 does not define %s", name)
		}
	}
}

// objects returns the definitions of objects in an OpenAPI file and in the common file
// to which its identifiers refer. It merges the fields of all kinds of retention policy
// into one definition.
func objects(t *testing.T, s swagger) map[string]schema {
	all := map[string]schema{}
	add := func(defs map[string]schema) {
		for name, def := range defs {
			if def.Enum == nil && def.Ref == "" {
				all[name] = def
			}
		}
	}
	// At version 2025-03-15, the identifiers are defined in a newer common file than the errors. If
	// both files define a name, use the definition in the file of the identifiers.
	for _, alias := range []string{"CommunicationError", "CommunicationIdentifierModel"} {
		if ref := s.Definitions[alias].Ref; ref != "" {
			add(common(t, ref))
		}
	}
	// The preview versions take the definition of errors from a common file. The definitions of
	// identifiers in the same file do not apply to 2020-11-01-preview3, where an identifier is a
	// string.
	if ref := s.Definitions["Error"].Ref; ref != "" {
		add(map[string]schema{"CommunicationError": common(t, ref)["CommunicationError"]})
	}
	add(s.Definitions)
	if policy, ok := all["ChatRetentionPolicy"]; ok {
		for _, def := range s.Definitions {
			for _, of := range def.AllOf {
				if strings.HasSuffix(of.Ref, "/ChatRetentionPolicy") {
					maps.Copy(policy.Properties, def.Properties)
				}
			}
		}
	}
	return all
}

// common returns the definitions of the OpenAPI file to which the reference ref points.
func common(t *testing.T, ref string) map[string]schema {
	t.Helper()
	file, _, _ := strings.Cut(ref, "#")
	return readSwagger(t, "common", filepath.Base(filepath.Dir(file))+".json").Definitions
}

// fieldsAt returns the sorted JSON names of the fields that a struct has at the
// api-version.
func fieldsAt(t reflect.Type, v apiver.Version) []string {
	return fieldNames(t, v, func(reflect.StructField) bool { return true })
}

// required returns the JSON names of a struct's required fields at the api-version.
func required(t reflect.Type, v apiver.Version) []string {
	return fieldNames(t, v, func(f reflect.StructField) bool { return f.Tag.Get("required") == "true" })
}

func fieldNames(t reflect.Type, v apiver.Version, want func(reflect.StructField) bool) []string {
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		if apiver.Feature(f.Tag.Get("in")).Has(v) && want(f) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestIdempotencyHeadersAreThoseOfTheOpenAPIFiles checks that, for the creation of a thread, the
// header with the idempotency token has the name that the OpenAPI file of each api-version gives
// it.
func TestIdempotencyHeadersAreThoseOfTheOpenAPIFiles(t *testing.T) {
	eachSpec(t, func(t *testing.T, fam *api, v apiver.Version, s swagger) {
		if fam != chat {
			return
		}
		var want, got []string
		for _, p := range s.Paths["/chat/threads"]["post"].Parameters {
			if p.In == "header" {
				want = append(want, http.CanonicalHeaderKey(p.Name))
			}
		}
		for _, h := range idempotencyHeaders {
			if h.in.Has(v) {
				got = append(got, h.name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-file +server):\n%s", diff)
		}
	})
}
