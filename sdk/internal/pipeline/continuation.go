package pipeline

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/confab-chat/confab/sdk/internal/endpoint"
)

// Continuation returns the path and query of nextLink, to be sent as Request.Path.
// wantPath is the path, escaped, of the operation that nextLink continues.
//
// It is an error when nextLink, which may be relative to that path, leads to another
// scheme, host, port or operation: whoever can put a link into an answer or into a
// store of links would otherwise be sent the token. The path may be escaped in another
// way: the service's links have thread ids as they are (docs/contract/chat.md §0.8).
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

// withoutURL drops what package url says of the URL itself, which is long and may hold
// what is not for a log.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
