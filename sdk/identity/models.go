package identity

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// Scope is a permission of an access token (docs/contract/identity.md §6.5).
type Scope string

const (
	// ScopeChat allows all chat operations.
	ScopeChat Scope = "chat"
	// ScopeChatJoin allows what ScopeChat allows except creating, updating and deleting threads.
	ScopeChatJoin Scope = "chat.join"
	// ScopeChatJoinLimited allows what ScopeChatJoin allows except adding and removing
	// participants.
	ScopeChatJoinLimited Scope = "chat.join.limited"
	// ScopeVoIP allows calls, and no chat operations.
	ScopeVoIP Scope = "voip"
	// ScopeVoIPJoin allows joining calls, and no chat operations.
	ScopeVoIPJoin Scope = "voip.join"
)

// AccessToken is an access token with its expiry. Its JSON form contains the token, so that a
// server can return it to its clients.
//
// Printing or logging an AccessToken, also in an exported field, a slice or a map that package fmt
// prints, shows "(redacted)" and the expiry. The token is visible where Go does not call the
// methods of AccessToken: in an unexported field printed with %v, and in JSON logs of a value that
// contains one, such as a slice of tokens in a slog.JSONHandler. A program that keeps a token, and
// does not return it to clients, is safer with a communication.TokenCredential, which never shows
// it.
type AccessToken struct {
	// Token is a secret: a program that has it can act for the user.
	Token string `json:"token"`
	// ExpiresOn is the time at which the token expires.
	ExpiresOn time.Time `json:"expiresOn"`
}

// String returns "(redacted)" and the expiry of the token.
func (t AccessToken) String() string {
	return "(redacted), expires on " + t.ExpiresOn.UTC().Format(time.RFC3339)
}

// Format writes the same as String for every verb.
func (t AccessToken) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue returns the same as String, so that log/slog does not print the token.
func (t AccessToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

// UserAndToken is a new user and its first token. Printing it shows the token as AccessToken does.
type UserAndToken struct {
	User  communication.Identifier
	Token AccessToken
}

// LogValue returns the raw id of the user and the expiry of the token, so that log/slog does not
// print the token.
func (u UserAndToken) LogValue() slog.Value {
	return slog.GroupValue(slog.String("user", u.User.RawID()), slog.Any("token", u.Token))
}

// userAndTokenJSON is the JSON form of UserAndToken, as the service returns it
// (docs/contract/identity.md §3.1).
type userAndTokenJSON struct {
	Identity struct {
		ID string `json:"id"`
	} `json:"identity"`
	AccessToken *AccessToken `json:"accessToken,omitempty"`
}

// MarshalJSON encodes the user and the token in u as the service does (docs/contract/identity.md
// §3.1).
func (u UserAndToken) MarshalJSON() ([]byte, error) {
	var j userAndTokenJSON
	j.Identity.ID = u.User.RawID()
	if u.Token != (AccessToken{}) {
		j.AccessToken = &u.Token
	}
	return json.Marshal(j)
}

// UnmarshalJSON decodes the JSON form that MarshalJSON returns.
func (u *UserAndToken) UnmarshalJSON(text []byte) error {
	var j userAndTokenJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*u = UserAndToken{}
	if j.Identity.ID != "" {
		u.User = communication.NewUser(j.Identity.ID)
	}
	if j.AccessToken != nil {
		u.Token = *j.AccessToken
	}
	return nil
}

// createRequest is the body of a request that creates a user (docs/contract/identity.md §3.1).
// Fields with the zero value are omitted.
type createRequest struct {
	Scopes           []Scope `json:"createTokenWithScopes,omitempty"`
	ExpiresInMinutes int64   `json:"expiresInMinutes,omitempty"`
}

// issueRequest is the body of a request for a token (docs/contract/identity.md §3.2). An empty list
// of scopes is sent as [], and a nil list is omitted, because the service returns different errors
// for the two.
type issueRequest struct {
	Scopes           []Scope `json:"scopes,omitzero"`
	ExpiresInMinutes int64   `json:"expiresInMinutes,omitempty"`
}

// minutes returns the lifetime of the token in minutes, or 0 for the service's default. It fails if
// ExpiresIn is not a whole number of minutes. The service checks the range.
func (o *TokenOptions) minutes() (int64, error) {
	if o == nil {
		return 0, nil
	}
	if o.ExpiresIn%time.Minute != 0 {
		return 0, fmt.Errorf("a token cannot live for %s: only for whole minutes", o.ExpiresIn)
	}
	return int64(o.ExpiresIn / time.Minute), nil
}
