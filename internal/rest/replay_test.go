package rest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// sanitized is the text that stands for private values in recordings of the Python SDK.
const sanitized = "sanitized"

// replay is the state of replaying one recording. It maps each recorded id to the id that this
// server uses instead, the live id, and back.
type replay struct {
	*fixture
	t              *testing.T
	client         *http.Client
	endpoint       string
	live, recorded map[string]string
	tokens         map[string]string // by id of the live user
	users          []string          // live ids, oldest first
	thread         string            // live id of the latest thread
	message        string            // live id of the latest message
	caller         string            // live id
	nextLink       string            // of the latest response
}

// ids matches the ids of users, threads and messages in a text. They differ from run to run.
var ids = regexp.MustCompile(`8:acs:[0-9a-f-]{36}_[0-9a-f-]{36}|19(?::|%3A)[\w-]{32,44}@thread\.v2|\b1[0-9]{12}\b`)

func plain(id string) string { return strings.Replace(id, "19%3A", "19:", 1) }

func (r *replay) bind(recorded, live string) bool {
	recorded, live = plain(recorded), plain(live)
	l, ok1 := r.live[recorded]
	was, ok2 := r.recorded[live]
	if ok1 || ok2 {
		return l == live && was == recorded
	}
	r.live[recorded], r.recorded[live] = live, recorded
	return true
}

// user returns the id of this server's user that stands for a recorded user. It creates that user
// at the first call with the recorded id.
func (r *replay) user(recorded string) string {
	if _, ok := r.live[recorded]; !ok {
		r.bind(recorded, r.newUser())
	}
	return r.live[recorded]
}

func (r *replay) newUser() string {
	id, bearer := r.fixture.user(r.t, token.Chat)
	r.users = append(r.users, id)
	r.tokens[id] = bearer
	return id
}

// fill returns the text with each recorded id replaced by this server's id.
func (r *replay) fill(s string) string {
	return ids.ReplaceAllStringFunc(s, func(id string) string {
		if strings.HasPrefix(id, "8:acs:") {
			return r.user(id)
		}
		if live, ok := r.live[plain(id)]; ok {
			return live
		}
		return id
	})
}

func (r *replay) exchange(e exchange) []string {
	if e.api() == chat && e.Request.Path == "/chat/threads" && e.Request.Method == "POST" {
		r.caller = r.user(creator(e.Response.Body))
	}
	target, body := r.request(e)
	req, err := http.NewRequest(e.Request.Method, r.endpoint+target, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for name, value := range e.Request.Headers {
		switch strings.ToLower(name) {
		case "accept", "content-type", "origin", "repeatability-request-id", "x-ms-client-request-id", "x-ms-return-client-request-id", "user-agent":
			req.Header.Set(name, value)
		}
	}
	if e.api() == identity {
		r.sign(r.t, req, 0)
	} else {
		req.Header.Set("Authorization", "Bearer "+r.bearer())
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	r.clock.advance(700 * time.Millisecond)
	differences := r.compareHead(e, resp)
	if want, got := parseTree(e.Response.Body), parseTree(answer); want == nil || got == nil {
		if want != got {
			differences = append(differences, fmt.Sprintf("body: %q, want %s", answer, e.Response.Body))
		}
	} else {
		differences = append(differences, r.compare("body", want, got)...)
	}
	r.learn(e, answer)
	return differences
}

// request returns the target and the body of a recorded request with the ids of this server. Where
// the recording has the text "sanitized", request inserts the id of the latest user, thread or
// message.
func (r *replay) request(e exchange) (target, body string) {
	q := e.Request.Query
	if q["syncState"] != "" {
		return strings.TrimPrefix(r.nextLink, r.endpoint), ""
	}
	path := r.fill(strings.NewReplacer("%3A", ":", "%40", "@").Replace(e.Request.Path))
	for prefix, last := range map[string]string{"/identities/": r.lastUser(), "/threads/": r.thread, "/messages/": r.message} {
		path = strings.Replace(path, prefix+sanitized, prefix+last, 1)
	}
	if !strings.Contains(e.Request.Path, "@") { // escape the ids in the path if the recorded client has done so
		path = strings.NewReplacer("19:", "19%3A", "@", "%40", "8:acs:", "8%3Aacs%3A").Replace(path)
	}
	values := url.Values{}
	for name, value := range q {
		values.Set(name, value)
	}
	if string(e.Request.Body) != "null" {
		body = r.fill(string(e.Request.Body))
		body = regexp.MustCompile(`"participants":\s*"sanitized"`).ReplaceAllString(body, `"participants":[`+r.participant(e)+`]`)
		body = regexp.MustCompile(`"chatMessageId":\s*"sanitized"`).ReplaceAllString(body, `"chatMessageId":"`+r.message+`"`)
		body = regexp.MustCompile(`"(appId|userId)":\s*"sanitized"`).ReplaceAllString(body, `"$1":"`+resourceID+`"`)
	}
	return path + "?" + values.Encode(), body
}

// lastUser returns the id of the latest user that the replay created. If there is none, it returns
// the id of a user of another resource, because a recording that creates no users tests such ids.
func (r *replay) lastUser() string {
	if len(r.users) == 0 {
		return "8:acs:99999999-2222-3333-4444-555555555555_0000000c-6219-6975-dc7b-2548220015a8"
	}
	return r.users[len(r.users)-1]
}

func (r *replay) participant(e exchange) string {
	if apiver.Feature("flat ids").Has(apiver.Version(e.Request.Query["api-version"])) {
		return `{"id":"` + r.caller + `"}`
	}
	return `{"communicationIdentifier":{"communicationUser":{"id":"` + r.caller + `"}}}`
}

// bearer returns a token of the user that created the latest thread.
func (r *replay) bearer() string {
	if r.tokens[r.caller] == "" {
		user, err := r.core.User(r.t.Context(), r.caller)
		if err != nil {
			r.t.Fatal(err)
		}
		if r.tokens[r.caller], _, err = r.fixture.tokens.Issue(user, token.Chat, time.Hour, r.fixture.tokens.Held()[0]); err != nil {
			r.t.Fatal(err)
		}
	}
	return r.tokens[r.caller]
}

// learn stores the ids, tokens and links in a response for later requests.
func (r *replay) learn(e exchange, answer []byte) {
	var a struct {
		Identity    struct{ ID string }
		AccessToken struct{ Token string }
		Token       string
		ChatThread  struct{ ID string }
		ID          string
		NextLink    string

		MultipleStatus []struct{ ID, Type string }
	}
	json.Unmarshal(answer, &a)
	if e.Request.Path == "/identities" && a.Identity.ID == "" { // read the id from the top of the body, where the api-versions of 2020 have it
		a.Identity.ID = a.ID
	}
	if a.Identity.ID != "" && !slices.Contains(r.users, a.Identity.ID) {
		r.users = append(r.users, a.Identity.ID)
		r.tokens[a.Identity.ID] = a.AccessToken.Token
	}
	if a.Token != "" && len(r.users) > 0 {
		r.tokens[r.lastUser()] = a.Token
	}
	if a.ChatThread.ID != "" {
		r.thread = a.ChatThread.ID
	}
	for _, s := range a.MultipleStatus {
		if s.Type == "Thread" {
			r.thread = s.ID
		}
	}
	if strings.HasSuffix(e.Request.Path, "/messages") && e.Request.Method == "POST" {
		r.message = a.ID
	}
	if e.Request.Method == "DELETE" && strings.HasPrefix(e.Request.Path, "/identities/") && len(r.users) > 1 {
		r.users = r.users[:len(r.users)-1]
	}
	r.nextLink = a.NextLink
}

// creator returns the id of the thread's creator from the body of a response of any api-version,
// or "" if the body has none.
func creator(body json.RawMessage) string {
	type model struct{ RawID string }
	var a struct {
		ChatThread struct {
			CreatedBy                        string
			CreatedByCommunicationIdentifier model
		}
		CreatedByCommunicationIdentifier model
		CreatedBy                        string
		MultipleStatus                   []struct{ ID, Type string } // members, then the thread
	}
	json.Unmarshal(body, &a)
	if s := a.MultipleStatus; len(s) > 1 && s[len(s)-1].Type == "Thread" {
		return s[0].ID
	}
	for _, id := range []string{a.ChatThread.CreatedBy, a.ChatThread.CreatedByCommunicationIdentifier.RawID, a.CreatedByCommunicationIdentifier.RawID, a.CreatedBy} {
		if id != "" {
			return id
		}
	}
	return ""
}

// assumed describes the thread, users and messages that a recording assumes to exist. The test
// derives them from the recording's requests and responses.
type assumed struct {
	thread, owner string
	topic         string
	metadata      map[string]string // of the thread
	people        []string
	messages      map[string]recordedMessage // by sequence number
	mentioned     []string                   // messages
	receipts      []recordedMessage
}

// recordedMessage holds the fields of a recorded message or receipt that a replay needs.
type recordedMessage struct {
	ID, Type, SequenceID, ChatMessageID string
	Content                             recordedContent
	SenderID                            string
	SenderCommunicationIdentifier       struct{ RawID string }
	Metadata                            map[string]string
	Value                               []recordedMessage // entries of a page
}

// recordedContent is the content of a recorded message. In the oldest recordings it is a string.
type recordedContent struct{ Message, Topic string }

func (c *recordedContent) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		return json.Unmarshal(data, &c.Message)
	}
	type object recordedContent
	return json.Unmarshal(data, (*object)(c))
}

// assume derives the thread, users and messages that must exist before a recording is
// replayed. The result is empty if the recording creates its thread or uses none.
func assume(exchanges []exchange) (a assumed) {
	var made []string // users
	a.messages = map[string]recordedMessage{}
	for _, e := range exchanges {
		path := strings.NewReplacer("%3A", ":", "%40", "@").Replace(e.Request.Path)
		if e.api() == identity {
			made = append(made, ids.FindAllString(string(e.Response.Body), -1)...)
			continue
		}
		if path == "/chat/threads" && e.Request.Method == "POST" || strings.Contains(path, sanitized) {
			return assumed{}
		}
		if path == "/chat/threads" { // a list of the one thread
			a.thread = ids.FindString(string(e.Response.Body))
			continue
		}
		a.owner = cmp.Or(a.owner, creator(e.Response.Body))
		for _, id := range ids.FindAllString(path+" "+string(e.Request.Body), -1) {
			switch id[:2] {
			case "19":
				a.thread = id
			case "8:":
				a.people = append(a.people, id)
			default:
				a.mentioned = append(a.mentioned, id)
			}
		}
		a.read(e)
		a.readThread(e, exchanges)
	}
	a.people = slices.DeleteFunc(a.people, func(id string) bool { return slices.Contains(made, id) })
	if a.owner == "" && len(a.people) > 0 {
		a.owner = a.people[0]
	}
	return a
}

// read adds the users, messages and receipts in a recorded response to a.
func (a *assumed) read(e exchange) {
	for _, id := range ids.FindAllString(string(e.Response.Body), -1) {
		if strings.HasPrefix(id, "8:") {
			a.people = append(a.people, id)
		}
	}
	if e.Request.Method != "GET" {
		return
	}
	var one recordedMessage
	json.Unmarshal(e.Response.Body, &one)
	for i, m := range append(one.Value, one) {
		if m.SequenceID == "" && m.Type != "" { // count the messages of a list of the oldest version, which has no sequence numbers; the list begins with the newest message
			m.SequenceID = strconv.Itoa(len(one.Value) - i)
		}
		if m.SequenceID != "" {
			a.messages[m.SequenceID] = m
		}
		if m.ChatMessageID != "" {
			a.mentioned = append(a.mentioned, m.ChatMessageID)
			a.receipts = append(a.receipts, m)
		}
	}
}

// readThread adds the topic and the metadata in the recorded response e to a, if e is a response
// to a request that gets the thread. It ignores values that requests of the recording have set.
func (a *assumed) readThread(e exchange, exchanges []exchange) {
	type properties struct {
		Topic    string
		Metadata map[string]string
	}
	var got properties
	if json.Unmarshal(e.Response.Body, &got); e.Request.Method != "GET" || got.Topic == "" {
		return
	}
	for _, other := range exchanges {
		var set properties
		if other.Request.Method != "PATCH" || other.Request.Path != e.Request.Path {
			continue
		}
		json.Unmarshal(other.Request.Body, &set)
		if set.Topic != "" {
			got.Topic = ""
		}
		for key := range set.Metadata {
			delete(got.Metadata, key)
		}
	}
	a.topic, a.metadata = got.Topic, got.Metadata
}

// prepare creates the thread that a recording assumes, with its members and messages.
func (r *replay) prepare(exchanges []exchange) {
	a := assume(exchanges)
	if a.thread == "" {
		return
	}
	if r.caller = r.newUser(); a.owner != "" {
		r.bind(a.owner, r.caller)
	}
	create := core.CreateThread{Topic: cmp.Or(a.topic, "test topic"), Metadata: a.metadata}
	if len(a.thread) > len("19:@thread.v2")+32 {
		create.Token = a.thread // create the thread with a token, because the recorded id has the longer form of such threads
	}
	for _, id := range a.people {
		create.Participants = append(create.Participants, core.NewParticipant{User: communication.NewUser(r.user(id))})
	}
	made, _, err := r.core.CreateThread(r.t.Context(), r.caller, create)
	if err != nil {
		r.t.Fatal(err)
	}
	r.thread = made.ID
	r.bind(a.thread, made.ID)
	for n := 3; a.reaches(n); n++ { // begin at 3, because creating the thread has used the sequence numbers 1 and 2
		r.clock.advance(time.Second)
		r.say(a.messages[strconv.Itoa(n)])
	}
	for _, id := range a.mentioned {
		if r.live[id] == "" {
			r.say(recordedMessage{ID: id, Type: "text"})
		}
	}
	for _, receipt := range a.receipts {
		id, err := core.ParseMessageID(r.live[receipt.ChatMessageID])
		if err == nil {
			err = r.core.SendReceipt(r.t.Context(), r.user(cmp.Or(receipt.SenderID, receipt.SenderCommunicationIdentifier.RawID)), r.thread, id)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// reaches reports whether the recording assumes a message with a sequence number of at least n.
func (a *assumed) reaches(n int) bool {
	for sequence := range a.messages {
		if s, _ := strconv.Atoi(sequence); s >= n {
			return true
		}
	}
	return false
}

// say sends a recorded text message. If the recorded message is not a text message, it updates the
// thread's topic instead, which uses up one sequence number too.
func (r *replay) say(m recordedMessage) {
	if !strings.EqualFold(m.Type, "text") {
		topic := cmp.Or(m.Content.Topic, "topic")
		if err := r.core.UpdateThread(r.t.Context(), r.caller, r.thread, core.UpdateThread{Topic: &topic}); err != nil {
			r.t.Fatal(err)
		}
		return
	}
	send := core.SendMessage{Kind: core.Text, Content: cmp.Or(m.Content.Message, "content"), Metadata: m.Metadata}
	id, err := r.core.SendMessage(r.t.Context(), r.caller, r.thread, send)
	if err != nil {
		r.t.Fatal(err)
	}
	r.bind(m.ID, strconv.FormatInt(id, 10))
}
