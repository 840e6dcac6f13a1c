package dev

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// People creates users for the visitors of the chat page. The handler answers an error of these
// methods with 500, unless Refuse returned it.
type People interface {
	// Join creates a user with a valid display name and issues a token for the user. It adds the
	// user to the thread "Lobby" and, unless thread is empty, to that thread. If the parameter user
	// is not empty, it is the id of a user that an earlier Join created. Join then creates no user,
	// and adds that user to the thread or, if thread is empty, to the Lobby.
	Join(ctx context.Context, name, thread, user string) (Person, error)
	// Token issues another token for a user that Join has created. The fields Lobby and
	// Thread of the result are empty.
	Token(ctx context.Context, user string) (Person, error)
}

// Person is a user of the chat page.
type Person struct {
	User    string // the raw id
	Token   string
	Expires time.Time
	Lobby   string // id of the thread "Lobby", which everybody joins
	Thread  string // id of the thread to open: the requested one, or the Lobby
}

// personBody is the JSON form of a Person.
type personBody struct {
	User    string `json:"user"`
	Token   string `json:"token"`
	Expires string `json:"expires"` // RFC 3339, in UTC
	Lobby   string `json:"lobby,omitempty"`
	Thread  string `json:"thread,omitempty"`
}

func bodyOf(p Person) personBody {
	return personBody{p.User, p.Token, p.Expires.UTC().Format(time.RFC3339), p.Lobby, p.Thread}
}

// join handles POST /dev/join, with which a visitor of the chat page becomes a chat user.
func (h *handler) join(r *http.Request) (int, any, error) {
	var input struct {
		Name   *string `json:"name"`
		Thread string  `json:"thread"`
		User   string  `json:"user"`
	}
	if err := decode(r.Body, &input, "name, thread and user"); err != nil {
		return 0, nil, err
	}
	if input.Name == nil {
		return 0, nil, errors.New(`name is required: the name that the others see, such as "Ann"`)
	}
	name := strings.TrimSpace(*input.Name)
	if err := checkName(name); err != nil {
		return 0, nil, err
	}
	p, err := h.People.Join(r.Context(), name, input.Thread, input.User)
	if err != nil {
		return 0, nil, h.failed(r, "join", err)
	}
	return http.StatusCreated, bodyOf(p), nil
}

// renew handles POST /dev/token, which returns another token for a user of the chat page.
func (h *handler) renew(r *http.Request) (int, any, error) {
	var input struct {
		User string `json:"user"`
	}
	if err := decode(r.Body, &input, "user"); err != nil {
		return 0, nil, err
	}
	if input.User == "" {
		return 0, nil, errors.New("user is required: the id that /dev/join has answered")
	}
	p, err := h.People.Token(r.Context(), input.User)
	if err != nil {
		return 0, nil, h.failed(r, "token", err)
	}
	return http.StatusOK, bodyOf(p), nil
}

// maxName is the greatest length of a display name, in characters.
const maxName = 256

// checkName fails if a display name is empty, longer than maxName, contains a control character,
// or has no visible character. The caller has removed the blanks around the name.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("name is empty")
	case utf8.RuneCountInString(name) > maxName:
		return errorf(http.StatusBadRequest, "name has %d characters; at most %d are allowed", utf8.RuneCountInString(name), maxName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("name has a control character, such as a line break")
	case !strings.ContainsFunc(name, unicode.IsGraphic):
		return errors.New("name has no visible character")
	}
	return nil
}

// failed converts an error of a People method to the error for the response. It keeps an
// error of Refuse. It logs any other error and hides it from the client.
func (h *handler) failed(r *http.Request, what string, err error) error {
	var refused *httpError
	if errors.As(err, &refused) {
		return err
	}
	h.Logger.ErrorContext(r.Context(), "a person of the chat page", "request", what, "error", err)
	return errorf(http.StatusInternalServerError, "the server could not do this; its log says why")
}
