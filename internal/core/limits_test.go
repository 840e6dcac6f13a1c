package core_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestLimitOfContentIsForWhatIsStored sends and edits HTML messages that cleaning makes longer or
// shorter. It checks that the limit applies to the cleaned content.
func TestLimitOfContentIsForWhatIsStored(t *testing.T) {
	const limit = 1000
	h := newHouseWith(t, nil, nil, core.Options{Limits: core.Limits{Content: limit}})
	ctx := context.Background()
	ann := h.user(t)
	thread := h.thread(t, ann)
	html := func(s string) core.SendMessage { return core.SendMessage{Content: s, Kind: core.HTML} }
	first, err := h.SendMessage(ctx, ann, thread, html("short"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, content string
		fits          bool
	}{
		{"grows from 600 bytes to 1400", strings.Repeat("& ", 200) + strings.Repeat("x", 200), false},
		{"shrinks from 2000 bytes to 990", strings.Repeat("x", 990) + "<script>" + strings.Repeat("y", 1000) + "</script>", true},
		{"stays at the limit", strings.Repeat("x", limit), true},
		{"stays above it", strings.Repeat("x", limit+1), false},
	} {
		_, errSend := h.SendMessage(ctx, ann, thread, html(c.content))
		errEdit := h.UpdateMessage(ctx, ann, thread, first, core.UpdateMessage{Content: &c.content})
		for what, err := range map[string]error{"send": errSend, "edit": errEdit} {
			if c.fits && err != nil {
				t.Errorf("%s, which %s: %v", what, c.name, err)
			}
			if !c.fits {
				wantError(t, what+", which "+c.name, err, core.BadRequest, "The content field has 1")
			}
		}
	}
	page, err := h.ListMessages(ctx, ann, thread, core.ListMessages{Limit: 200})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range page.Messages {
		if len(m.Content) > limit {
			t.Errorf("a content of %d bytes is stored", len(m.Content))
		}
	}
}

// TestRefusedHTMLCostsLittle sends very long HTML, and edits messages to it, that exceeds the limit
// only after cleaning. It checks that little more memory than the limit is allocated before the
// request is refused. It also checks that a user who is not in the thread is refused for that
// reason: the service does not clean HTML from strangers.
func TestRefusedHTMLCostsLittle(t *testing.T) {
	const limit = 64 << 10
	h := newHouseWith(t, nil, nil, core.Options{Limits: core.Limits{Content: limit}})
	ctx := context.Background()
	ann, eve := h.user(t), h.user(t)
	thread := h.thread(t, ann)
	own, err := h.SendMessage(ctx, ann, thread, core.SendMessage{Content: "<b>x</b>", Kind: core.HTML})
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{strings.Repeat("&", core.MaxContent), "<!-->" + strings.Repeat("x", core.MaxContent-len("<!-->"))} {
		send := func(user string) error {
			_, err := h.SendMessage(ctx, user, thread, core.SendMessage{Content: content, Kind: core.HTML})
			return err
		}
		edit := func(user string) error {
			return h.UpdateMessage(ctx, user, thread, own, core.UpdateMessage{Content: &content})
		}
		for what, do := range map[string]func(string) error{"send": send, "edit": edit} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := do(ann)
			runtime.ReadMemStats(&after)
			wantError(t, what, err, core.BadRequest, "The content field has 65537 bytes or more")
			if n := after.TotalAlloc - before.TotalAlloc; n > 8*limit {
				t.Errorf("the %s of %d bytes allocates %d bytes before it is refused, at a limit of %d", what, len(content), n, limit)
			}
			wantError(t, what+" by a stranger", do(eve), core.Forbidden, noPermission)
		}
	}
}

// TestMetadataAreBounded checks that a service with zero Limits refuses too much metadata of
// threads, messages and participants.
func TestMetadataAreBounded(t *testing.T) {
	h := newHouse(t, nil, nil)
	ctx := context.Background()
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann)
	message := h.send(t, ann, thread, "text")
	keys := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint(i)] = ""
		}
		return m
	}
	of := func(bytes int) map[string]string { return map[string]string{"k": strings.Repeat("x", bytes-1)} }
	patch := func(m map[string]string) map[string]*string {
		p := map[string]*string{}
		for k, v := range m {
			p[k] = &v
		}
		return p
	}
	for what, try := range map[string]func(m map[string]string) error{
		"create": func(m map[string]string) error {
			_, _, err := h.CreateThread(ctx, ann, core.CreateThread{Topic: "t", Metadata: m})
			return err
		},
		"participant of a create": func(m map[string]string) error {
			_, _, err := h.CreateThread(ctx, ann, core.CreateThread{Topic: "t", Participants: []core.NewParticipant{{User: communication.ParseRawID(bob), Metadata: m}}})
			return err
		},
		"update": func(m map[string]string) error {
			return h.UpdateThread(ctx, ann, h.thread(t, ann), core.UpdateThread{Metadata: patch(m)})
		},
		"add": func(m map[string]string) error {
			_, err := h.AddParticipants(ctx, ann, h.thread(t, ann), []core.NewParticipant{{User: communication.ParseRawID(bob), Metadata: m}})
			return err
		},
		"send": func(m map[string]string) error {
			_, err := h.SendMessage(ctx, ann, thread, core.SendMessage{Content: "x", Kind: core.Text, Metadata: m})
			return err
		},
	} {
		for _, m := range []map[string]string{keys(100), of(4096)} {
			if err := try(m); err != nil {
				t.Errorf("%s with %d keys: %v", what, len(m), err)
			}
		}
		wantError(t, what+" with 101 keys", try(keys(101)), core.BadRequest, "")
		wantError(t, what+" with 4097 bytes", try(of(4097)), core.BadRequest, "")
	}
	// Each edit adds a key to the message's metadata.
	for i := range 100 {
		k, v := fmt.Sprint("key ", i), "v"
		if err := h.UpdateMessage(ctx, ann, thread, message, core.UpdateMessage{Metadata: map[string]*string{k: &v}}); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, "edit to 101 keys", h.UpdateMessage(ctx, ann, thread, message, core.UpdateMessage{Metadata: patch(map[string]string{"one more": "v"})}), core.BadRequest, "The metadata field has 101 keys")
}

// TestOldMetadataMayStay stores a thread and a message with metadata above the limit, as older
// versions of Confab did. It checks that both can be changed as long as the metadata does not grow.
func TestOldMetadataMayStay(t *testing.T) {
	h := newHouse(t, nil, nil)
	ctx := context.Background()
	ann := h.user(t)
	thread := h.thread(t, ann)
	h.send(t, ann, thread, "text")
	large := map[string]string{"large": strings.Repeat("x", 20_000), "small": "x"}
	th, err := h.store.Thread(ctx, thread)
	if err != nil {
		t.Fatal(err)
	}
	p := th.Properties
	p.Metadata = large
	h.behind(t, &core.Change{Key: thread, Thread: thread, Revision: th.Revision, Properties: &p, Roster: th.Participants(),
		Messages: []core.Message{{Kind: core.Text, Sender: ann, Content: "old", Metadata: large}}})
	page, err := h.ListMessages(ctx, ann, thread, core.ListMessages{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	id, topic, content, more := page.Messages[0].ID, "new topic", "new content", "xx"
	if err := h.UpdateThread(ctx, ann, thread, core.UpdateThread{Topic: &topic}); err != nil {
		t.Errorf("a new topic: %v", err)
	}
	if err := h.UpdateMessage(ctx, ann, thread, id, core.UpdateMessage{Content: &content}); err != nil {
		t.Errorf("a new content: %v", err)
	}
	wantError(t, "more of the thread", h.UpdateThread(ctx, ann, thread, core.UpdateThread{Metadata: map[string]*string{"small": &more}}), core.BadRequest, "The metadata field has")
	wantError(t, "more of the message", h.UpdateMessage(ctx, ann, thread, id, core.UpdateMessage{Metadata: map[string]*string{"small": &more}}), core.BadRequest, "The metadata field has")
	if err := h.UpdateThread(ctx, ann, thread, core.UpdateThread{Metadata: map[string]*string{"small": nil}}); err != nil {
		t.Errorf("less of the thread: %v", err)
	}
	got, err := h.Thread(ctx, ann, thread)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"large": large["large"]}, got.Metadata); diff != "" {
		t.Errorf("the thread's metadata (-want +got):\n%s", diff)
	}
}

// TestParticipantsAreBounded checks that a service with zero Limits refuses a request that names
// too many participants, and a request that would give a thread too many.
func TestParticipantsAreBounded(t *testing.T) {
	ctx := context.Background()
	h := newHouseWith(t, nil, nil, core.Options{Limits: core.Limits{Participants: 3}})
	ann := h.user(t)
	thread := h.thread(t, ann)
	unknown := func(n int) (ps []core.NewParticipant) {
		for i := range n {
			ps = append(ps, core.NewParticipant{User: communication.ParseRawID(communication.JoinUserID(resourceID, fmt.Sprintf("00000000-0000-0000-0000-%012d", i)))})
		}
		return ps
	}
	for what, try := range map[string]func(ps []core.NewParticipant) ([]core.InvalidParticipant, error){
		"create": func(ps []core.NewParticipant) ([]core.InvalidParticipant, error) {
			_, invalid, err := h.CreateThread(ctx, ann, core.CreateThread{Topic: "t", Participants: ps})
			return invalid, err
		},
		"add": func(ps []core.NewParticipant) ([]core.InvalidParticipant, error) {
			return h.AddParticipants(ctx, ann, thread, ps)
		},
	} {
		if invalid, err := try(unknown(1000)); len(invalid) != 1000 || err != nil {
			t.Errorf("%s with 1000 unknown users: %d refused, %v", what, len(invalid), err)
		}
		_, err := try(unknown(1001))
		wantError(t, what+" with 1001 unknown users", err, core.BadRequest, "1001 participants are too many for one request")
		_, err = try([]core.NewParticipant{{User: communication.ParseRawID("4:+" + strings.Repeat("1", 300))}})
		wantError(t, what+" with a long phone number", err, core.BadRequest, "Identifier format is invalid")
		var four []core.NewParticipant
		for range 3 {
			four = append(four, core.NewParticipant{User: communication.ParseRawID(h.user(t))})
		}
		_, err = try(four) // and the caller
		wantError(t, what+" with four in all", err, core.BadRequest, "4 participants are too many for one thread")
	}
}

// TestRosterIsBounded adds participants with long names and metadata to a thread until the bytes of
// all member rows reach the bound. It checks that further participants are refused.
func TestRosterIsBounded(t *testing.T) {
	ctx := context.Background()
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	added := 0
	for added < 3000 {
		var ps []core.NewParticipant
		for range 500 {
			ps = append(ps, core.NewParticipant{
				User: communication.ParseRawID(h.user(t)), DisplayName: strings.Repeat("€", 256), Metadata: map[string]string{"k": strings.Repeat("x", 4095)},
			})
		}
		if _, err := h.AddParticipants(ctx, ann, thread, ps); err != nil {
			wantError(t, "add", err, core.BadRequest, "The names and metadata of the thread's participants have")
			break
		}
		added += len(ps)
	}
	if size := added * (4096 + 3*256); added == 0 || size > 8<<20 {
		t.Errorf("%d participants with %d bytes were added, want at most 8 MiB", added, size)
	}
}
