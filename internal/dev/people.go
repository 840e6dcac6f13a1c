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

// People makes the users of the chat page. Its errors are answered with 500, unless they are of
// Refuse.
type People interface {
	// Join makes a user with a display name, adds it to the thread "Lobby" and, if it is not
	// empty, to a thread, and issues a token. The name is valid. If user is not empty, it names a
	// user of an earlier Join: Join then makes none, and adds that one to the thread, or to the
	// Lobby if there is no thread.
	Join(ctx context.Context, name, thread, user string) (Person, error)
	// Token issues another token for a user of an earlier Join. The fields for threads of the
	// result are empty.
	Token(ctx context.Context, user string) (Person, error)
}

// Person is a user of the chat page.
type Person struct {
	User    string // the raw id
	Token   string
	Expires time.Time
	Lobby   string // id of the thread that everybody joins
	Thread  string // id of the thread to open: the one that was asked for, or the Lobby
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

// join answers POST /dev/join.
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

// renew answers POST /dev/token.
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

// checkName fails for a display name, without blanks around it, that is empty, too long, or that
// nobody could read.
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

// failed returns the error to answer for an error of People. It logs an error that is not of
// Refuse, and hides it from the client.
func (h *handler) failed(r *http.Request, what string, err error) error {
	var refused *httpError
	if errors.As(err, &refused) {
		return err
	}
	h.Logger.ErrorContext(r.Context(), "a person of the chat page", "request", what, "error", err)
	return errorf(http.StatusInternalServerError, "the server could not do this; its log says why")
}
