package identity

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// Scope is what a token allows its bearer to do (docs/contract/identity.md §6.5).
type Scope string

const (
	// ScopeChat allows everything in a chat.
	ScopeChat Scope = "chat"
	// ScopeChatJoin is ScopeChat without making, changing and deleting threads.
	ScopeChatJoin Scope = "chat.join"
	// ScopeChatJoinLimited is ScopeChatJoin without adding and removing participants.
	ScopeChatJoinLimited Scope = "chat.join.limited"
	// ScopeVoIP is for calls, and allows nothing in a chat.
	ScopeVoIP Scope = "voip"
	// ScopeVoIPJoin is for joining calls, and allows nothing in a chat.
	ScopeVoIPJoin Scope = "voip.join"
)

// AccessToken is a token and when it ends, as a server hands it to its client: its JSON
// has the token.
//
// Printed or logged by itself, or in an exported field, a slice or a map that package
// fmt prints, it shows "(redacted)" and when it ends. Nothing hides the token where Go
// does not ask an AccessToken how to show itself: in an unexported field, which %v
// prints as it is, and in whatever is logged as JSON around it, such as a slice of
// tokens in a slog.JSONHandler. A program that keeps a token, and does not hand it out,
// is safer with a communication.TokenCredential, which never shows it.
type AccessToken struct {
	// Token is a secret: whoever has it acts for the user.
	Token string `json:"token"`
	// ExpiresOn is when the token ends.
	ExpiresOn time.Time `json:"expiresOn"`
}

// String returns when the token ends, and "(redacted)" for the token.
func (t AccessToken) String() string {
	return "(redacted), expires on " + t.ExpiresOn.UTC().Format(time.RFC3339)
}

// Format writes the same as String for every verb.
func (t AccessToken) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue makes log/slog show what String returns.
func (t AccessToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

// UserAndToken is a new user and its first token, which is shown where an AccessToken is.
type UserAndToken struct {
	User  communication.Identifier
	Token AccessToken
}

// LogValue makes log/slog show the user, and of the token when it ends.
func (u UserAndToken) LogValue() slog.Value {
	return slog.GroupValue(slog.String("user", u.User.RawID()), slog.Any("token", u.Token))
}

// userAndTokenJSON is the form of docs/contract/identity.md §3.1.
type userAndTokenJSON struct {
	Identity struct {
		ID string `json:"id"`
	} `json:"identity"`
	AccessToken *AccessToken `json:"accessToken,omitempty"`
}

// MarshalJSON writes the form in which the service answers (docs/contract/identity.md §3.1).
func (u UserAndToken) MarshalJSON() ([]byte, error) {
	var j userAndTokenJSON
	j.Identity.ID = u.User.RawID()
	if u.Token != (AccessToken{}) {
		j.AccessToken = &u.Token
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON writes.
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

// createRequest has the names of docs/contract/identity.md §3.1: what is zero is left out.
type createRequest struct {
	Scopes           []Scope `json:"createTokenWithScopes,omitempty"`
	ExpiresInMinutes int64   `json:"expiresInMinutes,omitempty"`
}

// issueRequest has the names of docs/contract/identity.md §3.2. No scopes and a nil slice are two mistakes that
// the service has words for.
type issueRequest struct {
	Scopes           []Scope `json:"scopes,omitzero"`
	ExpiresInMinutes int64   `json:"expiresInMinutes,omitempty"`
}

// minutes says how long the token lives, 0 for the service's default. Its bounds are
// the service's to judge.
func (o *TokenOptions) minutes() (int64, error) {
	if o == nil {
		return 0, nil
	}
	if o.ExpiresIn%time.Minute != 0 {
		return 0, fmt.Errorf("a token cannot live for %s: only for whole minutes", o.ExpiresIn)
	}
	return int64(o.ExpiresIn / time.Minute), nil
}
