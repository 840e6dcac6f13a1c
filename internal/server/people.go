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

// personToken is the lifetime of the tokens of the chat page.
const personToken = 24 * time.Hour

// Custom ids of the users that the chat page needs. They are how servers that share a database,
// and a server after a restart, know these users again.
const (
	lobbyHost   = "confab-lobby"         // creates the Lobby and adds people to it
	joinedUsers = "confab-joined:"       // the prefix for users of /dev/join, before a random text
	lobbyTopic  = "Lobby"                // of the thread that everybody joins
	hostName    = "Confab"               // display name of the host
	mostLobbies = 1000                   // that a server opens one after another
	lobbyToken  = "confab-lobby-created" // the idempotency token of the first Lobby
)

// people makes the users of the chat page of a development server. It implements dev.People.
type people struct {
	s     *Server
	lobby atomic.Int64 // the number of the Lobby that people join; see lobbyID
}

// Join implements dev.People.
func (p *people) Join(ctx context.Context, name, thread, user string) (dev.Person, error) {
	if thread != "" {
		if _, err := p.adder(ctx, thread); err != nil { // before anything is made
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

// joined returns a live user that Join has made. It refuses all others: whoever can reach a
// development server may be any of its visitors, but not the users of the programs under test,
// whose tokens need an access key.
func (p *people) joined(ctx context.Context, id string) (core.User, error) {
	u, err := p.s.core.LiveUser(ctx, id)
	var refused *core.Error
	if errors.As(err, &refused) && refused.Code != core.Unavailable || err == nil && !strings.HasPrefix(u.CustomID, joinedUsers) {
		return core.User{}, dev.Refuse(http.StatusNotFound, "there is no user "+clip.Text(id, maxEcho)+" that /dev/join has made: join again")
	}
	return u, err
}

// adder returns a participant of a thread, in whose name Join adds people: the thread's creator
// if it is still there. It fails with 404 if the thread has no participants or does not exist.
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

// joinThread adds a user to a thread, with all of its history.
func (p *people) joinThread(ctx context.Context, thread string, as core.NewParticipant) error {
	adder, err := p.adder(ctx, thread)
	if err != nil {
		return err
	}
	return p.add(ctx, adder, thread, as)
}

// add adds a user to a thread in the name of a participant.
func (p *people) add(ctx context.Context, adder, thread string, as core.NewParticipant) error {
	invalid, err := p.s.core.AddParticipants(ctx, adder, thread, []core.NewParticipant{as})
	if err == nil && len(invalid) > 0 {
		err = dev.Refuse(http.StatusConflict, "the user "+clip.Text(as.User.RawID(), maxEcho)+" cannot be added: "+invalid[0].Message)
	}
	return err
}

// joinLobby adds a user to the Lobby and returns the Lobby's id. It creates the Lobby if there is
// none, and another one if the Lobby is full, was deleted, or has lost its host.
func (p *people) joinLobby(ctx context.Context, as core.NewParticipant) (thread string, err error) {
	host, err := p.s.core.UserByCustomID(ctx, lobbyHost)
	if err != nil {
		return "", err
	}
	for n := p.lobby.Load(); n < mostLobbies; n++ {
		thread = p.s.core.ThreadIDFor(host.ID, lobbyTokenOf(n))
		err = p.add(ctx, host.ID, thread, as)
		if isCode(err, core.NotFound) { // not created yet, or deleted
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

// createLobby creates a Lobby, if that has not happened before.
func (p *people) createLobby(ctx context.Context, host string, n int64) error {
	_, _, err := p.s.core.CreateThread(ctx, host, core.CreateThread{
		Topic: lobbyTopic, Token: lobbyTokenOf(n),
		Participants: []core.NewParticipant{{User: communication.ParseRawID(host), DisplayName: hostName}},
	})
	return err
}

// lobbyNow returns the id of the Lobby that people join, or "" if nobody has joined one.
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

// lobbyTokenOf returns the idempotency token with which the host creates the Lobby of a number.
// The thread's id follows from it.
func lobbyTokenOf(n int64) string { return lobbyToken + "-" + strconv.FormatInt(n, 10) }

func isCode(err error, code core.Code) bool {
	var e *core.Error
	return errors.As(err, &e) && e.Code == code
}

// full reports whether an error of AddParticipants means that the thread takes no more people.
func full(err error) bool {
	var e *core.Error
	return errors.As(err, &e) && e.Code == core.BadRequest && e.Target == "participants"
}

// personStatuses are the statuses of the refusals of core that Join and Token can meet.
var personStatuses = map[core.Code]int{
	core.BadRequest: http.StatusBadRequest, core.Validation: http.StatusBadRequest, core.NotFound: http.StatusNotFound,
	core.Forbidden: http.StatusConflict, core.Unavailable: http.StatusServiceUnavailable,
	// The user was deleted in the meantime.
	core.Unauthorized: http.StatusConflict, core.IdentityNotOwned: http.StatusConflict,
}

// personError returns the error for dev.People for an error of core. It returns nil for nil.
func personError(err error) error {
	var e *core.Error
	if errors.As(err, &e) && personStatuses[e.Code] != 0 {
		return dev.Refuse(personStatuses[e.Code], e.Message)
	}
	return err
}
