package core_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/postgres"
	"github.com/confab-chat/confab/sdk/communication"
)

// threadOp is an operation that a client carries out on a thread, in the form in which the model
// has it.
type threadOp struct {
	kind  string // the kind of operation: send, edit, delete, add, remove, topic, read or end
	who   string // asks
	whom  string // of add and remove
	label string // label of the message; each send has a different one
	text  string // of send, edit and topic
}

// threadOut is the answer to an operation on a thread, in the form in which the model has it.
type threadOut struct {
	refusal  core.Code // empty: it was done
	messages string    // of read: newest first
}

// threadState is the state of the model, a simple implementation of one thread. States
// are equal if their fields are equal.
type threadState struct {
	deleted bool
	topic   string
	members string // sorted, with commas
	history string // the messages, newest first, each as a line with the label and the text
	// views has, for each user who has left the thread, the history that the user can read. An
	// entry has the form user, zero byte, history, zero byte; entries are sorted by user. The
	// history has the messages as they were when the user left, without the texts of messages
	// that were deleted later.
	views string
}

// eachView calls f with each user who has left and the history that the user can read. It
// returns the state with each history replaced by the result of f. If the result is empty, the
// entry is removed.
func (s threadState) eachView(f func(user, history string) string) threadState {
	var b strings.Builder
	for rest := s.views; rest != ""; {
		var user, history string
		user, rest, _ = strings.Cut(rest, "\x00")
		history, rest, _ = strings.Cut(rest, "\x00")
		if history = f(user, history); history != "" {
			b.WriteString(user + "\x00" + history + "\x00")
		}
	}
	s.views = b.String()
	return s
}

// withView returns the state with history as the history that the user can read after leaving.
// An empty history means that the user has not left.
func (s threadState) withView(user, history string) threadState {
	views := map[string]string{user: history}
	s.eachView(func(other, history string) string {
		if other != user {
			views[other] = history
		}
		return ""
	})
	s.views = ""
	for _, user := range slices.Sorted(maps.Keys(views)) {
		if views[user] != "" {
			s.views += user + "\x00" + views[user] + "\x00"
		}
	}
	return s
}

func (s threadState) has(user string) bool {
	return slices.Contains(strings.Split(s.members, ","), user)
}

func (s threadState) with(user string) threadState {
	ms := append(strings.Split(s.members, ","), user)
	slices.Sort(ms)
	s.members = strings.Trim(strings.Join(slices.Compact(ms), ","), ",")
	return s
}

func (s threadState) without(user string) threadState {
	ms := slices.DeleteFunc(strings.Split(s.members, ","), func(m string) bool { return m == user })
	s.members = strings.Join(ms, ",")
	return s
}

// put returns the state with a message added as the newest. The message replaces an
// older one with the same label.
func (s threadState) put(label, text string) threadState {
	s.history = label + " " + text + "\n" + s.drop(label).history
	return s
}

func (s threadState) drop(label string) threadState {
	var kept strings.Builder
	for line := range strings.Lines(s.history) {
		if !strings.HasPrefix(line, label+" ") {
			kept.WriteString(line)
		}
	}
	s.history = kept.String()
	return s
}

func (s threadState) find(label string) (text string, ok bool) { return findIn(s.history, label) }

func findIn(history, label string) (text string, ok bool) {
	for line := range strings.Lines(history) {
		if text, ok = strings.CutPrefix(strings.TrimSuffix(line, "\n"), label+" "); ok {
			return text, true
		}
	}
	return "", false
}

// step returns the thread's answer to an operation, and the state of the thread after it.
func (s threadState) step(op threadOp) (threadOut, threadState) {
	refuse := func(c core.Code) (threadOut, threadState) { return threadOut{refusal: c}, s }
	switch {
	case s.deleted && op.kind == "end" && (s.has(op.who) || strings.Contains("\n"+s.history, "\n-"+op.who+"#")):
		return threadOut{}, s // the thread was already deleted; a user who is or was in it may delete it again
	case s.deleted:
		return refuse(core.NotFound)
	case !s.has(op.who) && op.kind == "read":
		view := ""
		s.eachView(func(user, history string) string {
			if user == op.who {
				view = history
			}
			return history
		})
		if view == "" {
			return refuse(core.Forbidden)
		}
		return threadOut{messages: readable(view)}, s
	case !s.has(op.who):
		return refuse(core.Forbidden)
	}
	switch op.kind {
	case "send":
		return threadOut{}, s.put(op.label, op.text)
	case "edit", "delete":
		text, ok := s.find(op.label)
		switch {
		case !ok, op.kind == "edit" && text == "":
			return refuse(core.NotFound)
		case op.kind == "edit":
			return threadOut{}, s.put(op.label, op.text)
		case text == "":
			return threadOut{}, s // deleted before
		}
		s = s.eachView(func(_, history string) string {
			text, _ := findIn(history, op.label)
			return strings.Replace("\n"+history, "\n"+op.label+" "+text+"\n", "\n"+op.label+" \n", 1)[1:]
		})
		return threadOut{}, s.put(op.label, "")
	case "add":
		if s.has(op.whom) {
			return threadOut{}, s
		}
		return threadOut{}, s.withView(op.whom, "").with(op.whom).put("+"+op.whom+s.tick(), "")
	case "remove":
		if !s.has(op.whom) {
			return threadOut{}, s
		}
		s = s.without(op.whom).put("-"+op.whom+s.tick(), "")
		return threadOut{}, s.withView(op.whom, s.history)
	case "topic":
		s.topic = op.text
		return threadOut{}, s.put("topic"+s.tick(), op.text)
	case "end":
		s.deleted = true
		return threadOut{}, s
	}
	return threadOut{messages: readable(s.history)}, s
}

// tick returns a suffix that makes the label of a system message unique.
func (s threadState) tick() string { return fmt.Sprint("#", strings.Count(s.history, "\n")) }

// readable returns a history as clients see it: without the suffixes that threadState.tick has
// added to the labels of system messages.
func readable(history string) string {
	var b strings.Builder
	for line := range strings.Lines(history) {
		label, text, _ := strings.Cut(line, " ")
		label, _, _ = strings.Cut(label, "#")
		b.WriteString(label + " " + text)
	}
	return b.String()
}

var threadModel = porcupine.Model{
	Init: func() any { return threadState{} },
	Step: func(state, input, output any) (bool, any) {
		op := input.(threadOp)
		if op.kind == "create" {
			return true, threadState{members: op.whom, topic: op.text}
		}
		if output.(threadOut).refusal == core.Unavailable {
			return true, state // the state stays, because an operation that fails with 503 has written nothing
		}
		out, next := state.(threadState).step(op)
		return out == output.(threadOut), next
	},
	Equal:             func(a, b any) bool { return a == b },
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// TestThreadsAreLinearizable lets several clients use one thread at the same time. It checks
// with porcupine that the operations can be put in an order in which every answer is right and
// each operation takes place between its call and its return.
func TestThreadsAreLinearizable(t *testing.T) {
	histories := 40
	if v := os.Getenv("TEST_HISTORIES"); v != "" {
		var err error
		if histories, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	h := newHouse(t, nil, nil)
	checkHistories(t, histories, h.Service)
}

// TestTwoServersAreLinearizable lets several clients use one thread through two services on one
// PostgreSQL database, each with its own store and cache. It checks with porcupine that the
// operations can be put in an order in which every answer is right.
func TestTwoServersAreLinearizable(t *testing.T) {
	address := os.Getenv("TEST_POSTGRES_URL")
	if address == "" {
		t.Skip("set TEST_POSTGRES_URL to run two services on one database: scripts/postgres -- go test ./internal/core")
	}
	address = freshDatabase(t, address)
	var services []*core.Service
	for range 2 {
		store, err := postgres.Open(t.Context(), address, postgres.Options{Initial: core.Resource{
			ID: resourceID, Epoch: "epoch", Keys: [2]core.AccessKeyRow{{Secret: []byte{1}}, {Secret: []byte{2}}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		service, err := core.New(t.Context(), store, new(local.Bus), core.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(service.Close)
		services = append(services, service)
	}
	checkHistories(t, 100, services...)
}

// freshDatabase creates a database on the PostgreSQL server with this address and returns its
// URL. It drops the database at the end of the test.
func freshDatabase(t *testing.T, address string) string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprint("core_", time.Now().UnixNano())
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
		conn.Close(ctx)
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = name
	return u.String()
}

// checkHistories records the given number of histories (sequences of operations with answers),
// with the clients spread over the services. It fails the test unless porcupine accepts each.
func checkHistories(t *testing.T, histories int, services ...*core.Service) {
	t.Helper()
	var users []string
	for range 4 {
		u, err := services[0].CreateUser(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, u.ID)
	}
	refused := 0
	for n := range histories {
		ops := runHistory(t, services, users, uint64(n))
		for _, op := range ops {
			if out, ok := op.Output.(threadOut); ok && out.refusal != "" {
				refused++
			}
		}
		result, info := porcupine.CheckOperationsVerbose(threadModel, ops, time.Minute)
		if result != porcupine.Ok {
			file := t.TempDir() + "/history.html"
			if f, err := os.Create(file); err == nil {
				porcupine.Visualize(threadModel, info, f)
				f.Close()
			}
			for _, op := range ops {
				t.Logf("client %d, %d to %d: %+v -> %+v", op.ClientId, op.Call, op.Return, op.Input, op.Output)
			}
			t.Fatalf("history %d: %s", n, result)
		}
	}
	if refused == 0 {
		t.Error("no operation was ever refused: the histories do not meet the rules")
	}
	t.Logf("%d histories, no violation; %d operations were refused, as the rules say", histories, refused)
}

// runHistory lets four clients carry out random operations on a new thread at the same
// time. It returns the operations with their answers and times.
func runHistory(t *testing.T, services []*core.Service, users []string, seed uint64) []porcupine.Operation {
	t.Helper()
	names := map[string]string{} // short, for the model
	for i, u := range users {
		names[u] = fmt.Sprint("u", i)
	}
	cmd := core.CreateThread{Topic: "topic"}
	for _, u := range users[:3] {
		cmd.Participants = append(cmd.Participants, core.NewParticipant{User: communication.ParseRawID(u), DisplayName: names[u]})
	}
	made, _, err := services[0].CreateThread(context.Background(), users[0], cmd)
	if err != nil {
		t.Fatal(err)
	}
	id := made.ID
	begin := time.Now()
	var mu sync.Mutex // guards ops and ids
	ops := []porcupine.Operation{{ClientId: len(users), Input: threadOp{kind: "create", whom: "u0,u1,u2", text: "topic"}, Output: threadOut{}, Call: -2, Return: -1}}
	ids := map[string]int64{} // of messages, by label
	var wg sync.WaitGroup
	for client, user := range users {
		h := services[client%len(services)]
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(client)))
			var mine []string
			for n := range 12 {
				op := threadOp{kind: "read", who: names[user]}
				// Many reads keep the check fast: the checker tries all orders of the
				// writes between two reads.
				kinds := []string{"send", "send", "send", "read", "read", "read", "read", "read", "add", "remove", "topic"}
				if len(mine) > 0 {
					kinds = append(kinds, "edit", "edit", "delete")
				}
				if random.IntN(60) == 0 {
					kinds = []string{"end"}
				}
				op.kind = kinds[random.IntN(len(kinds))]
				op.text = fmt.Sprintf("text%d.%d", client, n)
				other := users[random.IntN(len(users))]
				switch op.kind {
				case "send":
					op.label = fmt.Sprintf("m%d.%d", client, n)
				case "edit", "delete":
					op.label = mine[random.IntN(len(mine))]
				case "add", "remove":
					op.whom = names[other]
				}
				call := time.Since(begin).Nanoseconds()
				out, message := act(h, id, user, other, op, &mu, ids)
				back := time.Since(begin).Nanoseconds()
				if op.kind == "send" && out.refusal == "" {
					mu.Lock()
					ids[op.label] = message
					mu.Unlock()
					mine = append(mine, op.label)
				}
				mu.Lock()
				ops = append(ops, porcupine.Operation{ClientId: client, Input: op, Output: out, Call: call, Return: back})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ops
}

// act carries out an operation of the model with the real service and returns the answer. ids
// maps the labels of messages to their ids.
func act(h *core.Service, thread, user, other string, op threadOp, mu *sync.Mutex, ids map[string]int64) (out threadOut, message int64) {
	ctx := context.Background()
	mu.Lock()
	target := ids[op.label]
	mu.Unlock()
	var err error
	switch op.kind {
	case "send":
		message, err = h.SendMessage(ctx, user, thread, core.SendMessage{Kind: core.Text, Content: op.text, SenderDisplayName: op.label})
	case "edit":
		err = h.UpdateMessage(ctx, user, thread, target, core.UpdateMessage{Content: &op.text})
	case "delete":
		err = h.DeleteMessage(ctx, user, thread, target)
	case "add":
		_, err = h.AddParticipants(ctx, user, thread, []core.NewParticipant{{User: communication.ParseRawID(other), DisplayName: op.whom}})
	case "remove":
		err = h.RemoveParticipant(ctx, user, thread, communication.ParseRawID(other))
	case "topic":
		err = h.UpdateThread(ctx, user, thread, core.UpdateThread{Topic: &op.text})
	case "end":
		err = h.DeleteThread(ctx, user, thread)
	case "read":
		var page core.MessagesPage
		if page, err = h.ListMessages(ctx, user, thread, core.ListMessages{Limit: 200}); err == nil {
			out.messages = told(page.Messages)
		}
	}
	var refusal *core.Error
	if errors.As(err, &refusal) {
		out.refusal = refusal.Code
	} else if err != nil {
		out.refusal = core.Code("unexpected: " + err.Error())
	}
	return out, message
}

// told returns messages in the form in which the model keeps its history. It leaves out the two
// system messages of a new thread, because the model does not have them.
func told(ms []core.Message) string {
	var b strings.Builder
	for _, m := range ms {
		if m.Sequence <= 2 {
			continue
		}
		switch m.Kind {
		case core.TopicUpdated:
			b.WriteString("topic " + m.Content + "\n")
		case core.ParticipantAdded:
			b.WriteString("+" + m.Participants[0].DisplayName + " \n")
		case core.ParticipantRemoved:
			b.WriteString("-" + m.Participants[0].DisplayName + " \n")
		default:
			b.WriteString(m.SenderDisplayName + " " + m.Content + "\n")
		}
	}
	return b.String()
}
