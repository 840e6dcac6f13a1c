package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/sdk/communication"
)

// identityVersion is the query string with the API version that every request to the
// identity routes has.
const identityVersion = "?api-version=2023-10-01"

// answerTimeout is the time that apiClient.call waits for the server's answer.
const answerTimeout = 30 * time.Second

// apiClient sends requests to a running server. It signs requests to the identity routes with the
// server's access key, and sends requests to the operator's API through its socket or port.
type apiClient struct {
	server   running
	key      communication.AccessKey
	http     *http.Client // for the identity routes
	operator *http.Client // for the operator's API
}

// newAPIClient returns a client of the running server that the command's flags and
// settings name.
func newAPIClient(cmd *cobra.Command) (*apiClient, error) {
	in, err := input(cmd)
	if err != nil {
		return nil, err
	}
	r, err := findServer(clientCommand{in})
	if err != nil {
		return nil, err
	}
	return clientTo(r)
}

// clientTo returns a client of the server r.
func clientTo(r running) (*apiClient, error) {
	key, err := communication.NewAccessKey(r.AccessKey)
	if err != nil {
		return nil, err
	}
	client, err := r.httpClient()
	return &apiClient{server: r, key: key, http: client, operator: r.operatorClient()}, err
}

// call sends a signed request to an identity route, with body as JSON, and decodes the response
// into answer. body and answer may be nil. It fails if the status is not 2xx or after
// answerTimeout.
func (c *apiClient) call(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := newRequest(ctx, method, c.server.LocalEndpoint+path, body)
	if err != nil {
		return err
	}
	if err := c.key.Sign(req, time.Now()); err != nil {
		return err
	}
	return send(c.http, req, c.server.LocalEndpoint, answer)
}

// operate sends a request to the operator's API, with body as JSON, and decodes the
// response into answer; body may be nil. path is relative to admin.Prefix. It fails if the
// status is not 2xx or after answerTimeout.
func (c *apiClient) operate(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return c.operateLong(ctx, method, path, body, answer)
}

// operateLong sends a request to the operator's API, as operate does, but without a time
// limit.
func (c *apiClient) operateLong(ctx context.Context, method, path string, body, answer any) error {
	req, where, err := c.operatorRequest(ctx, method, path, body)
	if err != nil {
		return err
	}
	return send(c.operator, req, where, answer)
}

// operateStream sends a GET request to the operator's API, without a time limit, and returns
// the body of the response, which the caller must close. It fails if the status is not 2xx.
func (c *apiClient) operateStream(ctx context.Context, path string) (io.ReadCloser, error) {
	req, where, err := c.operatorRequest(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	res, err := c.operator.Do(req)
	if err != nil {
		return nil, noAnswer(where, err)
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		return nil, refusal(res)
	}
	return res.Body, nil
}

// operatorRequest returns a request to the operator's API. It also returns where, the socket or the
// URL of that API, for error messages.
func (c *apiClient) operatorRequest(ctx context.Context, method, path string, body any) (req *http.Request, where string, err error) {
	base, where := "http://localhost", c.server.AdminSocket
	if where == "" {
		base, where = c.server.Admin, c.server.Admin
	}
	if where == "" {
		return nil, "", &failure{what: "the server has neither a socket nor a port for its operator", next: "restart it with this version: it has " + c.server.Version + ", and this is " + buildVersion()}
	}
	if req, err = newRequest(ctx, method, base+admin.Prefix+path, body); err != nil {
		return nil, "", err
	}
	if c.server.AdminSocket == "" {
		req.Header.Set("Authorization", "Bearer "+c.server.AdminSecret)
	}
	return req, where, nil
}

// newRequest returns an HTTP request with body encoded as JSON, or without a body if body is nil.
func newRequest(ctx context.Context, method, address string, body any) (*http.Request, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", userAgent())
	return req, nil
}

// send sends a request and decodes the JSON response into answer, unless answer is nil. It fails if
// the status is not 2xx. The argument where is the server's address or socket, which error messages
// contain.
func send(client *http.Client, req *http.Request, where string, answer any) error {
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return noAnswer(where, err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return refusal(res)
	}
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 16<<20)).Decode(answer); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// noAnswer returns the error for a request that failed with err before a response arrived. The
// argument where is the server's address or socket, which the message contains.
func noAnswer(where string, err error) error {
	return &failure{what: "the server at " + where + " does not answer: " + rootCause(err).Error(), next: "does it still run?", cause: err}
}

// operatorClient returns an HTTP client for the operator's API: it connects to the socket
// or, if the server has none, to the port.
func (r running) operatorClient() *http.Client {
	t := &http.Transport{} // uses no proxy
	if r.AdminSocket != "" {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.AdminSocket)
		}
	}
	return &http.Client{Transport: t}
}

func userAgent() string { return "confab-cli/" + shortVersion() }

// refusal returns the error for a response that is not 2xx. Its text is the server's message, or
// the text of the status if the response has no message.
func refusal(res *http.Response) error {
	var body struct {
		Error        struct{ Code, Message string } // members of an error response of the chat API or the identity API
		Detail, Code string                         // members of an error response of the operator's API
	}
	json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&body) // ignore errors, because a response may have no JSON body
	code, message := cmp.Or(body.Code, body.Error.Code), cmp.Or(body.Detail, body.Error.Message, http.StatusText(res.StatusCode))
	return &refusedError{failure{what: fmt.Sprintf("the server refused: %s (%d %s)", message, res.StatusCode, code)}, code}
}

// refusedError is the error for a response with a status other than 2xx.
type refusedError struct {
	failure
	code string // error code in the body of the response
}

// Unwrap returns the failure in e, which is the error that the user sees.
func (e *refusedError) Unwrap() error { return &e.failure }

// isRefused reports whether err is a refusedError with the given error code.
func isRefused(err error, code string) bool {
	var refused *refusedError
	return errors.As(err, &refused) && refused.code == code
}

// httpClient returns an HTTP client for the server, which runs on this machine. If the
// server uses a certificate that the user provided, the client trusts only that certificate
// and accepts every host name in it. Otherwise the client trusts the local certificate
// authority.
func (r running) httpClient() (*http.Client, error) {
	config := &tls.Config{}
	switch {
	case r.CAFile != "":
		text, err := os.ReadFile(r.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, errors.New(r.CAFile + " holds no certificate")
		}
		config.ServerName = "localhost" // expect the name localhost in the certificate: every local certificate has it, but maybe not the server's address
	default:
		config.InsecureSkipVerify = true // skip the usual check of the certificate: VerifyConnection below accepts only the certificate in the file
		config.VerifyConnection = func(s tls.ConnectionState) error { return isCertificateOf(r.CertFile, s.PeerCertificates[0]) }
	}
	// Use no proxy, because the server runs on this machine.
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}, nil
}

// isCertificateOf returns nil if cert equals the first certificate in the PEM file, and an error
// otherwise.
func isCertificateOf(file string, cert *x509.Certificate) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if !bytes.Equal(block.Bytes, cert.Raw) {
			break
		}
		return nil
	}
	return fmt.Errorf("its certificate is not the one in %s", file)
}

// printJSON writes v as indented JSON.
func printJSON(w io.Writer, v any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(text.Bytes())
	return err
}

// oneArg returns a function that checks the arguments of a command. The function fails
// unless the command has exactly one argument, which is not blank. The parameter what is
// the name of the argument in the error message.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || strings.TrimSpace(args[0]) == "" {
			return usage(cmd, fmt.Sprintf("%s needs one argument, %s", strings.TrimPrefix(cmd.CommandPath(), cmd.Root().CommandPath()+" "), what))
		}
		return nil
	}
}

// group returns a command that only contains subcommands. Without a subcommand it prints
// its help.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}
