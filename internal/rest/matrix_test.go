package rest

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// callers are the columns of the matrix: the users who call each operation. The caller "creator"
// created the thread, and "sender" sent the message that the requests refer to. The caller "later"
// joined after that message and may read the whole history; "removed" was removed from the thread.
var callers = []string{"none", "expired", "revoked", "voip", "join", "limited", "stranger", "removed", "later", "participant", "sender", "creator"}

// matrix holds the expected HTTP status of each operation for each caller (docs/contract/chat.md
// §7.3, docs/contract/identity.md §6.5). The callers "none" to "limited" have no token, an invalid
// token, or a token with other scopes than chat; "join" and "limited" are participants. A removed
// participant may only read the history up to its removal.
var matrix = []struct {
	operation, method, path, body string
	statuses                      string
}{
	//                                                              none exp  rev  voip join lim  strg rmvd late part send crea
	{"create thread", "POST", "/chat/threads", `{"topic":"t"}`, "    401  401  401  403  403  403  201  201  201  201  201  201"},
	{"list threads", "GET", "/chat/threads", "", "                   401  401  401  403  200  200  200  200  200  200  200  200"},
	{"get thread", "GET", "/chat/threads/T", "", "                   401  401  401  403  200  200  403  403  200  200  200  200"},
	{"update thread", "PATCH", "/chat/threads/T", `{"topic":"u"}`, " 401  401  401  403  403  403  403  403  204  204  204  204"},
	{"send message", "POST", "/chat/threads/T/messages", `{"content":"c"}`,
		"                                                           401  401  401  403  201  201  403  403  201  201  201  201"},
	{"list messages", "GET", "/chat/threads/T/messages", "", "       401  401  401  403  200  200  403  200  200  200  200  200"},
	{"get message", "GET", "/chat/threads/T/messages/M", "", "       401  401  401  403  200  200  403  200  200  200  200  200"},
	{"update message", "PATCH", "/chat/threads/T/messages/M", `{"content":"d"}`,
		"                                                           401  401  401  403  403  403  403  403  403  403  204  403"},
	{"list participants", "GET", "/chat/threads/T/participants", "", "401  401  401  403  200  200  403  403  200  200  200  200"},
	{"add participants", "POST", "/chat/threads/T/participants/:add", `{"participants":[{"communicationIdentifier":{"rawId":"NEW"}}]}`,
		"                                                           401  401  401  403  201  403  403  403  201  201  201  201"},
	{"update participant", "POST", "/chat/threads/T/participants/:update", `{"communicationIdentifier":{"rawId":"LATER"},"displayName":"n"}`,
		"                                                           401  401  401  403  204  403  403  403  204  204  204  204"},
	{"remove participant", "POST", "/chat/threads/T/participants/:remove", `{"rawId":"NEW"}`,
		"                                                           401  401  401  403  204  403  403  403  204  204  204  204"},
	{"send read receipt", "POST", "/chat/threads/T/readReceipts", `{"chatMessageId":"M"}`,
		"                                                           401  401  401  403  200  200  403  403  200  200  200  200"},
	{"list read receipts", "GET", "/chat/threads/T/readReceipts", "", "401  401  401  403  200  200  403  403  200  200  200  200"},
	{"send typing notification", "POST", "/chat/threads/T/typing", "", "401  401  401  403  200  200  403  403  200  200  200  200"},
	{"upload image", "POST", "/chat/threads/T/images", "image", "       401  401  401  403  501  501  501  501  501  501  501  501"},
	{"get image", "GET", "/chat/threads/T/images/1/view/small", "", "  401  401  401  403  501  501  501  501  501  501  501  501"},
	{"delete image", "DELETE", "/chat/threads/T/images/1", "", "       401  401  401  403  501  501  501  501  501  501  501  501"},
	{"delete message", "DELETE", "/chat/threads/T/messages/M", "", "  401  401  401  403  403  403  403  403  403  403  204  403"},
	{"delete thread", "DELETE", "/chat/threads/T", "", "              401  401  401  403  403  403  403  403  204  204  204  204"},
}

func TestAuthorizationMatrix(t *testing.T) {
	for _, row := range matrix {
		statuses := strings.Fields(row.statuses)
		if len(statuses) != len(callers) {
			t.Fatalf("%s has %d cells, want %d", row.operation, len(statuses), len(callers))
		}
		for i, caller := range callers {
			t.Run(row.operation+" by "+caller, func(t *testing.T) {
				m := newMatrixHouse(t)
				fill := strings.NewReplacer("/T", "/"+m.thread, "/M", "/"+m.message, `"M"`, `"`+m.message+`"`, "NEW", m.newcomer, "LATER", m.later)
				req := httptest.NewRequest(row.method, fill.Replace(row.path)+"?api-version="+newestWith(row.operation), strings.NewReader(fill.Replace(row.body)))
				if bearer := m.bearers[caller]; bearer != "" {
					req.Header.Set("Authorization", "Bearer "+bearer)
				}
				before := m.written()
				w := httptest.NewRecorder()
				m.ServeHTTP(w, req)
				if got := fmt.Sprint(w.Code); got != statuses[i] {
					t.Errorf("status %s, want %s: %s", got, statuses[i], w.Body)
				}
				if w.Code >= 400 && m.written() != before {
					t.Error("it was refused and yet something was written")
				}
			})
		}
	}
}

// newestWith returns the newest api-version that has an operation.
func newestWith(operation string) string {
	var newest apiver.Version
	for _, r := range routes {
		for _, v := range r.api.versions.Versions() {
			if r.operation == operation && r.in.Has(v) {
				newest = max(newest, v)
			}
		}
	}
	return string(newest)
}

// TestMatrixIsWhole checks that the matrix of expected statuses has a row for every
// chat operation.
func TestMatrixIsWhole(t *testing.T) {
	rows := map[string]bool{}
	for _, row := range matrix {
		rows[row.operation] = true
	}
	for _, r := range routes {
		if r.api == chat && !rows[r.operation] {
			t.Errorf("%s %s (%s) has no row in the matrix", r.method, r.path, r.operation)
		}
	}
}

// matrixHouse is a test server with a thread, and with a token for each caller in the matrix of
// expected statuses.
type matrixHouse struct {
	*fixture
	thread, message, newcomer string
	later                     string
	bearers                   map[string]string
}

func newMatrixHouse(t *testing.T) *matrixHouse {
	t.Helper()
	m := &matrixHouse{fixture: newFixture(t, nil), bearers: map[string]string{}}
	ctx := context.Background()
	ids := map[string]string{}
	for caller, scopes := range map[string]token.Scopes{
		"expired": token.Chat, "revoked": token.Chat, "voip": token.VoIP, "join": token.ChatJoin, "limited": token.ChatJoinLimited,
		"stranger": token.Chat, "removed": token.Chat, "later": token.Chat, "participant": token.Chat, "sender": token.Chat, "creator": token.Chat,
	} {
		ids[caller], m.bearers[caller] = m.user(t, scopes)
	}
	cmd := core.CreateThread{Topic: "topic"}
	for _, who := range []string{"creator", "sender", "participant", "removed", "expired", "revoked", "voip", "join", "limited"} {
		cmd.Participants = append(cmd.Participants, core.NewParticipant{User: communication.ParseRawID(ids[who])})
	}
	made, _, err := m.core.CreateThread(ctx, ids["creator"], cmd)
	if err != nil {
		t.Fatal(err)
	}
	message, err := m.core.SendMessage(ctx, ids["sender"], made.ID, core.SendMessage{Kind: core.Text, Content: "content"})
	if err != nil {
		t.Fatal(err)
	}
	m.thread, m.message = made.ID, fmt.Sprint(message)
	if err := m.core.RemoveParticipant(ctx, ids["creator"], made.ID, communication.ParseRawID(ids["removed"])); err != nil {
		t.Fatal(err)
	}
	if _, err := m.core.AddParticipants(ctx, ids["creator"], made.ID, []core.NewParticipant{{User: communication.ParseRawID(ids["later"])}}); err != nil {
		t.Fatal(err)
	}
	if err := m.core.RevokeTokens(ctx, ids["revoked"]); err != nil {
		t.Fatal(err)
	}
	// Move the clock by more than an hour. Only the token of the caller "expired" expires then,
	// because it lasts for an hour and all others last for a day.
	u, err := m.core.User(ctx, ids["expired"])
	if err != nil {
		t.Fatal(err)
	}
	if m.bearers["expired"], _, err = m.tokens.Issue(u, token.Chat, time.Hour, m.tokens.Held()[0]); err != nil {
		t.Fatal(err)
	}
	m.clock.advance(time.Hour)
	m.newcomer, _ = m.user(t, token.Chat)
	m.later = ids["later"]
	return m
}
