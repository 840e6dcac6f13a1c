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
	// Values are the page's elements, in the order of the service. There may be
	// few or none although other pages follow.
	Values []T

	// Continuation is where the next page begins, and "" on the last page. Keep it
	// and give it to the options of the same list later, in another process too, to
	// go on from there. It is a path and query, without host or secret.
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
// The methods named List give the elements one by one, which is easier where the
// pages do not matter.
//
// A Pager stays usable after an error: NextPage asks for the same page again. It
// is for one goroutine at a time; the clients can make any number of them.
type Pager[T any] struct {
	client    *Client
	operation string // in words, for errors: "list messages"
	path      string // of the list; a link elsewhere is refused
	query     url.Values
	next      string // path and query of the next page, "" for the first one
	started   bool
	wrong     error // the options; told by NextPage

	// mark is a link followed earlier. It moves up after twice as many steps each
	// time, so that every circle of links meets it.
	mark         string
	steps, limit int
}

// pageJSON is every collection of the contract.
type pageJSON[T any] struct {
	Value    []T    `json:"value"`
	NextLink string `json:"nextLink,omitzero"`
}

// listOptions are those that some list has, checked and written by newPager.
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

// resume begins at a stored continuation. It comes from a place that we do not
// know, so it gets no more trust than a link of the service: its own list, and
// not even a host.
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

// More reports whether there may be another page. It does not ask the service, and
// is true until NextPage has returned the last page.
func (p *Pager[T]) More() bool {
	return !p.started || p.next != ""
}

// NextPage asks the service for the next page. After the last page it returns an
// error without asking.
//
// On an error the pager stays where it was, and NextPage can be called again:
// the list goes on with no element lost or doubled by that. It is an error when the
// service gives a link that leads away from the list, to another host or to
// another path, and when the links lead round in a circle. Nothing is sent to such
// a link.
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

// follow checks the link of a page. It changes nothing on an error, since the same
// page may be asked for again.
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

// all yields the elements of every page. Each range over it begins anew.
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
