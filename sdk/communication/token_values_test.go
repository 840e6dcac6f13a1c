package communication

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// transport is a function that implements policy.Transporter of azcore.
type transport func(*http.Request) (*http.Response, error)

func (f transport) Do(req *http.Request) (*http.Response, error) { return f(req) }

// TestRefreshHasNoValuesOfARequest checks that the context of refresh has no values of the request
// that started it, because the context values of azcore are about that request only. If the refresh
// wrote the variable captured, the race detector would report an error.
func TestRefreshHasNoValuesOfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var header http.Header
		issuer := runtime.NewPipeline("issuer", "v1", runtime.PipelineOptions{}, &policy.ClientOptions{
			Transport: transport(func(req *http.Request) (*http.Response, error) {
				header = req.Header
				time.Sleep(time.Minute)
				body := io.NopCloser(strings.NewReader(jwt("a", time.Now().Add(time.Hour))))
				return &http.Response{StatusCode: http.StatusOK, Body: body, Request: req}, nil
			}),
		})
		c, err := NewRefreshingTokenCredential(func(ctx context.Context) (string, error) {
			req, err := runtime.NewRequest(ctx, http.MethodPost, "https://issuer")
			if err != nil {
				return "", err
			}
			resp, err := issuer.Do(req)
			if err != nil {
				return "", err
			}
			text, err := runtime.Payload(resp)
			return string(text), err
		}, nil)
		if err != nil {
			t.Fatal(err)
		}

		var captured *http.Response
		ctx := policy.WithCaptureResponse(context.Background(), &captured)
		ctx = policy.WithHTTPHeader(ctx, http.Header{"X-Other": {"for another service"}})
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		second := make(chan error, 1)
		go func() {
			time.Sleep(10 * time.Second)
			_, err := c.GetToken(context.Background(), policy.TokenRequestOptions{})
			second <- err
		}()
		// The first request starts the refresh and times out. The refresh continues, because the
		// second request waits for it too.
		if _, err := c.GetToken(ctx, policy.TokenRequestOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("first request: got %v", err)
		}
		time.Sleep(time.Minute)
		if captured != nil {
			t.Error("the answer of the issuer was captured as that of the request")
		}
		if err := <-second; err != nil {
			t.Errorf("second request: got %v", err)
		}
		if got := header.Get("X-Other"); got != "" {
			t.Errorf("the issuer got a header %s", got)
		}
	})
}
