package communication

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// lateIssuer is a fake token issuer that returns one second after its context was cancelled.
type lateIssuer struct {
	issuer
	running atomic.Int32
}

func (i *lateIssuer) issue(ctx context.Context) (string, error) {
	i.running.Add(1)
	defer i.running.Add(-1)
	text, err := i.issuer.issue(ctx)
	if ctx.Err() != nil {
		time.Sleep(time.Second)
	}
	return text, err
}

func TestCloseWaitsForTheRefresh(t *testing.T) {
	for _, test := range []struct {
		name string
		o    *RefreshingOptions
		gone bool // whether the request that started the refresh gave up before Close
	}{
		{"in the background", &RefreshingOptions{Proactive: true}, false},
		{"of a request", nil, false},
		{"of a request that gave up", nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := &lateIssuer{issuer: issuer{life: time.Hour, takes: 24 * time.Hour}}
				c, err := NewRefreshingTokenCredential(i.issue, test.o)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				request := make(chan error, 1)
				go func() {
					_, err := c.GetToken(ctx, policy.TokenRequestOptions{})
					request <- err
				}()
				synctest.Wait()
				want := errClosed
				if test.gone {
					cancel()
					synctest.Wait()
					want = context.Canceled
				}
				start := time.Now()
				c.Close()
				if took, running := time.Since(start), i.running.Load(); running != 0 || took != time.Second {
					t.Errorf("Close took %s and left %d refreshes, want 1s and 0", took, running)
				}
				if err := <-request; !errors.Is(err, want) {
					t.Errorf("the request got %v, want %v", err, want)
				}
				i.wantCalls(t, 1)
			})
		})
	}
}

func TestCloseTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &lateIssuer{issuer: issuer{life: time.Hour, takes: 24 * time.Hour}}
		c, err := NewRefreshingTokenCredential(i.issue, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			go c.GetToken(context.Background(), policy.TokenRequestOptions{})
		}
		synctest.Wait()
		var closing sync.WaitGroup
		for range 3 {
			closing.Go(func() {
				c.Close()
				if running := i.running.Load(); running != 0 {
					t.Errorf("%d refreshes are left", running)
				}
			})
		}
		closing.Wait()
	})
}

func TestTokenAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour}
		c := i.credential(t, &RefreshingOptions{Proactive: true})
		first := get(t, c)
		c.Close()
		time.Sleep(time.Hour - time.Second)
		i.wantCalls(t, 1)
		if got := get(t, c); got != first {
			t.Error("got another token while the old one was good")
		}
		time.Sleep(time.Second)
		second := get(t, c)
		if second == first {
			t.Error("got an expired token")
		}
		c.Refused(second.Token)
		if got := get(t, c); got == second {
			t.Error("got the refused token")
		}
		i.wantCalls(t, 3)
	})
}

func TestCloseEndsTheRefreshOfAGoodToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &lateIssuer{issuer: issuer{life: time.Hour, takes: 24 * time.Hour}}
		c, err := NewRefreshingTokenCredential(i.issue, &RefreshingOptions{Token: jwt("a", time.Now().Add(time.Hour))})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		first := get(t, c)
		synctest.Wait()
		i.wantCalls(t, 1)
		c.Close()
		if running := i.running.Load(); running != 0 {
			t.Errorf("%d refreshes are left", running)
		}
		if got := get(t, c); got != first {
			t.Error("got another token")
		}
		synctest.Wait()
		i.wantCalls(t, 1)
	})
}
