package admin

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
)

// User is a user in the store.
type User struct {
	ID            string `json:"id"`
	State         string `json:"state"` // live, deleting or deleted
	CustomID      string `json:"customId,omitempty"`
	DisplayName   string `json:"displayName,omitempty"` // the display name in a thread, if a search by name found the user
	DeletedAt     string `json:"deletedAt,omitempty"`
	TokenIssuedAt string `json:"tokenIssuedAt,omitempty"`
	Revoked       uint64 `json:"revoked"` // the number of times that the user's tokens were revoked
}

// UserDetail is a user with the user's live connections to this server.
type UserDetail struct {
	User
	Connections []Connection `json:"connections"`
}

// Connection is a live connection.
type Connection struct {
	Protocol string `json:"protocol"` // trouter or sse
	From     string `json:"from,omitempty"`
	Since    string `json:"since"`
	Agent    string `json:"agent,omitempty"`
	Waiting  int    `json:"waiting"` // the number of bytes of events that wait for the client
}

// Users is a page of users: of all users, sorted by id, or of the users that a search has found.
// Next is the value of the query parameter next for the next page, or empty on the last page.
type Users struct {
	Users    []User `json:"users"`
	Next     string `json:"next,omitempty"`
	Looked   int    `json:"looked,omitempty"`   // number of rows that a search has read
	Complete *bool  `json:"complete,omitempty"` // whether the search has read all rows
}

// Token is a new access token of a user.
type Token struct {
	Token   string `json:"token"`
	Expires string `json:"expires"`
}

// userOf converts a user to the form that the operator's API shows.
func (h *Handler) userOf(u core.User) User {
	return User{
		ID: u.ID, State: u.State.String(), CustomID: u.CustomID, DeletedAt: formatTime(u.DeletedAt),
		TokenIssuedAt: stamp(h.Core.LastTokenIssuedAt(u)), Revoked: max(u.Generation, 1) - 1,
	}
}

// stored returns the user whose id is in the path. It fails if the user was never created.
func (h *Handler) stored(c *call) (core.User, error) {
	id := c.targets[0]
	if err := checkUser(id); err != nil {
		return core.User{}, err
	}
	u, err := h.Core.StoredUser(c.Context(), id)
	if err == nil && u.State == core.UserUnknown {
		err = refuse(http.StatusNotFound, codeUser, "there is no user %s on this server", id)
	}
	return u, err
}

// live returns the user whose id is in the path. It fails if the user was never created or
// was deleted.
func (h *Handler) live(c *call) (core.User, error) {
	u, err := h.stored(c)
	if err == nil && u.State != core.UserLive {
		err = refuse(http.StatusConflict, "user-deleted", "the user %s was deleted on %s", u.ID, formatTime(u.DeletedAt))
	}
	return u, err
}

func (h *Handler) listUsers(c *call) (any, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	after, out := c.query.Get("next"), Users{Users: []User{}}
	if text := c.query.Get("search"); text != "" || c.query.Has("search") {
		if text == "" {
			return nil, refuse(http.StatusBadRequest, codeParameter, "search is empty: write a part of an id or a name")
		}
		found, err := h.Core.FindUsers(c.Context(), text, after, limit)
		if err != nil {
			return nil, err
		}
		for _, u := range found.Users {
			one := h.userOf(u.User)
			one.DisplayName = u.DisplayName
			out.Users = append(out.Users, one)
		}
		out.Next, out.Looked, out.Complete = found.Next, found.Looked, &found.Complete
		return out, nil
	}
	if after != "" && checkUser(after) != nil {
		return nil, refuse(http.StatusBadRequest, codeParameter, "the parameter next is not one that a page gave: %q", clip.Text(after, maxEcho))
	}
	us, err := h.Core.ListUsers(c.Context(), after, limit)
	if err != nil {
		return nil, err
	}
	for _, u := range us {
		out.Users = append(out.Users, h.userOf(u))
	}
	if len(us) == limit {
		out.Next = us[len(us)-1].ID
	}
	return out, nil
}

func (h *Handler) createUser(c *call) (any, error) {
	if err := c.decode(&struct{}{}, true, ""); err != nil {
		return nil, err
	}
	u, err := h.Core.CreateUser(c.Context(), h.row(c, core.AuditDone, http.StatusCreated))
	if err != nil {
		return nil, err
	}
	c.audited, c.target = true, u.ID
	return h.userOf(u), nil
}

func (h *Handler) showUser(c *call) (any, error) {
	u, err := h.stored(c)
	if err != nil {
		return nil, err
	}
	return UserDetail{h.userOf(u), append([]Connection{}, h.Connections(u.ID)...)}, nil
}

func (h *Handler) deleteUser(c *call) (any, error) {
	u, err := h.live(c)
	if err != nil {
		return nil, err
	}
	if err := h.Core.DeleteUser(c.Context(), u.ID, h.row(c, core.AuditDone, http.StatusNoContent)); err != nil {
		return nil, err
	}
	c.audited = true
	return nil, nil
}

func (h *Handler) revokeTokens(c *call) (any, error) {
	if err := c.decode(&struct{}{}, true, ""); err != nil {
		return nil, err
	}
	u, err := h.live(c)
	if err != nil {
		return nil, err
	}
	if err := h.Core.RevokeTokens(c.Context(), u.ID, h.row(c, core.AuditDone, http.StatusOK)); err != nil {
		return nil, err
	}
	c.audited = true
	if u, err = h.Core.StoredUser(context.WithoutCancel(c.Context()), u.ID); err != nil {
		return nil, err
	}
	return map[string]uint64{"revoked": h.userOf(u).Revoked}, nil
}

// The lifetimes of the tokens that the operator issues, in hours.
const (
	maxTokenHours = 24
	minTokenHours = 1
)

func (h *Handler) issueToken(c *call) (any, error) {
	in := struct {
		Scopes []string
		Hours  int
	}{[]string{"chat"}, maxTokenHours}
	if err := c.decode(&in, true, "scopes and hours"); err != nil {
		return nil, err
	}
	var scopes token.Scopes
	for _, name := range in.Scopes {
		one, ok := token.ParseScope(name)
		if !ok {
			return nil, refuse(http.StatusBadRequest, codeBody, "there is no scope %q: a token for chat has the scope chat", clip.Text(name, maxEcho))
		}
		scopes |= one
	}
	switch {
	case scopes == 0:
		return nil, refuse(http.StatusBadRequest, codeBody, "scopes is empty: a token for chat has the scope chat")
	case in.Hours < minTokenHours || in.Hours > maxTokenHours:
		return nil, refuse(http.StatusBadRequest, codeBody, "hours is a number from %d to %d, and %d is not", minTokenHours, maxTokenHours, in.Hours)
	}
	u, err := h.live(c)
	if err != nil {
		return nil, err
	}
	text, expires, err := h.IssueToken(c.Context(), u.ID, scopes, time.Duration(in.Hours)*time.Hour)
	if err != nil {
		return nil, err
	}
	c.undo = func() {} // nothing has to be undone: without an audit row, the response with the token is not sent
	return Token{text, stamp(expires)}, nil
}

func (h *Handler) listUserThreads(c *call) (any, error) {
	u, err := h.stored(c)
	if err != nil {
		return nil, err
	}
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	var before core.ThreadsCursor
	if text := c.query.Get("next"); text != "" {
		on, thread, _ := strings.Cut(text, " ")
		if before.On, err = strconv.ParseInt(on, 10, 64); err != nil || core.CheckThreadID(thread) != nil {
			return nil, refuse(http.StatusBadRequest, codeParameter, "the parameter next is not one that a page gave: %q", clip.Text(text, maxEcho))
		}
		before.Thread = thread
	}
	page, err := h.Core.ListThreads(c.Context(), u.ID, before, 0, limit)
	if err != nil {
		return nil, err
	}
	out := Threads{Threads: []ThreadEntry{}}
	for _, t := range page.Threads {
		out.Threads = append(out.Threads, ThreadEntry{ID: t.Thread, Topic: t.Topic, LastMessageOn: formatTime(t.LastMessageOn), DeletedOn: formatTime(t.DeletedOn)})
	}
	if page.Next != (core.ThreadsCursor{}) {
		out.Next = strconv.FormatInt(page.Next.On, 10) + " " + page.Next.Thread
	}
	return out, nil
}
