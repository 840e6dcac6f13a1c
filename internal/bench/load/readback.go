package load

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Found counts the differences between the messages that a server has acknowledged and the messages
// that it returns.
type Found struct {
	Acknowledged int `json:"acknowledged"`
	Lost         int `json:"lost"`      // acknowledged, but not returned
	Doubled      int `json:"doubled"`   // returned twice, or never acknowledged
	Reordered    int `json:"reordered"` // returned in another order than the connection sent them
	Wrong        int `json:"wrong"`     // returned with a wrong id, text or thread
}

// Add adds the counts of g to f.
func (f *Found) Add(g Found) {
	f.Acknowledged += g.Acknowledged
	f.Lost += g.Lost
	f.Doubled += g.Doubled
	f.Reordered += g.Reordered
	f.Wrong += g.Wrong
}

// Err returns an error unless the server returned each message once, in the order in which they
// were sent.
func (f Found) Err() error {
	if f.Lost+f.Doubled+f.Reordered+f.Wrong == 0 {
		return nil
	}
	return fmt.Errorf("of %d acknowledged messages %d are lost, %d doubled, %d reordered and %d changed", f.Acknowledged, f.Lost, f.Doubled, f.Reordered, f.Wrong)
}

// ReadBack reads all threads of the world from the server and compares their messages with the
// messages that the server has acknowledged. The result counts the differences. ReadBack fails only
// if a thread cannot be read.
func (l *Sends) ReadBack(ctx context.Context, s *Server) (f Found, err error) {
	c := newChecker(l)
	transport := &http.Transport{TLSClientConfig: s.TLS.Clone()}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	pages := make(chan page, 4)
	group, within := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(pages)
		for i, t := range l.world.Threads {
			if err := readThread(within, client, s.Endpoint.String(), i, t, pages); err != nil {
				return fmt.Errorf("read back thread %s: %w", t.ID, err)
			}
		}
		return nil
	})
	group.Go(func() error {
		for p := range pages {
			c.page(p)
		}
		return nil
	})
	err = group.Wait()
	return c.result(), err
}

// page is a page of messages of a thread, newest first.
type page struct {
	thread   int // index
	Value    []message
	NextLink string
}

type message struct {
	ID         string
	Type       string
	SequenceID string
	Content    struct{ Message string }
}

// readThread sends the pages of a thread to the channel. The members of the thread request
// pages in turn, because a server limits the requests of each user.
func readThread(ctx context.Context, client *http.Client, endpoint string, index int, t Thread, pages chan<- page) error {
	next := endpoint + "/chat/threads/" + t.ID + "/messages?api-version=2025-03-15&maxPageSize=200"
	for n := 0; next != ""; {
		p := page{thread: index}
		wait, err := getPage(ctx, client, next, t.Bearers[n%len(t.Bearers)], &p)
		if err != nil {
			return err
		}
		n++
		if wait > 0 {
			select {
			case <-time.After(wait):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case pages <- p:
			next = p.NextLink
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// getPage reads a page of messages into p. If the server refuses the request because of the user's
// rate limit, getPage returns the time to wait before the next try.
func getPage(ctx context.Context, client *http.Client, url, bearer string, p *page) (wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { err = cmp.Or(err, res.Body.Close()) }()
	switch res.StatusCode {
	case http.StatusOK:
		return 0, json.NewDecoder(res.Body).Decode(p)
	case http.StatusTooManyRequests:
		seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
		return max(time.Duration(seconds)*time.Second, time.Millisecond), err
	}
	return 0, fmt.Errorf("status %d", res.StatusCode)
}

// checker compares the pages of all threads with the acknowledged messages.
type checker struct {
	sends    *Sends
	seen     [][]bool // seen[c][n] is true if message n of connection c was returned
	previous []int    // for each connection, the number of its message that was checked last in the present thread
	thread   int      // index of the thread to which the values in previous belong
	sequence int64    // the sequence number of the message that was checked last in the present thread
	found    Found
}

func newChecker(l *Sends) *checker {
	c := &checker{sends: l, thread: -1, previous: make([]int, len(l.acked)), seen: make([][]bool, len(l.acked))}
	for i, ids := range l.acked {
		c.seen[i] = make([]bool, len(ids))
		c.found.Acknowledged += len(ids)
	}
	return c
}

func (c *checker) page(p page) {
	if p.thread != c.thread {
		c.thread, c.sequence = p.thread, 1<<62
		for i := range c.previous {
			c.previous[i] = 1 << 62
		}
	}
	for _, m := range p.Value {
		if m.Type == "text" {
			c.message(m)
		}
	}
}

func (c *checker) message(m message) {
	connection, n, text, err := numbers(m.Content.Message)
	if err != nil || connection >= len(c.seen) {
		c.found.Wrong++
		return
	}
	if n >= len(c.seen[connection]) || c.seen[connection][n] {
		c.found.Doubled++
		return
	}
	c.seen[connection][n] = true
	l := c.sends
	if m.ID != strconv.FormatInt(l.acked[connection][n], 10) || text != l.texts[(31*connection+n)%len(l.texts)] || l.head(connection, n)%len(l.world.Threads) != c.thread {
		c.found.Wrong++
	}
	sequence, err := strconv.ParseInt(m.SequenceID, 10, 64)
	if err != nil || sequence >= c.sequence || n >= c.previous[connection] {
		c.found.Reordered++
	}
	c.sequence, c.previous[connection] = sequence, n
}

func (c *checker) result() Found {
	for _, seen := range c.seen {
		for _, s := range seen {
			if !s {
				c.found.Lost++
			}
		}
	}
	return c.found
}

// numbers parses the text of a message, such as "001.00000001 text": the number of the connection,
// the number of the message, and the text after them.
func numbers(content string) (connection, n int, text string, err error) {
	first, text, _ := strings.Cut(content, " ")
	a, b, _ := strings.Cut(first, ".")
	connection, err = strconv.Atoi(a)
	if err == nil {
		n, err = strconv.Atoi(b)
	}
	if err == nil && (n < 0 || connection < 0) {
		err = errors.New("negative")
	}
	return connection, n, text, err
}
