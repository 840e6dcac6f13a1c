package wire

import "time"

// CommunicationIdentityCreateRequest is the body of POST /identities; it may be
// missing altogether.
type CommunicationIdentityCreateRequest struct {
	CreateTokenWithScopes []string `json:"createTokenWithScopes,omitzero"`
	ExpiresInMinutes      *int32   `json:"expiresInMinutes,omitzero" since:"2022-10-01"`
}

// CommunicationIdentityAccessTokenResult is its response.
type CommunicationIdentityAccessTokenResult struct {
	Identity    CommunicationIdentity             `json:"identity"`
	AccessToken *CommunicationIdentityAccessToken `json:"accessToken,omitzero"`
}

// CommunicationIdentity is a user.
type CommunicationIdentity struct {
	ID string `json:"id"`
}

// CommunicationIdentityAccessTokenRequest is the body of :issueAccessToken. No
// scopes and an empty list of them are refused in different words.
type CommunicationIdentityAccessTokenRequest struct {
	Scopes           []string `json:"scopes"`
	ExpiresInMinutes *int32   `json:"expiresInMinutes,omitzero" since:"2022-10-01"`
}

// CommunicationIdentityAccessToken is a token and its expiry, see [Expiry].
type CommunicationIdentityAccessToken struct {
	Token     string `json:"token"`
	ExpiresOn string `json:"expiresOn"`
}

// TeamsUserExchangeTokenRequest is the body of :exchangeAccessToken.
type TeamsUserExchangeTokenRequest struct {
	Token  string `json:"token"`
	AppID  string `json:"appId"`
	UserID string `json:"userId"`
}

// Expiry formats a date as the identity routes do: up to seven digits of a second and
// an offset instead of Z (docs/contract/identity.md §1 rule 9).
func Expiry(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.9999999-07:00") }
