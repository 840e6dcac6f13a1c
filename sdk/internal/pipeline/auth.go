package pipeline

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/confab-chat/confab/sdk/communication"
)

// Auth returns a policy that authorizes each attempt of a request with a token or a signature.
// Unless allowHTTP is true, the policy fails for requests over plain http.
type Auth func(allowHTTP bool) policy.Policy

// Signature returns an Auth that signs each attempt with key.
func Signature(key communication.AccessKey) Auth {
	return func(allowHTTP bool) policy.Policy {
		return authorize(allowHTTP, func(req *policy.Request) (*http.Response, error) {
			if err := key.Sign(req.Raw(), time.Now()); err != nil {
				return nil, stop{err}
			}
			return req.Next()
		})
	}
}

// Bearer returns an Auth that adds a token of cred to each attempt of a request. If the server
// answers 401, the policy asks cred once for another token, and repeats the attempt if that token
// differs. azcore's own policy does so only for responses with a WWW-Authenticate header, which the
// service does not send.
//
// If cred has a method Refused(token string), the policy calls it with each token that the server
// refused.
func Bearer(cred azcore.TokenCredential, scopes ...string) Auth {
	return func(allowHTTP bool) policy.Policy {
		tokens := newTokens(cred, scopes)
		return authorize(allowHTTP, func(req *policy.Request) (*http.Response, error) {
			c := &call{}
			req.OperationValue(&c)
			token, err := tokens.get(req.Raw().Context(), c.refusedToken)
			if err != nil {
				return nil, stop{err}
			}
			if c.notToken != "" && token == c.notToken {
				return nil, stop{ErrSameToken}
			}
			c.token = token
			resp, err := sendWith(req, token)
			if err != nil || resp.StatusCode != http.StatusUnauthorized {
				return resp, err
			}
			fresh, err := tokens.get(req.Raw().Context(), token)
			if err != nil || fresh == token {
				// Return the 401 response of the server, because it tells more than the error of
				// the credential.
				return resp, nil
			}
			runtime.Drain(resp)
			if err := req.RewindBody(); err != nil {
				return nil, stop{err}
			}
			c.token = fresh
			return sendWith(req, fresh)
		})
	}
}

func sendWith(req *policy.Request, token string) (*http.Response, error) {
	req.Raw().Header.Set("Authorization", "Bearer "+token)
	return req.Next()
}

// policyFunc is a function that implements policy.Policy.
type policyFunc func(*policy.Request) (*http.Response, error)

func (f policyFunc) Do(req *policy.Request) (*http.Response, error) { return f(req) }

// authorize returns a policy that calls next, a function that adds a token or a signature to a
// request. The policy fails for requests over plain http, unless allowHTTP is true.
func authorize(allowHTTP bool, next policyFunc) policy.Policy {
	return policyFunc(func(req *policy.Request) (*http.Response, error) {
		if req.Raw().URL.Scheme != "https" && !allowHTTP {
			return nil, stop{errors.New("no credential goes over plain http: use https, or set InsecureAllowCredentialWithHTTP in the client options")}
		}
		return next(req)
	})
}

// refuser is a credential with the method Refused, which is called with each token that the server
// did not accept.
type refuser interface{ Refused(token string) }

// refreshEarly is the time before the expiry of a cached token at which the token is replaced.
// refreshPause is the time between two attempts to replace a token that is still valid. azcore uses
// the same values.
const (
	refreshEarly = 5 * time.Minute
	refreshPause = 30 * time.Second
)

// tokens caches the token of a credential, as azcore's policy does, because the method GetToken of
// a credential may send a request. tokens does not cache the token of a credential of package
// communication, which has a cache of its own.
type tokens struct {
	cred    azcore.TokenCredential
	options policy.TokenRequestOptions
	keeps   bool

	lock  chan struct{} // used as a mutex whose wait can be cancelled: the channel holds a value while a goroutine uses the fields below
	kept  azcore.AccessToken
	after time.Time // a valid token is not replaced before this time
}

func newTokens(cred azcore.TokenCredential, scopes []string) *tokens {
	_, ours := cred.(refuser)
	return &tokens{
		cred:    cred,
		options: policy.TokenRequestOptions{Scopes: scopes},
		keeps:   !ours,
		lock:    make(chan struct{}, 1),
	}
}

// get returns a token for a request, from the cache or the credential. refused is a token that the
// server has just refused, or "".
func (t *tokens) get(ctx context.Context, refused string) (string, error) {
	if !t.keeps {
		if refused != "" {
			t.cred.(refuser).Refused(refused)
		}
		token, err := t.cred.GetToken(ctx, t.options)
		if err != nil {
			return "", tokenError{err}
		}
		return token.Token, nil
	}
	select {
	case t.lock <- struct{}{}:
		defer func() { <-t.lock }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	now := time.Now()
	good := t.kept.Token != "" && t.kept.Token != refused && now.Before(t.kept.ExpiresOn)
	if good && (now.Before(t.kept.ExpiresOn.Add(-refreshEarly)) || now.Before(t.after)) {
		return t.kept.Token, nil
	}
	token, err := t.cred.GetToken(ctx, t.options)
	switch {
	case err == nil:
		t.kept, t.after = token, now.Add(refreshPause)
	case good:
		t.after = now.Add(refreshPause)
	default:
		return "", tokenError{err}
	}
	return t.kept.Token, nil
}
