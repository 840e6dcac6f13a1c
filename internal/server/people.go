package server

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// personToken is the lifetime of the tokens of the chat page's users.
const personToken = 24 * time.Hour

// Names of the users and threads that the chat page needs. Custom ids and the idempotency token
// make servers that share a database, and a server after a restart, find the same users and the
// same Lobby.
const (
	lobbyHost   = "confab-lobby"         // custom id of the host, the user that creates the Lobby and adds people to it
	joinedUsers = "confab-joined:"       // prefix of the custom ids of users that /dev/join creates; a random text follows
	lobbyTopic  = "Lobby"                // of the thread that everybody joins
	hostName    = "Confab"               // display name of the host
	mostLobbies = 1000                   // greatest number of Lobbies that a server creates
	lobbyToken  = "confab-lobby-created" // the idempotency token of the first Lobby
)

// people creates the users of the chat page of a development server. It implements dev.People.
type people struct {
	s     *Server
	lobby atomic.Int64 // number of the Lobby that new users join; lobbyID returns its id
}

// Join implements dev.People.
func (p *people) Join(ctx context.Context, name, thread, user string) (dev.Person, error) {
	if thread != "" {
		if _, err := p.adder(ctx, thread); err != nil { // check that the thread exists before a user is created
			return dev.Person{}, personError(err)
		}
	}
	made := user == ""
	var u core.User
	var err error
	if made {
		u, err = p.s.core.UserByCustomID(ctx, joinedUsers+rand.Text())
	} else {
		u, err = p.joined(ctx, user)
	}
	if err != nil {
		return dev.Person{}, personError(err)
	}
	out := dev.Person{User: u.ID, Thread: thread}
	as := core.NewParticipant{User: communication.ParseRawID(u.ID), DisplayName: name}
	if made || thread == "" {
		out.Lobby, err = p.joinLobby(ctx, as)
	} else {
		out.Lobby, err = p.lobbyNow(ctx)
	}
	if err != nil {
		return dev.Person{}, personError(err)
	}
	if thread == "" {
		out.Thread = out.Lobby
	} else if err := p.joinThread(ctx, thread, as); err != nil {
		return dev.Person{}, personError(err)
	}
	out.Token, out.Expires, err = p.s.IssueToken(ctx, u.ID, token.Chat, personToken)
	return out, personError(err)
}

// Token implements dev.People.
func (p *people) Token(ctx context.Context, user string) (dev.Person, error) {
	u, err := p.joined(ctx, user)
	if err != nil {
		return dev.Person{}, personError(err)
	}
	out := dev.Person{User: u.ID}
	out.Token, out.Expires, err = p.s.IssueToken(ctx, u.ID, token.Chat, personToken)
	return out, personError(err)
}

// joined returns the user with the given id if Join has created that user and it was not deleted.
// Otherwise it fails with status 404. The check is needed because everybody who can reach a
// development server can get a token of a user of the chat page. A token of another user, such as
// a user of a program under test, needs an access key.
func (p *people) joined(ctx context.Context, id string) (core.User, error) {
	u, err := p.s.core.LiveUser(ctx, id)
	var refused *core.Error
	if errors.As(err, &refused) && refused.Code != core.Unavailable || err == nil && !strings.HasPrefix(u.CustomID, joinedUsers) {
		return core.User{}, dev.Refuse(http.StatusNotFound, "there is no user "+clip.Text(id, maxEcho)+" that /dev/join has made: join again")
	}
	return u, err
}

// adder returns the participant as whom Join adds people to a thread: the creator of the thread
// or, if the creator has left, another participant. It fails with 404 if the thread has no
// participants or does not exist.
func (p *people) adder(ctx context.Context, thread string) (user string, err error) {
	t, err := p.s.core.Inspect(ctx, thread)
	if err != nil {
		return "", err
	}
	if t.DeletedOn != 0 || len(t.Participants()) == 0 {
		return "", dev.Refuse(http.StatusNotFound, "the thread "+clip.Text(thread, maxEcho)+" was deleted, or everybody has left it")
	}
	if creator := t.Member(t.CreatedBy); creator != nil && creator.Present() {
		return creator.User, nil
	}
	return t.Participants()[0].User, nil
}

// joinThread adds a user to a thread. The user may read the whole history of the thread.
func (p *people) joinThread(ctx context.Context, thread string, as core.NewParticipant) error {
	adder, err := p.adder(ctx, thread)
	if err != nil {
		return err
	}
	return p.add(ctx, adder, thread, as)
}

// add adds a user to a thread as if the participant adder had done so.
func (p *people) add(ctx context.Context, adder, thread string, as core.NewParticipant) error {
	invalid, err := p.s.core.AddParticipants(ctx, adder, thread, []core.NewParticipant{as})
	if err == nil && len(invalid) > 0 {
		err = dev.Refuse(http.StatusConflict, "the user "+clip.Text(as.User.RawID(), maxEcho)+" cannot be added: "+invalid[0].Message)
	}
	return err
}

// joinLobby adds a user to the Lobby and returns the Lobby's id. It creates a Lobby if none
// exists, and another one if the present Lobby is full, was deleted, or no longer has its host.
func (p *people) joinLobby(ctx context.Context, as core.NewParticipant) (thread string, err error) {
	host, err := p.s.core.UserByCustomID(ctx, lobbyHost)
	if err != nil {
		return "", err
	}
	for n := p.lobby.Load(); n < mostLobbies; n++ {
		thread = p.s.core.ThreadIDFor(host.ID, lobbyTokenOf(n))
		err = p.add(ctx, host.ID, thread, as)
		if isCode(err, core.NotFound) { // this error means that the Lobby was not created yet, or was deleted
			if err := p.createLobby(ctx, host.ID, n); err != nil {
				return "", err
			}
			err = p.add(ctx, host.ID, thread, as)
		}
		if err == nil {
			p.lobby.Store(n)
			return thread, nil
		}
		if !isCode(err, core.NotFound) && !isCode(err, core.Forbidden) && !full(err) {
			return "", err
		}
	}
	return "", err
}

// createLobby creates the Lobby with the number n. It does nothing if that Lobby exists already.
func (p *people) createLobby(ctx context.Context, host string, n int64) error {
	_, _, err := p.s.core.CreateThread(ctx, host, core.CreateThread{
		Topic: lobbyTopic, Token: lobbyTokenOf(n),
		Participants: []core.NewParticipant{{User: communication.ParseRawID(host), DisplayName: hostName}},
	})
	return err
}

// lobbyNow returns the id of the Lobby that new users join, or "" if nobody has joined a Lobby
// yet.
func (p *people) lobbyNow(ctx context.Context) (thread string, err error) {
	host, err := p.s.store.UserByCustomID(ctx, lobbyHost)
	if err != nil || host.State != core.UserLive {
		return "", err
	}
	for n := p.lobby.Load(); n < mostLobbies; n++ {
		id := p.s.core.ThreadIDFor(host.ID, lobbyTokenOf(n))
		t, err := p.s.core.Inspect(ctx, id)
		if isCode(err, core.NotFound) {
			break
		}
		if err != nil {
			return "", err
		}
		if m := t.Member(host.ID); t.DeletedOn == 0 && m != nil && m.Present() {
			thread = id
			break
		}
	}
	return thread, nil
}

// lobbyTokenOf returns the idempotency token with which the host creates the Lobby with the number
// n. The token determines the id of the Lobby's thread.
func lobbyTokenOf(n int64) string { return lobbyToken + "-" + strconv.FormatInt(n, 10) }

func isCode(err error, code core.Code) bool {
	var e *core.Error
	return errors.As(err, &e) && e.Code == code
}

// full reports whether an error of AddParticipants means that the thread has no room for more
// people.
func full(err error) bool {
	var e *core.Error
	return errors.As(err, &e) && e.Code == core.BadRequest && e.Target == "participants"
}

// personStatuses maps the codes of errors of package core in Join and Token to the HTTP statuses
// of the responses.
var personStatuses = map[core.Code]int{
	core.BadRequest: http.StatusBadRequest, core.Validation: http.StatusBadRequest, core.NotFound: http.StatusNotFound,
	core.Forbidden: http.StatusConflict, core.Unavailable: http.StatusServiceUnavailable,
	// The user was deleted while the request was handled.
	core.Unauthorized: http.StatusConflict, core.IdentityNotOwned: http.StatusConflict,
}

// personError converts an error of package core whose code is in personStatuses to an error of
// dev.Refuse. It returns other errors, and nil, unchanged.
func personError(err error) error {
	var e *core.Error
	if errors.As(err, &e) && personStatuses[e.Code] != 0 {
		return dev.Refuse(personStatuses[e.Code], e.Message)
	}
	return err
}
