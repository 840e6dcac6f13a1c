package server

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/internal/traffic"
)

// againTime is the longest time for repeating a request. againToken is the lifetime of the token
// that is issued for the repeated request.
const (
	againTime  = 10 * time.Second
	againToken = time.Hour
)

// sendAgain repeats a request of a user to this server, with a new token of that user, and returns
// the id and the status of the new answer. It leaves out the ids by which the server would
// recognize a repeated request. Only a development server offers this.
func (s *Server) sendAgain(ctx context.Context, d traffic.Detail) (id string, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, againTime)
	defer cancel()
	bearer, _, err := s.IssueToken(ctx, d.User, token.Chat, againToken)
	if err != nil {
		return "", 0, err
	}
	r, err := http.NewRequestWithContext(ctx, d.Method, s.info.LocalEndpoint+d.Path, strings.NewReader(d.Sent.Body))
	if err != nil {
		return "", 0, err
	}
	if kind := d.Sent.Headers["Content-Type"]; kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	r.Header.Set("User-Agent", "confab-console")
	r.Header.Set("Authorization", "Bearer "+bearer)
	// Do not verify the certificate: the server calls its own listener, and the certificate may be
	// for other names.
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer t.CloseIdleConnections()
	answer, err := t.RoundTrip(r)
	if err != nil {
		return "", 0, err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, 16<<20)); err != nil {
		return "", 0, err
	}
	return answer.Header.Get("X-Ms-Request-Id"), answer.StatusCode, nil
}
