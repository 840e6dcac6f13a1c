package chat

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/sdk/internal/pipeline"
)

// Page is one page of a list.
type Page[T any] struct {
	// Values are the elements of the page, in the order of the service. A page may be empty even if
	// more pages follow.
	Values []T

	// Continuation tells where the next page begins. It is "" on the last page. To resume the list
	// later, also in another process, store the Continuation and set it in the options of the same
	// list. It is the path and query of a URL, and contains no host and no secret.
	Continuation string
}

// Pager reads a list page by page:
//
//	pager := thread.NewListMessagesPager(nil)
//	for pager.More() {
//		page, err := pager.NextPage(ctx)
//		if err != nil {
//			return err
//		}
//		for _, m := range page.Values {
//			...
//		}
//	}
//
// The methods whose names begin with List return iterators over the elements, which are easier to
// use if pages do not matter.
//
// A Pager stays usable after an error: NextPage requests the same page again. A Pager is not safe
// for concurrent use, but a client can create any number of them.
type Pager[T any] struct {
	client    *Client
	operation string // the name of the operation in errors, such as "list messages"
	path      string // escaped path of the list; links to other paths are refused
	query     url.Values
	next      string // path and query of the next page; "" before the first page and after the last page
	started   bool
	wrong     error // the error that NextPage returns if the options are invalid

	// mark detects links that form a cycle. It is a link that the pager followed earlier: if the
	// service returns it again, the pager fails. After limit steps, mark becomes the newest link
	// and limit doubles (Brent's algorithm).
	mark         string
	steps, limit int
}

// pageJSON is the JSON form of a page of any list.
type pageJSON[T any] struct {
	Value    []T    `json:"value"`
	NextLink string `json:"nextLink,omitzero"`
}

// listOptions holds the options of all kinds of lists. Each kind of list uses some of the options.
// newPager checks the options and encodes them in the query.
type listOptions struct {
	startTime    time.Time
	maxPageSize  int
	skip         int
	continuation string
}

func newPager[T any](c *Client, operation, path string, wrong error, o listOptions) *Pager[T] {
	p := &Pager[T]{client: c, operation: operation, path: path, query: url.Values{}, limit: 1}
	switch {
	case wrong != nil:
		p.wrong = wrong
	case o.maxPageSize < 0:
		p.wrong = invalid(operation, "MaxPageSize %d is negative", o.maxPageSize)
	case o.skip < 0:
		p.wrong = invalid(operation, "Skip %d is negative", o.skip)
	case o.continuation != "":
		p.wrong = p.resume(o.continuation)
	}
	if !o.startTime.IsZero() {
		p.query.Set("startTime", seconds(o.startTime).Format(time.RFC3339))
	}
	if o.maxPageSize > 0 {
		p.query.Set("maxPageSize", strconv.Itoa(o.maxPageSize))
	}
	if o.skip > 0 {
		p.query.Set("skip", strconv.Itoa(o.skip))
	}
	return p
}

// resume makes the pager start at a stored continuation. It fails if the continuation, which may
// come from an untrusted place, is not a path and query of the same list, or names a host.
func (p *Pager[T]) resume(continuation string) error {
	if !strings.HasPrefix(continuation, "/") || strings.HasPrefix(continuation, "//") {
		return invalid(p.operation, "the continuation is not a path and query of an earlier page")
	}
	next, err := p.client.pipeline.Continuation(continuation, p.path)
	if err != nil {
		return invalid(p.operation, "continuation: %w", err)
	}
	p.next = next
	return nil
}

// More reports whether there may be another page: it is true until NextPage returns the last page.
// It sends no request.
func (p *Pager[T]) More() bool {
	return !p.started || p.next != ""
}

// NextPage requests the next page and returns it. After the last page it returns an error without
// sending a request.
//
// After an error the pager keeps its position, and NextPage can be called again without losing or
// repeating elements. NextPage fails if the service returns a link to another host or another path,
// or links that form a cycle; it sends no request to such a link.
func (p *Pager[T]) NextPage(ctx context.Context) (Page[T], error) {
	if p.wrong != nil {
		return Page[T]{}, p.wrong
	}
	if !p.More() {
		return Page[T]{}, invalid(p.operation, "there are no more pages")
	}
	var in pageJSON[T]
	if err := p.client.do(ctx, p.request(), &in); err != nil {
		return Page[T]{}, err
	}
	next, err := p.follow(in.NextLink)
	if err != nil {
		return Page[T]{}, err
	}
	p.started, p.next = true, next
	return Page[T]{Values: in.Value, Continuation: next}, nil
}

func (p *Pager[T]) request() pipeline.Request {
	r := pipeline.Request{Operation: p.operation, Method: http.MethodGet, Path: p.path, Query: p.query, Status: http.StatusOK}
	if p.next != "" {
		r.Path, r.Query = p.next, nil
	}
	return r
}

// follow checks link, which leads to the next page, and returns its path and query, or "" if link
// is empty. After an error the pager can request the same page again.
func (p *Pager[T]) follow(link string) (next string, err error) {
	if link == "" {
		return "", nil
	}
	next, err = p.client.pipeline.Continuation(link, p.path)
	switch {
	case err != nil:
		return "", invalid(p.operation, "nextLink: %w", err)
	case next == p.next || next == p.mark:
		return "", invalid(p.operation, "nextLink leads back to a page that was read already")
	}
	if p.steps++; p.steps == p.limit {
		p.mark, p.steps, p.limit = next, 0, 2*p.limit
	}
	return next, nil
}

// all returns an iterator over the elements of all pages of a list. Each loop over the iterator
// calls newPager and starts at the first page.
func all[T any](ctx context.Context, newPager func() *Pager[T]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for p := newPager(); p.More(); {
			page, err := p.NextPage(ctx)
			if err != nil {
				yield(none, err)
				return
			}
			for _, v := range page.Values {
				if !yield(v, nil) {
					return
				}
			}
		}
	}
}
