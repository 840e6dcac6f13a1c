package communication

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// getWithin calls GetToken with a context that ends after d.
func getWithin(c *TokenCredential, d time.Duration) (azcore.AccessToken, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return c.GetToken(ctx, policy.TokenRequestOptions{})
}

func TestGoodTokenIsNotHeldBack(t *testing.T) {
	for _, test := range []struct {
		name string
		o    RefreshingOptions
		due  time.Duration // time between the issue of the token and its renewal
	}{
		{"on demand", RefreshingOptions{}, 58 * time.Minute},
		{"proactive", RefreshingOptions{Proactive: true}, 50 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := &issuer{life: time.Hour, takes: 24 * time.Hour}
				issued := time.Now()
				text := jwt("first", issued.Add(time.Hour))
				test.o.Token = text
				c := i.credential(t, &test.o)
				defer c.Close()
				time.Sleep(test.due)
				for time.Since(issued) < time.Hour {
					start := time.Now()
					if got, err := getWithin(c, 5*time.Second); err != nil || got.Token != text {
						t.Fatalf("after %s: got %v, %v", time.Since(issued), got, err)
					}
					if took := time.Since(start); took != 0 {
						t.Fatalf("after %s: a request waited %s", time.Since(issued), took)
					}
					time.Sleep(time.Second)
				}
				i.wantCalls(t, 1)
				// The token has expired, so the request waits for the refresh, but not beyond its
				// own deadline.
				if got, err := getWithin(c, 5*time.Second); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("after the end: got %v, %v", got, err)
				}
				i.wantCalls(t, 1)
				_, err := getWithin(c, time.Hour)
				if want := "refresh token: it takes too long"; err == nil || err.Error() != want {
					t.Errorf("after the end: got %v, want %s", err, want)
				}
				if got, want := time.Since(issued), 61*time.Minute; got != want {
					t.Errorf("the refresh ended after %s, want %s", got, want)
				}
			})
		})
	}
}

func TestSlowRefreshArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour, takes: 30 * time.Second}
		first := jwt("first", time.Now().Add(time.Hour))
		c := i.credential(t, &RefreshingOptions{Token: first})
		time.Sleep(58 * time.Minute)
		for n := range 60 {
			got, err := getWithin(c, time.Millisecond)
			if err != nil || (got.Token == first) != (n < 30) {
				t.Fatalf("after %d s: got %v, %v", n, got, err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		i.wantCalls(t, 1)
	})
}

// TestRefreshThatNobodyWaitsForEnds lets a call of refresh hang while requests use a valid token.
// It checks that the credential gives up the call one minute after the token expires.
func TestRefreshThatNobodyWaitsForEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended time.Time
		c, err := NewRefreshingTokenCredential(func(ctx context.Context) (string, error) {
			<-ctx.Done()
			ended = time.Now()
			return "", ctx.Err()
		}, &RefreshingOptions{Token: jwt("first", time.Now().Add(time.Hour))})
		if err != nil {
			t.Fatal(err)
		}
		issued := time.Now()
		time.Sleep(59 * time.Minute)
		get(t, c)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got, want := ended.Sub(issued), 61*time.Minute; got != want {
			t.Errorf("ended after %s, want %s", got, want)
		}
	})
}

func TestRefusedTokenWaitsForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour, takes: 10 * time.Second}
		c := i.credential(t, nil)
		first := get(t, c)

		c.Refused(first.Token)
		start := time.Now()
		second := get(t, c)
		if took := time.Since(start); second == first || took != 10*time.Second {
			t.Errorf("got the refused token %t after %s", second == first, took)
		}

		// The token expires within minutes, so the next request starts a refresh in the background.
		time.Sleep(58 * time.Minute)
		get(t, c)
		synctest.Wait()
		c.Refused(second.Token)
		if _, err := getWithin(c, time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		third := get(t, c)
		if third == second {
			t.Error("got the refused token")
		}
		i.wantCalls(t, 3) // the refresh continued after the request that started it gave up

		// Let the issuer fail. GetToken must then return the refused token again, so that the
		// caller gets the server's 401.
		i.err.Store(&errDown)
		c.Refused(third.Token)
		start = time.Now()
		if got := get(t, c); got != third || time.Since(start) != 10*time.Second {
			t.Errorf("got the old token %t after %s", got == third, time.Since(start))
		}
		c.Refused(third.Token)
		if got := get(t, c); got != third || time.Since(start) != 10*time.Second {
			t.Errorf("no pause after a failure: %s", time.Since(start))
		}
		i.wantCalls(t, 4)
		time.Sleep(2 * time.Second)
		i.err.Store(nil)
		if got := get(t, c); got == third {
			t.Error("got the refused token when there was another")
		}
		i.wantCalls(t, 5)
	})
}
