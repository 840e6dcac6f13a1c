package wire

import "time"

// CommunicationIdentityCreateRequest is the optional body of POST /identities. CustomID is nil if
// the request has none; then each such request creates a new user.
type CommunicationIdentityCreateRequest struct {
	CustomID              *string  `json:"customId,omitzero" in:"custom ids"`
	CreateTokenWithScopes []string `json:"createTokenWithScopes,omitzero"`
	ExpiresInMinutes      *int32   `json:"expiresInMinutes,omitzero" in:"token lifetime"`
}

// CommunicationIdentityAccessTokenResult is the response to POST /identities.
type CommunicationIdentityAccessTokenResult struct {
	Identity    CommunicationIdentity             `json:"identity"`
	AccessToken *CommunicationIdentityAccessToken `json:"accessToken,omitzero"`
}

// CommunicationIdentity is the id of a user. LastTokenIssuedAt is formatted by [Expiry], and empty
// if no token was issued.
type CommunicationIdentity struct {
	ID                string `json:"id"`
	CustomID          string `json:"customId,omitzero" in:"custom ids"`
	LastTokenIssuedAt string `json:"lastTokenIssuedAt,omitzero" in:"custom ids"`
}

// CommunicationIdentityUpdateRequest is the body of PATCH /identities/{id}. TokensValidFrom is nil
// if the request has none.
type CommunicationIdentityUpdateRequest struct {
	TokensValidFrom *Time `json:"tokensValidFrom,omitzero"`
}

// CommunicationTokenRequest is the body of POST /identities/{id}/token. Scopes is nil if the
// request has no scopes, and empty if its list of scopes is empty.
type CommunicationTokenRequest struct {
	Scopes []string `json:"scopes"`
}

// CommunicationIdentityToken is the response to POST /identities/{id}/token. ExpiresOn is
// formatted by [Expiry].
type CommunicationIdentityToken struct {
	ID        string `json:"id"`
	Token     string `json:"token"`
	ExpiresOn string `json:"expiresOn"`
}

// CommunicationIdentityAccessTokenRequest is the body of :issueAccessToken. Scopes is nil if the
// request has no scopes, and empty if its list of scopes is empty, because the two cases get
// different errors.
type CommunicationIdentityAccessTokenRequest struct {
	Scopes           []string `json:"scopes"`
	ExpiresInMinutes *int32   `json:"expiresInMinutes,omitzero" in:"token lifetime"`
}

// CommunicationIdentityAccessToken is a user token and its expiry, formatted by [Expiry].
type CommunicationIdentityAccessToken struct {
	Token     string `json:"token"`
	ExpiresOn string `json:"expiresOn"`
}

// TeamsUserAccessTokenRequest is the body of :exchangeAccessToken at the api-versions in which the
// body has only a token, without the ids of an application and a user.
type TeamsUserAccessTokenRequest struct {
	Token string `json:"token"`
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
