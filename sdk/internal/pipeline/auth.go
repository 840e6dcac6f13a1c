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

// Auth makes the policy that authorizes each try.
type Auth func(allowHTTP bool) policy.Policy

// Signature signs each try with key.
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

// Bearer puts a token of cred on each try. When the server refuses it with 401, cred
// is asked once for another, and only a different one is tried, once: azcore's own
// policy does so only for an answer that has a WWW-Authenticate header, and the
// service sends none.
//
// A credential with a method Refused(token string) is told of a refused token.
func Bearer(cred azcore.TokenCredential, scopes ...string) Auth {
	return func(allowHTTP bool) policy.Policy {
		tokens := newTokens(cred, scopes)
		return authorize(allowHTTP, func(req *policy.Request) (*http.Response, error) {
			token, err := tokens.get(req.Raw().Context(), "")
			if err != nil {
				return nil, stop{err}
			}
			resp, err := sendWith(req, token)
			if err != nil || resp.StatusCode != http.StatusUnauthorized {
				return resp, err
			}
			fresh, err := tokens.get(req.Raw().Context(), token)
			if err != nil || fresh == token {
				// The refusal tells more than why there is no other token.
				return resp, nil
			}
			runtime.Drain(resp)
			if err := req.RewindBody(); err != nil {
				return nil, stop{err}
			}
			return sendWith(req, fresh)
		})
	}
}

func sendWith(req *policy.Request, token string) (*http.Response, error) {
	req.Raw().Header.Set("Authorization", "Bearer "+token)
	return req.Next()
}

// policyFunc is a function as a policy.
type policyFunc func(*policy.Request) (*http.Response, error)

func (f policyFunc) Do(req *policy.Request) (*http.Response, error) { return f(req) }

// authorize lets next put its credential only on requests that nobody can overhear.
func authorize(allowHTTP bool, next policyFunc) policy.Policy {
	return policyFunc(func(req *policy.Request) (*http.Response, error) {
		if req.Raw().URL.Scheme != "https" && !allowHTTP {
			return nil, stop{errors.New("no credential goes over plain http: use https, or set InsecureAllowCredentialWithHTTP in the client options")}
		}
		return next(req)
	})
}

// refuser is a credential that wants to know which token a server refused.
type refuser interface{ Refused(token string) }

// refreshEarly is how long before its expiry a kept token is exchanged, and
// refreshPause how long a failed exchange is not repeated while the kept token is
// still good. Both are azcore's.
const (
	refreshEarly = 5 * time.Minute
	refreshPause = 30 * time.Second
)

// tokens keeps the token of a credential, as azcore's policy does: a credential may
// make a request for each. The credentials of package communication keep their own,
// and are asked each time.
type tokens struct {
	cred    azcore.TokenCredential
	options policy.TokenRequestOptions
	keeps   bool

	lock  chan struct{} // holds one value while the fields below are used; a mutex cannot be left
	kept  azcore.AccessToken
	after time.Time // no exchange before, unless it must be
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

// get returns a token for a request; refused is the one that the server refused just
// now, or "".
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
