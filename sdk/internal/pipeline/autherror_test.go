package pipeline

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/communication"
)

var sentinels = []error{
	communication.ErrUnauthorized, communication.ErrForbidden, communication.ErrNotFound, communication.ErrThrottled, communication.ErrUnknownFate,
}

// TestErrorOfTheIssuerIsNotThatOfTheOperation lets a token issuer refuse to issue a token. The
// error of the operation must not match the sentinel error for the issuer's status.
func TestErrorOfTheIssuerIsNotThatOfTheOperation(t *testing.T) {
	for _, test := range []struct {
		status int // HTTP status with which the token issuer answers the request for a token
		is     error
	}{
		{http.StatusUnauthorized, communication.ErrUnauthorized},
		{http.StatusForbidden, communication.ErrForbidden},
		{http.StatusNotFound, communication.ErrNotFound},
		{http.StatusTooManyRequests, communication.ErrThrottled},
		{http.StatusServiceUnavailable, communication.ErrUnknownFate},
	} {
		t.Run(fmt.Sprint(test.status), func(t *testing.T) {
			issuer := newServer(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(test.status) }).client(t, nil)
			cred, err := communication.NewRefreshingTokenCredential(func(ctx context.Context) (string, error) {
				_, err := issuer.Do(ctx, create(), nil)
				return "", err
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			s, _ := accepts(t, "token")
			_, err = s.client(t, with(cred)).Do(context.Background(), create(), nil)
			var outer, inner *communication.Error
			if !errors.As(err, &outer) || !strings.HasPrefix(err.Error(), "create it: get a token: refresh token: create it: ") {
				t.Fatalf("got %v", err)
			}
			if outer.StatusCode != 0 || outer.UnknownFate {
				t.Errorf("got %+v", outer)
			}
			for _, sentinel := range sentinels {
				if errors.Is(err, sentinel) {
					t.Errorf("errors.Is(err, %v) is true", sentinel)
				}
			}
			var response *azcore.ResponseError
			if errors.As(err, &response) {
				t.Errorf("got the issuer's answer as that of the operation: %v", response.StatusCode)
			}
			// The field Err of the operation's error contains the error of the token issuer.
			if !errors.As(outer.Err, &inner) || !errors.Is(inner, test.is) || !errors.As(inner, &response) || response.StatusCode != test.status {
				t.Errorf("the error of the issuer: got %v", inner)
			}
			if got := s.requests.Load(); got != 0 {
				t.Errorf("got %d requests, want 0", got)
			}
		})
	}
}

func TestErrorOfTheIssuerIsWhatElseItIs(t *testing.T) {
	plain := errors.New("nobody is logged in")
	for _, test := range []struct {
		err, is error
		want    string
	}{
		{plain, plain, "nobody is logged in"},
		{fmt.Errorf("log in: %w", context.DeadlineExceeded), context.DeadlineExceeded, "log in: context deadline exceeded"},
		{&communication.Error{Op: "issue token", Err: context.Canceled}, context.Canceled, "issue token: context canceled"},
		{errors.Join(communication.ErrForbidden, plain), plain, "forbidden nobody is logged in"},
		{
			fmt.Errorf("log in: %w", &url.Error{Op: "Post", URL: "https://issuer/?code=secret", Err: plain}), plain,
			"log in: nobody is logged in",
		},
		{
			&url.Error{Op: "Post", URL: "https://issuer/", Err: &tls.CertificateVerificationError{Err: plain}}, plain,
			"tls: failed to verify certificate: nobody is logged in",
		},
	} {
		s, _ := accepts(t, "token")
		_, err := s.client(t, with(&numbered{err: test.err})).Do(context.Background(), create(), nil)
		wantError(t, err, "create it: get a token: "+test.want)
		if !errors.Is(err, test.is) {
			t.Errorf("errors.Is(err, %v) is false: %v", test.is, err)
		}
		for _, sentinel := range sentinels {
			if errors.Is(err, sentinel) {
				t.Errorf("errors.Is(err, %v) is true: %v", sentinel, err)
			}
		}
	}
}

// TestDeadlineWhileWaitingForAToken checks that a call ends at the caller's deadline while it waits
// for a token.
func TestDeadlineWhileWaitingForAToken(t *testing.T) {
	cred, err := communication.NewRefreshingTokenCredential(func(ctx context.Context) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := accepts(t, "token")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err = s.client(t, with(cred)).Do(ctx, create(), nil)
	wantError(t, err, "create it: context deadline exceeded")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestNoTokenForTheSecondTry sends a request whose first attempt may have been carried out, with a
// credential that has no token for the second attempt. The error must be ErrUnknownFate.
func TestNoTokenForTheSecondTry(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusServiceUnavailable) })
	cred := &failsLater{err: &communication.Error{Op: "issue token", StatusCode: http.StatusForbidden}}
	r := create()
	r.Once, r.Creates = false, true
	_, err := s.client(t, with(cred)).Do(context.Background(), r, nil)
	if !errors.Is(err, communication.ErrUnknownFate) || errors.Is(err, communication.ErrForbidden) {
		t.Errorf("got %v", err)
	}
}

// failsLater is a fake credential of a type outside package communication. It returns one token,
// which expires at once, and then fails.
type failsLater struct {
	asked bool
	err   error
}

func (c *failsLater) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if c.asked {
		return azcore.AccessToken{}, c.err
	}
	c.asked = true
	return azcore.AccessToken{Token: "token", ExpiresOn: time.Now()}, nil
}
