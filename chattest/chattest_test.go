package chattest_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/confab-chat/confab/chattest"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

// withServer implements the type of argument that goleak.VerifyTestMain takes. Its method Run runs
// the tests of this package with one shared server, which chattest.Main starts.
type withServer struct{ m *testing.M }

func (w withServer) Run() int { return chattest.Main(w.m) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(withServer{m}) }

const version = "?api-version=2021-09-07"

// call sends a request to the server s, with token in the header Authorization. It returns the
// response and the text of its body.
func call(t testing.TB, s *chattest.Server, method, path, token, body string) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequest(method, s.Endpoint()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w, err := s.Client().Do(r)
	if err != nil {
		return nil, "", err
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	return w, string(text), err
}

// list requests the threads of the user to whom token belongs, and returns the body of the
// response. The test fails unless the status is want.
func list(t testing.TB, s *chattest.Server, token string, want int) (body string) {
	t.Helper()
	w, body, err := call(t, s, "GET", "/chat/threads"+version, token, "")
	if err != nil || w.StatusCode != want {
		t.Fatalf("list threads: %v %s %v, want %d", w, body, err, want)
	}
	return body
}

// create sends a request to create a thread. The test fails unless the status of the response is
// want.
func create(t testing.TB, s *chattest.Server, token string, want int) {
	t.Helper()
	w, body, err := call(t, s, "POST", "/chat/threads"+version, token, `{"topic":"lunch"}`)
	if err != nil || w.StatusCode != want {
		t.Fatalf("create a thread: %v %s %v, want %d", w, body, err, want)
	}
}

func TestServer(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("CONFAB_LISTEN", "nowhere") // set an invalid address, which NewServer must ignore, because it does not read the environment
	s := chattest.NewServer(t)
	user := s.NewUser()
	create(t, s, user.Token(), 201)
	if body := list(t, s, user.Token(), 200); !strings.Contains(body, "lunch") {
		t.Errorf("the thread is not there: %s", body)
	}
	list(t, s, s.Token(user.ID, &chattest.TokenOptions{Scopes: []identity.Scope{"chat.join"}, Lifetime: time.Minute}), 200)
	create(t, s, s.Token(user.ID, &chattest.TokenOptions{Scopes: []identity.Scope{"chat.join"}}), 403)
	cs, err := communication.ParseConnectionString(s.ConnectionString())
	if err != nil || cs.Endpoint() != s.Endpoint() || cs.AccessKey().IsZero() {
		t.Errorf("connection string: %v, %v", cs, err)
	}
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(s.CA()) {
		t.Errorf("the authority is no certificate: %s", s.CA())
	}
	if files, err := os.ReadDir(temp); err != nil || len(files) > 0 {
		t.Errorf("files were written: %v %v", files, err)
	}
}

// TestParallel checks that servers that run in parallel share no data.
func TestParallel(t *testing.T) {
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			s := chattest.NewServer(t, &chattest.Options{Log: i == 0})
			user := s.NewUser()
			s.Clock.Advance(time.Duration(i) * time.Hour)
			create(t, s, user.Token(), 201)
			if n := strings.Count(list(t, s, user.Token(), 200), "lunch"); n != 1 {
				t.Errorf("%d threads, want 1", n)
			}
			if got := time.Until(s.Clock.Now()).Round(time.Hour); got != time.Duration(i)*time.Hour {
				t.Errorf("the clock is %v ahead, want %d hours", got, i)
			}
		})
	}
}

func TestTokensExpire(t *testing.T) {
	s := chattest.NewServer(t)
	user := s.NewUser()
	list(t, s, user.Token(), 200)
	s.Clock.Advance(24 * time.Hour)
	list(t, s, user.Token(), 401)
	list(t, s, s.Token(user.ID, nil), 200)
}

func TestLimits(t *testing.T) {
	s := chattest.NewServer(t, &chattest.Options{Limits: "azure"})
	user := s.NewUser()
	for range 10 {
		create(t, s, user.Token(), 201)
	}
	create(t, s, user.Token(), 429)
	s.Clock.Advance(10 * time.Second)
	create(t, s, user.Token(), 201)
}

func TestFaults(t *testing.T) {
	s := chattest.NewServer(t)
	user := s.NewUser()
	s.Faults.Add(chattest.Fault{Operation: "create thread", Status: 503, Times: 2})
	create(t, s, user.Token(), 503)
	list(t, s, user.Token(), 200)
	if left := s.Faults.Left(); len(left) != 1 || left[0] != (chattest.Fault{Operation: "create thread", Status: 503, Times: 1}) {
		t.Errorf("left: %+v", left)
	}
	create(t, s, user.Token(), 503)
	create(t, s, user.Token(), 201)

	w, body, err := func() (*http.Response, string, error) {
		s.Faults.Add(chattest.Fault{Operation: "list threads", Status: 429, RetryAfter: 3 * time.Second})
		return call(t, s, "GET", "/chat/threads"+version, user.Token(), "")
	}()
	if err != nil || w.StatusCode != 429 || w.Header.Get("Retry-After") != "3" || !strings.Contains(body, "TooManyRequests") {
		t.Errorf("429: %v %s %v", w, body, err)
	}

	for drop, made := range map[chattest.Drop]int{chattest.DropBefore: 0, chattest.DropAfter: 1} {
		before := strings.Count(list(t, s, user.Token(), 200), "lunch")
		s.Faults.Add(chattest.Fault{Operation: "create thread", Drop: drop})
		if w, body, err := call(t, s, "POST", "/chat/threads"+version, user.Token(), `{"topic":"lunch"}`); err == nil {
			t.Errorf("dropped %s: answered with %d %s", drop, w.StatusCode, body)
		}
		if got := strings.Count(list(t, s, user.Token(), 200), "lunch") - before; got != made {
			t.Errorf("dropped %s: %d threads were made, want %d", drop, got, made)
		}
	}
	if n := s.Requests("create thread"); n != 5 {
		t.Errorf("%d creates were counted, want 5", n)
	}
	s.Faults.Add(chattest.Fault{Status: 500, Times: chattest.Always})
	list(t, s, user.Token(), 500)
	s.NewUser() // NewUser succeeds although requests fail, because it sends no request
	list(t, s, user.Token(), 500)
	s.Faults.Clear()
	list(t, s, user.Token(), 200)

	s.Faults.Add(chattest.Fault{Delay: 50 * time.Millisecond})
	start := time.Now()
	list(t, s, user.Token(), 200)
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("a delay of 50 ms took %v", took)
	}
}

// TestOperations checks that the comment of the type Fault names every operation of the server, and
// that Add accepts each of these names.
func TestOperations(t *testing.T) {
	source, err := os.ReadFile("faults.go")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(strings.ReplaceAll(string(source), "\t// ", " ")), " ")
	s := chattest.NewServer(t)
	for _, o := range append(rest.Operations(), "open event stream") {
		if !strings.Contains(text, `"`+o+`"`) {
			t.Errorf("the operation %q is not in the comment of Fault", o)
		}
		s.Faults.Add(chattest.Fault{Operation: o, Status: 500})
	}
	if n := s.Faults.DropLive(); n != 0 {
		t.Errorf("%d live connections were dropped, and none is open", n)
	}
}

// TestDocument checks that docs/testing.md contains the code of lunch_test.go as its example and
// names every operation of the server.
func TestDocument(t *testing.T) {
	document, err := os.ReadFile("../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("lunch_test.go")
	if err != nil {
		t.Fatal(err)
	}
	want := "```go\n" + strings.Replace(string(code), "package chattest_test", "package lunch_test", 1) + "```"
	if !strings.Contains(string(document), want) {
		t.Error("docs/testing.md has another example than lunch_test.go")
	}
	for _, o := range append(rest.Operations(), "open event stream", chattest.LiveSocket) {
		if !strings.Contains(strings.ReplaceAll(string(document), "\n", " "), "`"+o+"`") {
			t.Errorf("the operation %q is not in docs/testing.md", o)
		}
	}
}

// told is a fake testing.TB. It records the message of Fatal or Fatalf, the log output and the
// cleanup functions.
type told struct {
	testing.TB
	failure string
	log     bytes.Buffer
	ends    []func()
}

func (t *told) Helper()           {}
func (t *told) Cleanup(f func())  { t.ends = append(t.ends, f) }
func (t *told) Output() io.Writer { return &t.log }
func (t *told) Fatal(args ...any) { t.Fatalf("%s", fmt.Sprint(args...)) }
func (t *told) Fatalf(f string, args ...any) {
	t.failure = fmt.Sprintf(f, args...)
	runtime.Goexit()
}

// run calls f in a new goroutine and waits for its end, because Fatal ends the goroutine that
// calls it. Then run calls the cleanup functions.
func (t *told) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
	for _, end := range t.ends {
		end()
	}
}

// TestMistakesEndTheTest calls methods of a Server with invalid arguments and checks that each call
// fails the test with the expected message.
func TestMistakesEndTheTest(t *testing.T) {
	for want, f := range map[string]func(*chattest.Server){
		"chattest: advance the clock: the clock goes forward only": func(s *chattest.Server) { s.Clock.Advance(-time.Hour) },
		`chattest: add a fault: there is no operation "sendMessage": did you mean "send message"?`: func(s *chattest.Server) {
			s.Faults.Add(chattest.Fault{Operation: "sendMessage", Status: 500})
		},
		"chattest: add a fault: a fault has a status, a delay or a drop": func(s *chattest.Server) { s.Faults.Add(chattest.Fault{}) },
		`chattest: issue a token for "8:acs:nobody"`:                     func(s *chattest.Server) { s.Token(communication.NewUser("8:acs:nobody"), nil) },
		`chattest: issue a token: there is no scope "chess"`: func(s *chattest.Server) {
			s.Token(s.NewUser().ID, &chattest.TokenOptions{Scopes: []identity.Scope{"chess"}})
		},
		"chattest: issue a token: the lifetime -1s is not from a second to a day": func(s *chattest.Server) {
			s.Token(s.NewUser().ID, &chattest.TokenOptions{Lifetime: -time.Second})
		},
		`chattest: count requests: there is no operation "send"`: func(s *chattest.Server) { s.Requests("send") },
	} {
		tt := &told{TB: t}
		tt.run(func() { f(chattest.NewServer(tt)) })
		if !strings.HasPrefix(tt.failure, want) {
			t.Errorf("got %q, want %q", tt.failure, want)
		}
	}
	tt := &told{TB: t}
	tt.run(func() { chattest.NewServer(tt, nil, nil) })
	if tt.failure != "chattest: start a server: there are 2 Options, and one at most counts" {
		t.Errorf("two Options: %q", tt.failure)
	}
	tt = &told{TB: t}
	tt.run(func() { chattest.NewServer(tt, &chattest.Options{Limits: "none"}) })
	if !strings.Contains(tt.failure, "chattest: start a server: ") || !strings.Contains(tt.failure, "limits") || !strings.HasSuffix(tt.failure, "write azure, fair or off") {
		t.Errorf("unknown limits: %q", tt.failure)
	}
}

func TestLog(t *testing.T) {
	for _, on := range []bool{true, false} {
		tt := &told{TB: t}
		var token string
		tt.run(func() {
			s := chattest.NewServer(tt, &chattest.Options{Log: on})
			token = s.NewUser().Token()
			list(t, s, token, 200)
		})
		if got := strings.Contains(tt.log.String(), `msg=request status=200 operation="list threads"`); got != on {
			t.Errorf("with Log %v the log is %q", on, &tt.log)
		}
		if strings.Contains(tt.log.String(), token) || strings.Contains(tt.log.String(), "time=") {
			t.Errorf("the log has a token or a time: %s", &tt.log)
		}
	}
}

func TestUsersDoNotShowTheirToken(t *testing.T) {
	u := chattest.Shared(t).NewUser()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, u); got != u.ID.RawID() {
			t.Errorf("%s: %s, want %s", verb, got, u.ID)
		}
	}
}

func TestShared(t *testing.T) {
	s := chattest.Shared(t)
	for name, want := range map[string]string{
		"CONFAB_ENDPOINT": s.Endpoint(), "CONFAB_CONNECTION_STRING": s.ConnectionString(),
		"AZURE_COMMUNICATION_SERVICE_ENDPOINT": s.Endpoint(), "COMMUNICATION_SAMPLES_CONNECTION_STRING": s.ConnectionString(),
	} {
		if got := os.Getenv(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	ca, err := os.ReadFile(os.Getenv("CONFAB_CA_FILE"))
	if err != nil || !bytes.Equal(ca, s.CA()) {
		t.Errorf("the CA file holds %q (%v), want %q", ca, err, s.CA())
	}
	list(t, s, s.NewUser().Token(), 200)
	if again := chattest.Shared(t); again.Endpoint() != s.Endpoint() {
		t.Error("there are two shared servers")
	}
}

// code is a fake *testing.M. Its method Run calls the field run and returns the exit code n.
type code struct {
	n   int
	run func()
}

func (c code) Run() int { c.run(); return c.n }

// TestMainEnds checks that Main returns the exit code of the tests, restores the environment
// variables and removes the file with the CA certificate.
func TestMainEnds(t *testing.T) {
	for _, name := range []string{"CONFAB_ENDPOINT", "CONFAB_CONNECTION_STRING", "CONFAB_CA_FILE"} {
		t.Setenv(name, "before")
	}
	var file, endpoint string
	got := chattest.Main(code{3, func() { file, endpoint = os.Getenv("CONFAB_CA_FILE"), os.Getenv("CONFAB_ENDPOINT") }}, &chattest.Options{Limits: "off"})
	if got != 3 || !strings.HasPrefix(endpoint, "https://127.0.0.1:") {
		t.Errorf("Main returned %d at %s, want 3", got, endpoint)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) || file == "" {
		t.Errorf("the CA file %s: %v", file, err)
	}
	if now := os.Getenv("CONFAB_ENDPOINT"); now != "before" {
		t.Errorf("CONFAB_ENDPOINT is %q after Main", now)
	}
}

// TestReadyMadeClientsWait makes the server answer a client of Server.Chat with status 429 and a
// Retry-After of one second. The client must wait for that second before it retries.
func TestReadyMadeClientsWait(t *testing.T) {
	t.Parallel()
	s := chattest.NewServer(t)
	s.Faults.Add(chattest.Fault{Operation: "create thread", Status: 429, RetryAfter: time.Second})
	start := time.Now()
	if _, err := s.Chat(s.NewUser()).CreateThread(t.Context(), "lunch", nil); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < time.Second || s.Requests("create thread") != 2 {
		t.Errorf("%d requests in %v, want 2 and a second", s.Requests("create thread"), took)
	}
}

// TestErrorsHaveTheNamesOfOperations makes every method of the clients fail. It checks that the
// operation in each error is a name that Fault.Operation accepts.
func TestErrorsHaveTheNamesOfOperations(t *testing.T) {
	s := chattest.NewServer(t)
	user := s.NewUser()
	client, ids := s.Chat(user), s.Identity()
	s.Faults.Add(chattest.Fault{Status: 400, Times: chattest.Always})
	ctx := t.Context()
	thread := client.NewThreadClient("19:0123456789abcdef0123456789abcdef@thread.v2")
	var errs []error
	add := func(_ any, err error) { errs = append(errs, err) }
	add(client.CreateThread(ctx, "t", nil))
	add(client.NewListThreadsPager(nil).NextPage(ctx))
	add(nil, client.DeleteThread(ctx, thread.ID()))
	add(thread.GetProperties(ctx))
	add(nil, thread.UpdateTopic(ctx, "t"))
	add(nil, thread.Update(ctx, &chat.UpdateThreadOptions{Topic: "t"}))
	add(thread.SendMessage(ctx, "x", nil))
	add(thread.GetMessage(ctx, "1"))
	add(thread.NewListMessagesPager(nil).NextPage(ctx))
	add(nil, thread.UpdateMessage(ctx, "1", &chat.UpdateMessageOptions{Content: "x"}))
	add(nil, thread.DeleteMessage(ctx, "1"))
	add(thread.NewListParticipantsPager(nil).NextPage(ctx))
	add(thread.AddParticipants(ctx, chat.Participant{Identifier: user.ID}))
	add(nil, thread.AddParticipant(ctx, chat.Participant{Identifier: user.ID}))
	add(nil, thread.RemoveParticipant(ctx, user.ID))
	add(nil, thread.SendReadReceipt(ctx, "1"))
	add(thread.NewListReadReceiptsPager(nil).NextPage(ctx))
	add(nil, thread.SendTypingNotification(ctx, nil))
	add(ids.CreateUser(ctx, nil))
	add(ids.CreateUserAndToken(ctx, []identity.Scope{identity.ScopeChat}, nil))
	add(ids.GetToken(ctx, user.ID, []identity.Scope{identity.ScopeChat}, nil))
	add(nil, ids.RevokeTokens(ctx, user.ID))
	add(nil, ids.DeleteUser(ctx, user.ID))
	for i, err := range errs {
		var e *communication.Error
		if !errors.As(err, &e) || e.StatusCode != 400 {
			t.Fatalf("call %d: %v", i, err)
		}
		if !slices.Contains(rest.Operations(), e.Op) || s.Requests(e.Op) == 0 {
			t.Errorf("call %d is %q in its error, which no fault knows", i, e.Op)
		}
	}
}
