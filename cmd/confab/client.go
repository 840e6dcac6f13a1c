package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/sdk/communication"
)

// identityVersion is the api-version that we speak on the identity routes.
const identityVersion = "?api-version=2023-10-01"

// patience is how long a command waits for the server's answer.
const patience = 30 * time.Second

// apiClient talks to a running server with its access key.
type apiClient struct {
	server running
	key    communication.AccessKey
	http   *http.Client
}

// newAPIClient finds the server that a command means.
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

// clientTo talks to a server that was found.
func clientTo(r running) (*apiClient, error) {
	key, err := communication.NewAccessKey(r.AccessKey)
	if err != nil {
		return nil, err
	}
	client, err := r.httpClient()
	return &apiClient{server: r, key: key, http: client}, err
}

// call sends a signed request and reads the answer, each unless it is nil.
func (c *apiClient) call(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return c.wait(ctx, method, path, body, answer)
}

// wait is call for what may take long.
func (c *apiClient) wait(ctx context.Context, method, path string, body, answer any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.server.LocalEndpoint+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", userAgent())
	if err := c.key.Sign(req, time.Now()); err != nil {
		return err
	}
	defer c.http.CloseIdleConnections()
	res, err := c.http.Do(req)
	if err != nil {
		return &failure{what: "the server at " + c.server.LocalEndpoint + " does not answer: " + rootCause(err).Error(), next: "does it still run?", cause: err}
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

func userAgent() string { return "confab-cli/" + shortVersion() }

// refusal is the server's error in its own words.
func refusal(res *http.Response) error {
	var body struct {
		Error struct{ Code, Message string }
	}
	json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&body) // without a body there is still the status
	if body.Error.Message == "" {
		body.Error.Message = http.StatusText(res.StatusCode)
	}
	return &failure{what: fmt.Sprintf("the server refused: %s (%d %s)", body.Error.Message, res.StatusCode, body.Error.Code)}
}

// httpClient meets the server on this machine: it trusts the local authority,
// or the very certificate that the server's owner gave it, whose name is seldom
// that of this machine.
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
		config.ServerName = "localhost" // its certificate always holds this, by whichever address we come
	default:
		config.InsecureSkipVerify = true // what stands below is stricter
		config.VerifyConnection = func(s tls.ConnectionState) error { return isCertificateOf(r.CertFile, s.PeerCertificates[0]) }
	}
	// No proxy: the server is on this machine.
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}, nil
}

// isCertificateOf checks that cert is the first one in a file.
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
	return fmt.Errorf("it shows another certificate than that of %s", file)
}

// printJSON writes a result for programs.
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

// oneArg wants exactly one argument, which is not empty.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || strings.TrimSpace(args[0]) == "" {
			return usage(cmd, fmt.Sprintf("%s needs one argument, %s", strings.TrimPrefix(cmd.CommandPath(), cmd.Root().CommandPath()+" "), what))
		}
		return nil
	}
}

// group is a command that only holds others.
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
