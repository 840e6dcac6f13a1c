package compat

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

var connection communication.ConnectionString

func TestMain(m *testing.M) {
	var err error
	connection, err = communication.ParseConnectionString(os.Getenv("CONFAB_CONNECTION_STRING"))
	if err != nil {
		fmt.Fprintf(os.Stderr, "CONFAB_CONNECTION_STRING: %v; run these tests with compat/go/run\n", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func newIdentity(t *testing.T) *identity.Client {
	t.Helper()
	c, err := identity.NewClientFromConnectionString(connection.Text(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// person is a user of the server with the chat client of that user.
type person struct {
	id   communication.Identifier
	name string
	*chat.Client
}

func (p person) participant() chat.Participant {
	return chat.Participant{Identifier: p.id, DisplayName: p.name}
}

func newPerson(t *testing.T, name string) person {
	t.Helper()
	return newPersonWith(t, name, nil)
}

func newPersonWith(t *testing.T, name string, options *chat.ClientOptions) person {
	t.Helper()
	made, err := newIdentity(t).CreateUserAndToken(t.Context(), []identity.Scope{identity.ScopeChat}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return person{id: made.User, name: name, Client: newClient(t, made.Token.Token, options)}
}

func newClient(t *testing.T, token string, options *chat.ClientOptions) *chat.Client {
	t.Helper()
	cred, err := communication.NewTokenCredential(token)
	if err != nil {
		t.Fatal(err)
	}
	c, err := chat.NewClient(connection.Endpoint(), cred, options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newThread creates a thread with the creator and the other persons, and returns the creator's
// client for the thread.
func newThread(t *testing.T, creator person, others ...person) *chat.ThreadClient {
	t.Helper()
	var o chat.CreateThreadOptions
	for _, p := range append(others, creator) {
		o.Participants = append(o.Participants, p.participant())
	}
	result, err := creator.CreateThread(t.Context(), "lunch", &o)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Failed) > 0 {
		t.Fatalf("participants were refused: %+v", result.Failed)
	}
	return creator.NewThreadClient(result.Thread.ID)
}

func send(t *testing.T, thread *chat.ThreadClient, content string) string {
	t.Helper()
	id, err := thread.SendMessage(t.Context(), content, nil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// messages returns the texts of the messages in a thread, newest first.
func messages(t *testing.T, thread *chat.ThreadClient) (texts []string) {
	t.Helper()
	for m, err := range thread.ListMessages(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Type == chat.MessageTypeText {
			texts = append(texts, m.Content.Message)
		}
	}
	return texts
}

func mustEqual[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

func mustBe(t *testing.T, what string, err, target error) {
	t.Helper()
	var e *communication.Error
	if !errors.Is(err, target) || !errors.As(err, &e) {
		t.Errorf("%s: got error %v, want one that is %q", what, err, target)
	}
}

// dev sends a request to a path below /dev of the development server, where tests move the clock
// and add faults. It returns the body of the response.
func dev(t *testing.T, method, path, body string) (answer []byte) {
	t.Helper()
	pem, err := os.ReadFile(os.Getenv("CONFAB_CA_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(context.Background(), method, connection.Endpoint()+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if answer, err = io.ReadAll(res.Body); err != nil || res.StatusCode >= 300 {
		t.Fatalf("%s %s %s: %d %s %v", method, path, body, res.StatusCode, answer, err)
	}
	return answer
}

// serverNow returns the time of the server's clock, which other tests may have moved.
func serverNow(t *testing.T) time.Time {
	t.Helper()
	var told struct{ Now time.Time }
	if err := json.Unmarshal(dev(t, http.MethodGet, "/dev/clock", ""), &told); err != nil {
		t.Fatal(err)
	}
	return told.Now
}

// fault makes the server fail some requests: body describes in JSON which requests fail and how.
// At the end of the test, fault removes all faults from the server.
func fault(t *testing.T, body string) {
	t.Helper()
	dev(t, http.MethodPost, "/dev/faults", body)
	t.Cleanup(func() { dev(t, http.MethodDelete, "/dev/faults", "") })
}
