package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// large creates a thread with n messages of the given content, writing directly to the embedded
// store, and returns the thread's id.
func (f *fixture) large(t testing.TB, creator string, n int, content string) (thread string) {
	t.Helper()
	thread, _ = f.thread(t, creator)
	var sends sync.WaitGroup
	for range n {
		sends.Go(func() {
			if _, err := f.core.SendMessage(context.Background(), creator, thread, core.SendMessage{Content: content, Kind: core.Text}); err != nil {
				t.Error(err)
			}
		})
	}
	sends.Wait()
	return thread
}

// get sends a GET request with a token to the handler and returns the response.
func (f *fixture) get(bearer, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, bearing(bearer, target))
	return w
}

func bearing(bearer, target string) *http.Request {
	r := httptest.NewRequest("GET", target, nil)
	r.Header.Set("Authorization", "Bearer "+bearer)
	return r
}

func page(thread string, size int) string {
	return fmt.Sprintf("/chat/threads/%s/messages?api-version=2021-09-07&maxPageSize=%d", thread, size)
}

// slowClient is a ResponseWriter for a client that does not read: Write blocks until release is
// closed.
type slowClient struct {
	*httptest.ResponseRecorder
	release chan struct{}
	writing chan<- int
}

func (s *slowClient) Write(b []byte) (int, error) {
	s.writing <- len(b)
	<-s.release
	return len(b), nil
}

// TestSlowClientsShareTheAnswerMemory requests large pages for clients that do not read their
// answers. It checks that no more pages are sent at a time than fit into the memory for answers,
// and that lists for which no memory becomes free are refused with 503 and Retry-After. One user
// may hold at most a quarter of the memory, and small answers to other users must not wait.
func TestSlowClientsShareTheAnswerMemory(t *testing.T) {
	f := newFixture(t, nil)
	f.answerWait = 50 * time.Millisecond
	ann, _ := f.user(t, token.Chat)
	thread := f.large(t, ann, 100, strings.Repeat("x", 64<<10)) // messages whose contents together are larger than one page
	var bearers []string
	for range 6 {
		id, bearer := f.user(t, token.Chat)
		f.join(t, ann, thread, id)
		bearers = append(bearers, bearer)
	}
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	release, writing, status := make(chan struct{}), make(chan int), make(chan *httptest.ResponseRecorder)
	const each = 10
	var clients sync.WaitGroup
	for _, bearer := range bearers {
		for range each {
			clients.Go(func() {
				w := &slowClient{httptest.NewRecorder(), release, writing}
				f.ServeHTTP(w, bearing(bearer, page(thread, 200)))
				if w.Code != 200 {
					status <- w.ResponseRecorder
				}
			})
		}
	}
	sending, bytes, refused := 0, 0, 0
	for sending+refused < each*len(bearers) {
		select {
		case n := <-writing:
			if n > 32<<10 { // count only pages, which have more than 32 KiB; the body of a refusal is shorter
				sending, bytes = sending+1, bytes+n
			} else {
				refused++
			}
		case w := <-status:
			t.Fatalf("%d before its body was taken", w.Code)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&during)
	t.Logf("%d answers of %d MiB together are sent, %d lists were refused; %d MiB in use, %d MiB before",
		sending, bytes>>20, refused, during.HeapAlloc>>20, before.HeapAlloc>>20)
	if bytes > DefaultAnswerMemory/2 || sending == 0 {
		t.Errorf("%d answers of %d bytes are sent at a time, want at most %d bytes", sending, bytes, DefaultAnswerMemory/2)
	}
	if w := f.get(bearers[0], page(thread, 1)+"&startTime=2100-01-01T00:00:00Z"); w.Code != 200 {
		t.Errorf("a small answer meanwhile: %d %s", w.Code, w.Body)
	}
	close(release)
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	for open := true; open; {
		select {
		case w := <-status:
			if w.Code != 503 || w.Header().Get("Retry-After") != "1" || w.Header().Get("x-ms-error-code") != "ServiceUnavailable" {
				t.Errorf("a refused list: %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
		case <-done:
			open = false
		}
	}
	// Check that all memory was given back.
	for p, size := range map[*pool]int64{f.answers.making: DefaultAnswerMemory / 2, f.answers.sending: DefaultAnswerMemory / 8 * 3, f.answers.small: DefaultAnswerMemory / 8} {
		if len(p.users) > 0 || !p.all.TryAcquire(size) {
			t.Errorf("memory is still reserved when all was answered: %d users", len(p.users))
		}
	}
}

// TestOneUserHasAQuarterOfTheAnswerMemory reserves all the memory for answers that one user may
// have. It checks that a list for this user is refused and a list for another user is answered.
func TestOneUserHasAQuarterOfTheAnswerMemory(t *testing.T) {
	f := newFixture(t, nil)
	f.answerWait = 50 * time.Millisecond
	ann, anns := f.user(t, token.Chat)
	bob, bobs := f.user(t, token.Chat)
	thread := f.large(t, ann, 70, strings.Repeat("x", 64<<10))
	f.join(t, ann, thread, bob)
	for _, p := range []*pool{f.answers.making, f.answers.sending} {
		n, err := p.acquire(t.Context(), ann, DefaultAnswerMemory)
		if err != nil || n > DefaultAnswerMemory/8 {
			t.Fatalf("one user has %d bytes, %v", n, err)
		}
		defer p.release(ann, n)
	}
	if w := f.get(anns, page(thread, 200)); w.Code != 503 {
		t.Errorf("the user who has its share: %d", w.Code)
	}
	if w := f.get(bobs, page(thread, 200)); w.Code != 200 || w.Body.Len() < 4<<20-64<<10 {
		t.Errorf("another user: %d, %d bytes", w.Code, w.Body.Len())
	}
}

// TestListsGoOnInShortPages reserves all memory for sending large pages, as clients that do not
// read could. It checks that lists of messages and participants can still be read to their ends,
// in pages of about smallPage bytes that together have every entry.
func TestListsGoOnInShortPages(t *testing.T) {
	f := newFixture(t, nil)
	f.answerWait = time.Millisecond
	ann, bearer := f.user(t, token.Chat)
	thread := f.large(t, ann, 30, strings.Repeat("x", 60<<10))
	var users []core.NewParticipant
	for range 150 {
		id, _ := f.user(t, token.Chat)
		users = append(users, core.NewParticipant{User: communication.ParseRawID(id), Metadata: map[string]string{"k": strings.Repeat("x", 3<<10)}})
	}
	if _, err := f.core.AddParticipants(t.Context(), ann, thread, users); err != nil {
		t.Fatal(err)
	}
	for p, n := f.answers.sending, int64(DefaultAnswerMemory); n > 0; {
		user := fmt.Sprint("slow ", n)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		got, err := p.acquire(ctx, user, min(p.share, 4<<20))
		cancel()
		if err != nil {
			break
		}
		defer p.release(user, got)
		n -= got
	}
	for list, entries := range map[string]int{"messages": 30 + 4, "participants": 151} {
		target := fmt.Sprintf("/chat/threads/%s/%s?api-version=2025-03-15&maxPageSize=200", thread, list)
		seen, pages := map[string]bool{}, 0
		for target != "" {
			w := f.get(bearer, target)
			var got struct {
				Value []struct {
					ID                      string
					CommunicationIdentifier struct{ RawID string }
				}
				NextLink string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || w.Body.Len() > smallPage+framing {
				t.Fatalf("%s: %d, %d bytes, %v: %s", list, w.Code, w.Body.Len(), err, w.Body.Bytes()[:min(w.Body.Len(), 200)])
			}
			for _, v := range got.Value {
				seen[v.ID+v.CommunicationIdentifier.RawID] = true
			}
			pages++
			target = strings.TrimPrefix(got.NextLink, "http://example.com")
		}
		if len(seen) != entries || pages < 2 {
			t.Errorf("%s: %d entries in %d pages, want %d in several", list, len(seen), pages, entries)
		}
	}
}

// TestPagesEndByTheirJSON lists messages whose JSON is six times as long as their text. It
// checks that no page has more than 4 MiB of texts as JSON, and that all pages together have
// each message once.
func TestPagesEndByTheirJSON(t *testing.T) {
	f := newFixture(t, nil)
	ann, bearer := f.user(t, token.Chat)
	thread := f.large(t, ann, 60, strings.Repeat("\x01", 60<<10))
	target, seen, largest := page(thread, 200), map[string]bool{}, 0
	for target != "" {
		w := f.get(bearer, target)
		var got struct {
			Value    []struct{ ID string }
			NextLink string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
			t.Fatalf("%d: %v", w.Code, err)
		}
		largest = max(largest, w.Body.Len())
		for _, m := range got.Value {
			if seen[m.ID] {
				t.Errorf("message %s comes twice", m.ID)
			}
			seen[m.ID] = true
		}
		target = strings.TrimPrefix(got.NextLink, "http://example.com")
	}
	if len(seen) != 60+3 || largest > core.PageBytes+framing {
		t.Errorf("%d messages in pages of up to %d bytes, want 63 in at most %d", len(seen), largest, core.PageBytes+framing)
	}
}

// TestBytesWrittenPerHour sends messages until the caller has written as many bytes as a user may
// in an hour. It checks that further writes get 429, while the caller can still read and other
// users can write. Refused requests must not count towards the limit, unless they were refused for
// their content or because of who sent them.
func TestBytesWrittenPerHour(t *testing.T) {
	f := newFixture(t, nil)
	f.Handler.written = limits.NewWritten(1000, f.clock.now)
	ann, bearer := f.user(t, token.Chat)
	bob, bobs := f.user(t, token.Chat)
	thread, message := f.thread(t, ann)
	f.join(t, ann, thread, bob)
	write := func(method, bearer, path string, size int) *httptest.ResponseRecorder {
		body := `{"content":"` + strings.Repeat("x", size-len(`{"content":""}`)) + `"}`
		r := httptest.NewRequest(method, "/chat/threads/"+path+"?api-version=2021-09-07", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+bearer)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w
	}
	send := func(bearer string, size int) *httptest.ResponseRecorder {
		return write("POST", bearer, thread+"/messages", size)
	}
	if w := write("POST", bearer, "19:00000000000000000000000000000000@thread.v2/messages", 900); w.Code != 404 {
		t.Fatalf("a send to nowhere: %d", w.Code)
	}
	if w := send(bearer, 600); w.Code != 201 {
		t.Fatalf("600 bytes: %d %s", w.Code, w.Body)
	}
	edit := thread + "/messages/" + fmt.Sprint(message)
	if w := write("PATCH", bearer, edit, 300); w.Code != 204 {
		t.Fatalf("an edit of 300 bytes: %d %s", w.Code, w.Body)
	}
	f.clock.advance(30 * time.Minute)
	before := f.written()
	for _, w := range []*httptest.ResponseRecorder{send(bearer, 101), write("PATCH", bearer, edit, 101)} {
		if w.Code != 429 || w.Header().Get("Retry-After") != "2100" || !strings.Contains(w.Body.String(), "1000 bytes written per hour by a user") {
			t.Errorf("above the limit: %d, Retry-After %s: %s", w.Code, w.Header().Get("Retry-After"), w.Body)
		}
	}
	if f.written() != before {
		t.Error("a refused request was written")
	}
	if w := send(bearer, 100); w.Code != 201 {
		t.Errorf("the last 100 bytes: %d", w.Code)
	}
	if w := f.get(bearer, page(thread, 10)); w.Code != 200 {
		t.Errorf("a list meanwhile: %d", w.Code)
	}
	if w := send(bobs, 1000); w.Code != 201 {
		t.Errorf("another user: %d", w.Code)
	}
	f.clock.advance(35 * time.Minute)
	if w := send(bearer, 900); w.Code != 201 {
		t.Errorf("after Retry-After: %d", w.Code)
	}

	// Refused requests count if checking them cost work: requests of users who are not in the thread,
	// requests with forbidden content, and requests whose body is not JSON.
	_, eves := f.user(t, token.Chat)
	if w := send(eves, 900); w.Code != 403 {
		t.Errorf("a stranger: %d", w.Code)
	}
	if w := send(eves, 101); w.Code != 429 {
		t.Errorf("a stranger's next bytes: %d, want 429", w.Code)
	}
	for _, body := range []string{
		`{"type":"html","content":"<script>` + strings.Repeat("x", 900) + `"}`,
		`{"content":` + strings.Repeat("[", 900),
	} {
		user, bearer := f.user(t, token.Chat)
		f.join(t, ann, thread, user)
		r := httptest.NewRequest("POST", "/chat/threads/"+thread+"/messages?api-version=2021-09-07", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+bearer)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if w.Code != 400 {
			t.Errorf("%.40s: %d, want 400", body, w.Code)
		}
		if w := send(bearer, 101); w.Code != 429 {
			t.Errorf("after %.40s: %d, want 429", body, w.Code)
		}
	}
}
