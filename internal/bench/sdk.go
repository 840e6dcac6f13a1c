package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/confab-chat/confab/internal/bench/load"
	"github.com/confab-chat/confab/internal/cputime"
	"github.com/confab-chat/confab/sdk/chat"
)

// SDK measures the CPU time and the allocations of a client for each SendMessage of the Go SDK. It
// compares them with the same request made with net/http and encoding/json, and made with azcore
// alone. The server runs in another process.
type SDK struct {
	Endpoint, CAFile, Token, Thread string
	// number of measured rounds of each way to send; the medians of the rounds are printed
	Rounds int
	Sends  int       // sends in each round
	Out    io.Writer `json:"-"`
}

// way is one way to send a message, such as with net/http or with the SDK, and its results.
type way struct {
	name   string
	send   func(ctx context.Context, content string) error
	cpu    []float64 // microseconds per send
	allocs []float64 // per send
}

// Run prints a table with the costs of each way to send. It returns a text for each limit that the
// SDK has exceeded.
func (s SDK) Run(ctx context.Context) (missed []string, err error) {
	ways, err := s.ways()
	if err != nil {
		return nil, err
	}
	for round := range s.Rounds + 1 {
		for i := range ways {
			if err := ways[i].round(ctx, s.Sends, round > 0); err != nil {
				return nil, fmt.Errorf("%s: %w", ways[i].name, err)
			}
		}
	}
	hand := ways[0]
	fmt.Fprintf(s.Out, "\nSendMessage over TLS, the server in another process, %d rounds of %d sends\n", s.Rounds, s.Sends)
	fmt.Fprintf(s.Out, "%-28s %13s %8s %12s %8s\n", "", "CPU of client", "ratio", "allocations", "more")
	for _, w := range ways {
		cpu := fmt.Sprintf("%.1fµs", load.Median(w.cpu))
		fmt.Fprintf(s.Out, "%-28s %13s %7.2fx %12.0f %+8.0f\n", w.name, cpu, w.ratio(hand), load.Median(w.allocs), load.Median(w.allocs)-load.Median(hand.allocs))
	}
	sdk := ways[len(ways)-1]
	if sdk.ratio(hand) > 1.6 {
		missed = append(missed, "1.6 times the CPU of a request by hand")
	}
	if load.Median(sdk.allocs)-load.Median(hand.allocs) > 60 {
		missed = append(missed, "60 allocations more than a request by hand")
	}
	return missed, nil
}

// ratio returns the CPU time of the way w divided by the CPU time of the way to: the median of the
// quotients of all rounds.
func (w way) ratio(to way) float64 {
	rs := make([]float64, len(w.cpu))
	for i := range rs {
		rs[i] = w.cpu[i] / to.cpu[i]
	}
	return load.Median(rs)
}

// round sends messages. If counts is true, it records the CPU time and the allocations per message.
func (w *way) round(ctx context.Context, sends int, counts bool) error {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := cputime.Self()
	for n := range sends {
		if err := w.send(ctx, fmt.Sprint("Where do we eat? ", n)); err != nil {
			return err
		}
	}
	used := cputime.Self() - began
	runtime.ReadMemStats(&after)
	if counts {
		w.cpu = append(w.cpu, float64(used.Nanoseconds())/1000/float64(sends))
		w.allocs = append(w.allocs, float64(after.Mallocs-before.Mallocs)/float64(sends))
	}
	return nil
}

// ways returns the ways to send a message: with net/http, with azcore alone and with
// sdk/chat, in this order.
func (s SDK) ways() ([]way, error) {
	client, err := chat.NewClient(s.Endpoint, staticToken(s.Token), &chat.ClientOptions{CAFile: s.CAFile})
	if err != nil {
		return nil, err
	}
	thread := client.NewThreadClient(s.Thread)
	// warm up: after this request the client has its token
	if _, err := thread.GetProperties(context.Background()); err != nil {
		return nil, err
	}
	address := s.Endpoint + "/chat/threads/" + url.PathEscape(s.Thread) + "/messages?api-version=2025-03-15"
	byHand, err := HTTPClient(s.CAFile)
	if err != nil {
		return nil, err
	}
	forAzcore, err := HTTPClient(s.CAFile)
	if err != nil {
		return nil, err
	}
	pipeline := azruntime.NewPipeline("bench", "v0.0.0", azruntime.PipelineOptions{
		PerRetry: []policy.Policy{azruntime.NewBearerTokenPolicy(staticToken(s.Token), []string{"scope"}, nil)},
	}, &policy.ClientOptions{Transport: forAzcore})
	return []way{
		{name: "net/http and encoding/json", send: func(ctx context.Context, content string) error {
			return sendByHand(ctx, byHand, address, s.Token, content)
		}},
		{name: "azcore alone", send: func(ctx context.Context, content string) error {
			return sendByAzcore(ctx, pipeline, address, content)
		}},
		{name: "sdk/chat", send: func(ctx context.Context, content string) error {
			_, err := thread.SendMessage(ctx, content, nil)
			return err
		}},
	}, nil
}

type (
	sendRequest struct {
		Content string `json:"content"`
	}
	sendResult struct {
		ID string `json:"id"`
	}
)

func sendByHand(ctx context.Context, client *http.Client, address, token, content string) error {
	body, err := json.Marshal(sendRequest{content})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusCreated {
		return fmt.Errorf("status %d: %s", res.StatusCode, answer)
	}
	var sent sendResult
	if err := json.Unmarshal(answer, &sent); err != nil {
		return err
	}
	if sent.ID == "" {
		return errors.New("the answer has no id")
	}
	return nil
}

func sendByAzcore(ctx context.Context, p azruntime.Pipeline, address, content string) error {
	req, err := azruntime.NewRequest(ctx, http.MethodPost, address)
	if err != nil {
		return err
	}
	if err := azruntime.MarshalAsJSON(req, sendRequest{content}); err != nil {
		return err
	}
	res, err := p.Do(req)
	if err != nil {
		return err
	}
	if !azruntime.HasStatusCode(res, http.StatusCreated) {
		return azruntime.NewResponseError(res)
	}
	var sent sendResult
	return azruntime.UnmarshalAsJSON(res, &sent)
}

// HTTPClient returns a client like http.DefaultClient that trusts only the certificates in
// a PEM file. It fails if the file cannot be read or contains no certificate.
func HTTPClient(caFile string) (*http.Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return &http.Client{Transport: transport}, nil
}

// staticToken is an azcore.TokenCredential that always returns the same token.
type staticToken string

// GetToken implements azcore.TokenCredential. It returns the token with an expiry in an hour.
func (t staticToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(t), ExpiresOn: time.Now().Add(time.Hour)}, nil
}
