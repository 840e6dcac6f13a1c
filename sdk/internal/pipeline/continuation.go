package pipeline

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/confab-chat/confab/sdk/internal/endpoint"
)

// Continuation returns the path and query of nextLink, to be used as Request.Path. wantPath is the
// escaped path of the list that nextLink continues.
//
// It fails if nextLink, which may be relative to wantPath, has another scheme, host, port or path:
// otherwise a forged link in a response or in a stored continuation would make the client send its
// token to another server or path. The path may be escaped differently: the service does not escape
// thread ids in its links (docs/contract/chat.md §0.8).
func (c *Client) Continuation(nextLink, wantPath string) (string, error) {
	if nextLink == "" {
		return "", errors.New("the link to the next page is empty")
	}
	base, err := c.base.Parse(wantPath)
	if err != nil {
		return "", fmt.Errorf("path %q: %w", wantPath, err)
	}
	link, err := base.Parse(nextLink)
	if err != nil {
		return "", fmt.Errorf("the link to the next page is not a URL: %w", withoutURL(err))
	}
	if link.User != nil || !endpoint.SameOrigin(link, c.base) {
		return "", fmt.Errorf("the link to the next page leads to %s://%s, not to %s, and is not followed", link.Scheme, link.Host, c.endpoint)
	}
	if link.Path != base.Path {
		return "", fmt.Errorf("the link to the next page leads to %s, not to %s, and is not followed", link.EscapedPath(), base.EscapedPath())
	}
	path := link.EscapedPath()
	if link.RawQuery != "" {
		path += "?" + link.RawQuery
	}
	return path, nil
}

// withoutURL returns the cause of a *url.Error, without the URL, which is long and may contain
// secrets.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
