package server_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestPrintedRequestIDs makes calls of the Go SDK fail. It checks that the request id which the
// SDK prints, in an error and in its log, equals the field request of a line in the server's
// access log, because people search for exactly that text. Both response headers with the id must
// have the same text, because some SDKs print the one and some the other.
func TestPrintedRequestIDs(t *testing.T) {
	s, out := logged(t)
	_, _, bearer := s.newUser(t, s.AccessKey)
	cred, err := communication.NewTokenCredential(bearer)
	if err != nil {
		t.Fatal(err)
	}
	defer cred.Close()
	var sdkLog lockedBuffer
	var headers []http.Header
	client, err := chat.NewClient(s.Endpoint, cred, &chat.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: recorder{s.client, &headers}},
		Logger:        slog.New(slog.NewJSONHandler(&sdkLog, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.NewThreadClient("19:00000000000000000000000000000000@thread.v2").GetProperties(t.Context())
	if err == nil {
		t.Fatal("a thread that does not exist was found")
	}
	s.stop(t)
	printed := regexp.MustCompile(`request (\S+)\)`).FindStringSubmatch(err.Error())
	if printed == nil {
		t.Fatalf("the error has no request id: %v", err)
	}
	line, ok := accessByID(t, out)[printed[1]]
	if !ok || line.Status != http.StatusNotFound {
		t.Errorf("the SDK prints %q, and the log has %+v", printed[1], line)
	}
	var attempt struct {
		RequestID       string `json:"request_id"`
		ClientRequestID string `json:"client_request_id"`
	}
	text := strings.TrimSpace(sdkLog.String())
	if err := json.Unmarshal([]byte(text[strings.LastIndexByte(text, '\n')+1:]), &attempt); err != nil {
		t.Fatal(text, err)
	}
	if attempt.RequestID != line.Request || attempt.ClientRequestID != line.ClientRequest || attempt.ClientRequestID == "" {
		t.Errorf("the SDK logs %+v, and the server %+v", attempt, line)
	}
	for _, h := range headers {
		if id := h.Get("X-Ms-Request-Id"); id == "" || id != h.Get("Ms-Cv") {
			t.Errorf("x-ms-request-id is %q and MS-CV %q, want the same", id, h.Get("Ms-Cv"))
		}
	}
}

// recorder is a transport that records the headers of responses.
type recorder struct {
	client  *http.Client
	headers *[]http.Header
}

func (r recorder) Do(req *http.Request) (*http.Response, error) {
	resp, err := r.client.Do(req)
	if err == nil {
		*r.headers = append(*r.headers, resp.Header)
	}
	return resp, err
}
