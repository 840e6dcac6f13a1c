package chat_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

// operations lists the columns of faultTable. An "idempotent send" sends a message after the server
// has announced that it stores a repeated message once.
var operations = []string{"read", "create", "send", "idempotent send", "edit"}

// faultTable lists the expected result of each operation under each fault of the server. A result
// such as "ok 2/1" is the outcome of the call, the number of requests that reached the server, and
// the number of times that the server carried out the operation. A read lists two pages with one
// request each, and carries out nothing. A dash means that the fault cannot happen to the
// operation.
//
// No row carries out a create or a send twice. After the outcome "unknown" the caller decides
// whether to repeat the operation.
var faultTable = []struct {
	fault    fault
	outcomes [5]string
}{
	{none, [5]string{"ok 2/0", "ok 1/1", "ok 1/1", "ok 1/1", "ok 1/1"}},
	{cutBeforeRequest, [5]string{"ok 2/0", "ok 1/1", "ok 1/1", "ok 1/1", "ok 1/1"}},
	{cutBeforeAct, [5]string{"ok 3/0", "ok 2/1", "unknown 1/0", "ok 2/1", "ok 2/1"}},
	{cutAfterAct, [5]string{"ok 3/0", "ok 2/1", "unknown 1/1", "ok 2/1", "ok 2/2"}},
	{answersLostForEver, [5]string{"failed 4/0", "unknown 4/1", "unknown 1/1", "unknown 4/1", "failed 4/4"}},
	{throttled, [5]string{"ok 3/0", "ok 2/1", "ok 2/1", "ok 2/1", "ok 2/1"}},
	{throttledRetryAfter, [5]string{"ok 3/0", "ok 2/1", "ok 2/1", "ok 2/1", "ok 2/1"}},
	{throttledForEver, [5]string{"throttled 4/0", "throttled 4/0", "throttled 4/0", "throttled 4/0", "throttled 4/0"}},
	{status500AfterAct, [5]string{"ok 3/0", "ok 2/1", "unknown 1/1", "ok 2/1", "ok 2/2"}},
	{status503, [5]string{"ok 3/0", "ok 2/1", "unknown 1/0", "ok 2/1", "ok 2/1"}},
	{status503ForEver, [5]string{"failed 4/0", "unknown 4/0", "unknown 1/0", "unknown 4/0", "failed 4/0"}},
	{tokenExpired, [5]string{"ok 3/0", "ok 2/1", "ok 2/1", "ok 2/1", "ok 2/1"}},
	{tokenRevoked, [5]string{"unauthorized 1/0", "unauthorized 1/0", "unauthorized 1/0", "unauthorized 1/0", "unauthorized 1/0"}},
	{tokensRevoked, [5]string{"unauthorized 2/0", "unauthorized 2/0", "unauthorized 2/0", "unauthorized 2/0", "unauthorized 2/0"}},
	{slowBody, [5]string{"ok 2/0", "ok 1/1", "ok 1/1", "ok 1/1", "-"}},
	{shortPage, [5]string{"ok 3/0", "-", "-", "-", "-"}},
	{emptyPage, [5]string{"ok 3/0", "-", "-", "-", "-"}},
	{linkElsewhere, [5]string{"failed 1/0", "-", "-", "-", "-"}},
	{linkToItself, [5]string{"failed 2/0", "-", "-", "-", "-"}},
	{linksInCircle, [5]string{"failed 6/0", "-", "-", "-", "-"}},
	{redirect, [5]string{"failed 1/0", "failed 1/0", "failed 1/0", "failed 1/0", "failed 1/0"}},
	{garbage, [5]string{"failed 1/0", "unknown 1/1", "unknown 1/1", "unknown 1/1", "-"}},
	{wrongTypes, [5]string{"failed 1/0", "unknown 1/1", "unknown 1/1", "unknown 1/1", "-"}},
	{hugeBody, [5]string{"failed 1/0", "unknown 1/1", "unknown 1/1", "unknown 1/1", "-"}},
	{cancelledBefore, [5]string{"cancelled 0/0", "cancelled 0/0", "cancelled 0/0", "cancelled 0/0", "cancelled 0/0"}},
	{cancelledInAct, [5]string{"cancelled 1/0", "cancelled+unknown 1/1", "cancelled+unknown 1/1", "cancelled+unknown 1/1", "cancelled 1/1"}},
	{cancelledInBody, [5]string{"cancelled 1/0", "cancelled+unknown 1/1", "cancelled+unknown 1/1", "cancelled+unknown 1/1", "-"}},
}

type fault string

const (
	none                fault = "none"
	cutBeforeRequest    fault = "connection cut before the request"
	cutBeforeAct        fault = "connection cut before the act"
	cutAfterAct         fault = "connection cut after the act"
	answersLostForEver  fault = "all answers lost"
	throttled           fault = "429"
	throttledRetryAfter fault = "429 with Retry-After"
	throttledForEver    fault = "429 for ever"
	status500AfterAct   fault = "500 after the act"
	status503           fault = "503"
	status503ForEver    fault = "503 for ever"
	tokenExpired        fault = "token expired"
	tokenRevoked        fault = "token revoked"
	tokensRevoked       fault = "token revoked and the next one too"
	slowBody            fault = "slow body"
	shortPage           fault = "short page"
	emptyPage           fault = "empty page with nextLink"
	linkElsewhere       fault = "nextLink to another host"
	linkToItself        fault = "nextLink to the page itself"
	linksInCircle       fault = "nextLinks in a circle"
	redirect            fault = "redirect to another host"
	garbage             fault = "garbage JSON"
	wrongTypes          fault = "JSON of wrong types"
	hugeBody            fault = "huge body"
	cancelledBefore     fault = "context cancelled before"
	cancelledInAct      fault = "context cancelled during the act"
	cancelledInBody     fault = "context cancelled in the body"
)

const faultThread = "19:00000000000000000000000000000000@thread.v2"

// oldToken and goodToken are user access tokens that expire in the year 2100. The fake server
// accepts only goodToken.
var oldToken, goodToken = userToken("old"), userToken("good")

func userToken(name string) string { return expiringToken(name, time.Unix(4102444800, 0)) }

// expiringToken returns a user access token with the given expiry.
func expiringToken(name string, expiry time.Time) string {
	part := base64.RawURLEncoding.EncodeToString
	payload := fmt.Sprintf(`{"exp":%d,"name":%q}`, expiry.Unix(), name)
	return part([]byte(`{"alg":"none"}`)) + "." + part([]byte(payload)) + "." + part([]byte(name))
}

func TestFaults(t *testing.T) {
	for _, row := range faultTable {
		for i, operation := range operations {
			if row.outcomes[i] == "-" {
				continue
			}
			t.Run(string(row.fault)+"/"+operation, func(t *testing.T) {
				if row.fault != hugeBody { // tests of the fault hugeBody use much memory, so they do not run in parallel
					t.Parallel()
				}
				testFault(t, row.fault, operation, row.outcomes[i])
			})
		}
	}
}

func testFault(t *testing.T, f fault, operation, want string) {
	s := newFaultyServer(t, f, operation)
	client := s.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if operation == "idempotent send" {
		s.warmUp.Store(true)
		if _, err := client.NewThreadClient(faultThread).GetProperties(ctx); err != nil {
			t.Fatal(err)
		}
		s.warmUp.Store(false)
	}
	s.cuts.Store(0)
	switch f {
	case cutBeforeRequest:
		s.cuts.Store(1)
	case cancelledBefore:
		cancel()
	}
	s.cancel = cancel

	err := perform(ctx, client, operation)

	got := fmt.Sprintf("%s %d/%d", outcome(err), s.requests.Load(), s.acts())
	if got != want {
		t.Errorf("got %s, want %s\nerror: %v", got, want, err)
	}
	if err != nil {
		checkError(t, err)
	}
	if s.elsewhere.Load() != 0 {
		t.Error("another host was asked")
	}
}

// perform calls the client's method for an operation, such as "send". It returns the method's
// error, or an error of its own if the method returns a wrong result.
func perform(ctx context.Context, client *chat.Client, operation string) error {
	thread := client.NewThreadClient(faultThread)
	switch operation {
	case "read":
		var ids []string
		for m, err := range thread.ListMessages(ctx, &chat.ListMessagesOptions{MaxPageSize: 2}) {
			if err != nil {
				return err
			}
			ids = append(ids, m.ID)
		}
		if want := []string{"4", "3", "2", "1"}; !slices.Equal(ids, want) {
			return fmt.Errorf("got messages %v, want %v", ids, want)
		}
	case "create":
		result, err := client.CreateThread(ctx, "topic", nil)
		if err == nil && result.Thread.ID != faultThread {
			return fmt.Errorf("created %q", result.Thread.ID)
		}
		return err
	case "send", "idempotent send":
		id, err := thread.SendMessage(ctx, "hello", nil)
		if err == nil && id != "5" {
			return fmt.Errorf("sent %q", id)
		}
		return err
	case "edit":
		return thread.UpdateMessage(ctx, "4", &chat.UpdateMessageOptions{Content: "hello"})
	}
	return nil
}

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	var is []string
	for _, o := range []struct {
		name string
		err  error
	}{
		{"cancelled", context.Canceled},
		{"throttled", communication.ErrThrottled},
		{"unauthorized", communication.ErrUnauthorized},
		{"unknown", communication.ErrUnknownFate},
	} {
		if errors.Is(err, o.err) {
			is = append(is, o.name)
		}
	}
	if is == nil {
		return "failed"
	}
	return strings.Join(is, "+")
}

func checkError(t *testing.T, err error) {
	t.Helper()
	if e := (*communication.Error)(nil); !errors.As(err, &e) {
		t.Errorf("%v is a %T, want a *communication.Error", err, err)
	}
	if text := err.Error(); strings.ContainsAny(text, "\r\n") || strings.Contains(text, oldToken) || strings.Contains(text, goodToken) || len(text) > 1000 {
		t.Errorf("error is not one safe line: %q", text)
	}
}

// faultyServer is a fake chat server with TLS that makes requests fail in one way.
type faultyServer struct {
	*httptest.Server
	fault     fault
	operation string

	warmUp    atomic.Bool
	requests  atomic.Int32
	elsewhere atomic.Int32 // number of connections to a second server, which no client should contact
	other     string       // address of the second server
	cuts      atomic.Int32 // number of future connections that the server closes as soon as it accepts them
	cancel    context.CancelFunc

	mu      sync.Mutex
	carried map[string]int // number of operations that the server carried out, by idempotency token; "" counts requests without a token
}

func newFaultyServer(t *testing.T, f fault, operation string) *faultyServer {
	s := &faultyServer{fault: f, operation: operation, carried: map[string]int{}}
	s.Server = httptest.NewUnstartedServer(s)
	s.Listener = cutter{s.Listener, &s.cuts}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // log nothing: the server would report the connections that the faults close
	s.StartTLS()
	t.Cleanup(s.Close)

	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.other = other.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			s.elsewhere.Add(1)
			conn.Close()
		}
	}()
	t.Cleanup(func() { other.Close(); <-done })
	return s
}

// cutter is a listener that closes the first connections as soon as it has accepted them. The field
// cuts is the number of connections that it will still close.
type cutter struct {
	net.Listener
	cuts *atomic.Int32
}

func (c cutter) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil || c.cuts.Add(-1) < 0 {
			return conn, err
		}
		conn.Close()
	}
}

// acts returns how often the server carried out the operation.
func (s *faultyServer) acts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, times := range s.carried {
		n += times
	}
	return n
}

func (s *faultyServer) client(t *testing.T) *chat.Client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	var cred *communication.TokenCredential
	var err error
	if s.fault == tokenExpired || s.fault == tokensRevoked {
		refresh := func(context.Context) (string, error) { return goodToken, nil }
		cred, err = communication.NewRefreshingTokenCredential(refresh, &communication.RefreshingOptions{Token: oldToken})
	} else {
		cred, err = communication.NewTokenCredential(goodToken)
	}
	if err != nil {
		t.Fatal(err)
	}
	client, err := chat.NewClient(s.URL, cred, &chat.ClientOptions{
		ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{RetryDelay: time.Millisecond, MaxRetryDelay: 5 * time.Second}},
		CAFile:        file,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (s *faultyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if s.operation == "idempotent send" {
		w.Header().Set("confab-idempotent-send", "true")
	}
	if s.warmUp.Load() {
		w.Header().Set("Connection", "close") // close the connection, so that the request under test opens a new one
		json.NewEncoder(w).Encode(chat.ThreadProperties{ID: faultThread})
		return
	}
	if !json.Valid(body) && len(body) > 0 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	n := int(s.requests.Add(1))
	if n > 20 {
		panic(http.ErrAbortHandler) // stop a client that retries for ever; its test then fails, because the number of requests is wrong
	}
	if !s.strike(w, r, n) {
		s.answer(w, r, n)
	}
}

// strike applies the fault of the server to the nth request. It returns true if the request has
// been answered or cut off, and false if the server must answer it normally.
func (s *faultyServer) strike(w http.ResponseWriter, r *http.Request, n int) bool {
	first := n == 1
	switch {
	case s.fault == tokenRevoked, s.fault == tokensRevoked, r.Header.Get("Authorization") != "Bearer "+goodToken:
		w.WriteHeader(http.StatusUnauthorized)
	case s.fault == cutBeforeAct && first:
		panic(http.ErrAbortHandler)
	case s.fault == cutAfterAct && first, s.fault == answersLostForEver:
		s.act(r)
		panic(http.ErrAbortHandler)
	case s.fault == throttledRetryAfter && first:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case s.fault == throttled && first, s.fault == throttledForEver:
		w.WriteHeader(http.StatusTooManyRequests)
	case s.fault == status500AfterAct && first:
		s.act(r)
		w.WriteHeader(http.StatusInternalServerError)
	case s.fault == status503 && first, s.fault == status503ForEver:
		w.WriteHeader(http.StatusServiceUnavailable)
	case s.fault == redirect:
		http.Redirect(w, r, "https://"+s.other+"/", http.StatusTemporaryRedirect)
	case s.fault == cancelledInAct:
		s.act(r)
		s.cancel()
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // send no response, because the client could still read it while it closes the connection
	default:
		return false
	}
	return true
}

// act carries out the operation of a request and counts the operation. It ignores a read. It also
// ignores a second request with the same idempotency token if the operation honours the token.
func (s *faultyServer) act(r *http.Request) {
	if r.Method == http.MethodGet {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	honoured := s.operation == "create" || s.operation == "idempotent send"
	token := r.Header.Get("repeatability-request-id")
	if token != "" && honoured && s.carried[token] > 0 {
		return
	}
	s.carried[token]++
}

func (s *faultyServer) answer(w http.ResponseWriter, r *http.Request, n int) {
	s.act(r)
	status, body := http.StatusCreated, `{"id":"5"}`
	switch s.operation {
	case "read":
		status, body = http.StatusOK, s.page(r)
	case "create":
		body = `{"chatThread":{"id":"` + faultThread + `","topic":"topic","createdOn":"2022-05-26T07:59:30Z"}}`
	case "edit":
		w.WriteHeader(http.StatusNoContent)
		return
	}
	switch s.fault {
	case garbage:
		body = "<html>" + body
	case wrongTypes:
		body = `{"value":{"id":[]},"chatThread":[1],"id":{}}`
	case slowBody:
		w.WriteHeader(status)
		for i := range body {
			io.WriteString(w, body[i:i+1])
			w.(http.Flusher).Flush()
		}
		return
	case cancelledInBody:
		w.WriteHeader(status)
		io.WriteString(w, body[:1])
		w.(http.Flusher).Flush()
		s.cancel()
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case hugeBody:
		w.WriteHeader(status)
		writeBlanks(w, 80<<20)
		return
	}
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// writeBlanks writes n spaces, with which a JSON text may begin. It stops early if the client stops
// reading.
func writeBlanks(w io.Writer, n int) {
	blanks := []byte(strings.Repeat(" ", 1<<20))
	for ; n > 0; n -= len(blanks) {
		if _, err := w.Write(blanks); err != nil {
			return
		}
	}
}

// page returns one of two pages, which contain four messages together. The query parameter read is
// the number of messages in the earlier pages.
func (s *faultyServer) page(r *http.Request) string {
	read, _ := strconv.Atoi(r.URL.Query().Get("read"))
	link := func(read int) string {
		return fmt.Sprintf("%s/chat/threads/%s/messages?read=%d&maxPageSize=2&api-version=2025-03-15", s.URL, faultThread, read)
	}
	count, next := 2, ""
	if read < 2 {
		next = link(2)
	}
	switch {
	case s.fault == shortPage && read == 0:
		count, next = 1, link(1)
	case s.fault == shortPage && read == 1:
		next = link(3)
	case s.fault == shortPage:
		count = 1
	case s.fault == emptyPage && r.URL.Query().Get("again") == "" && read == 0:
		count, next = 0, link(0)+"&again=1"
	case s.fault == linkElsewhere:
		next = strings.Replace(link(2), s.URL, "https://"+s.other, 1)
	case s.fault == linkToItself:
		next = link(2)
	case s.fault == linksInCircle:
		next = link((read + 1) % 3)
	}
	var page struct {
		Value    []chat.Message `json:"value"`
		NextLink string         `json:"nextLink,omitempty"`
	}
	for id := 4 - read; id > max(0, 4-read-count); id-- {
		page.Value = append(page.Value, chat.Message{ID: strconv.Itoa(id), Type: chat.MessageTypeText})
	}
	page.NextLink = next
	text, err := json.Marshal(page)
	if err != nil {
		panic(err)
	}
	return string(text)
}
