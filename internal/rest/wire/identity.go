package wire

import "time"

// CommunicationIdentityCreateRequest is the optional body of POST /identities.
type CommunicationIdentityCreateRequest struct {
	CreateTokenWithScopes []string `json:"createTokenWithScopes,omitzero"`
	ExpiresInMinutes      *int32   `json:"expiresInMinutes,omitzero" in:"token lifetime"`
}

// CommunicationIdentityAccessTokenResult is the response to POST /identities.
type CommunicationIdentityAccessTokenResult struct {
	Identity    CommunicationIdentity             `json:"identity"`
	AccessToken *CommunicationIdentityAccessToken `json:"accessToken,omitzero"`
}

// CommunicationIdentity is the id of a user.
type CommunicationIdentity struct {
	ID string `json:"id"`
}

// CommunicationIdentityAccessTokenRequest is the body of :issueAccessToken. Scopes is
// nil if the request has no scopes and empty if its list is empty, because the errors
// differ.
type CommunicationIdentityAccessTokenRequest struct {
	Scopes           []string `json:"scopes"`
	ExpiresInMinutes *int32   `json:"expiresInMinutes,omitzero" in:"token lifetime"`
}

// CommunicationIdentityAccessToken is a user token and its expiry, formatted by [Expiry].
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

// Expiry formats t in UTC as the identity routes do: with at most seven digits after the
// seconds, and the offset +00:00 instead of Z (docs/contract/identity.md §1 rule 9).
func Expiry(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.9999999-07:00") }
