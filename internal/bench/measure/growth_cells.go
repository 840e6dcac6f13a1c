package measure

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/confab-chat/confab/internal/bench/load"
	"github.com/confab-chat/confab/internal/bench/seed"
)

// growthCell is an operation and the threads or the user on which it is measured.
type growthCell struct {
	operation string
	what      func(g *growth, messages int) string
	alone     bool // uses one connection only, because several would change the same thread
	load      func(ctx context.Context, g *growth, s *grown) (load.Load, error)
}

// listSize is the number of threads in a measured page of threads. It is also the number of threads
// of the user World.Few.
const listSize = 10

// deepThreads is the number of threads of World.Rooms from which pages of old messages are
// measured.
const deepThreads = 20

// maxRequests is the maximum number of different requests of a load.
const maxRequests = 4096

func growthCells() (cells []growthCell) {
	both := func(operation string, of func(ctx context.Context, g *growth, s *grown, threads []seed.Thread) (load.Load, error)) {
		cells = append(cells,
			growthCell{operation: operation, what: twoMembers, load: func(ctx context.Context, g *growth, s *grown) (load.Load, error) { return of(ctx, g, s, s.world.Rooms) }},
			growthCell{operation: operation, what: manyMembers, load: func(ctx context.Context, g *growth, s *grown) (load.Load, error) { return of(ctx, g, s, s.world.Large) }},
		)
	}
	both("send", sendsTo)
	both("first page", firstPages)
	both("deep page", deepPages)
	both("get", gets)
	both("receipt", receiptsFor)
	list := func(what func(*growth, int) string, bearer func(*seed.World) string) {
		cells = append(cells, growthCell{operation: "thread list", what: what, load: func(_ context.Context, _ *growth, s *grown) (load.Load, error) {
			path := fmt.Sprintf("/chat/threads?maxPageSize=%d&%s", listSize, apiVersion)
			return repeat(http.StatusOK, []string{get(s.server, bearer(&s.world), path)}), nil
		}})
	}
	list(func(*growth, int) string { return fmt.Sprint(listSize, " threads") }, func(w *seed.World) string { return w.Few })
	list(func(g *growth, n int) string { return fmt.Sprint(g.lists(n), " threads") }, func(w *seed.World) string { return w.Many })
	list(func(g *growth, n int) string { return fmt.Sprint(g.lists(n), " in a minute") }, func(w *seed.World) string { return w.Crowd })
	member := func(what func(*growth, int) string, thread func(*seed.World) seed.Thread) {
		cells = append(cells, growthCell{operation: "add, remove", what: what, alone: true, load: func(_ context.Context, _ *growth, s *grown) (load.Load, error) {
			return addAndRemove(s, thread(&s.world)), nil
		}})
	}
	member(twoMembers, func(w *seed.World) seed.Thread { return w.Pair })
	member(manyMembers, func(w *seed.World) seed.Thread { return w.Open })
	return cells
}

func twoMembers(*growth, int) string      { return "2 members" }
func manyMembers(g *growth, _ int) string { return fmt.Sprint(g.o.Members, " members") }

const apiVersion = "api-version=2025-03-15"

func get(s *load.Server, bearer, path string) string {
	return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, s.Endpoint.Host, bearer)
}

func post(s *load.Server, bearer, path, body string) string {
	return fmt.Sprintf("POST %s?%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, apiVersion, s.Endpoint.Host, bearer, len(body), body)
}

// repeat returns a load that sends the given requests again and again, in order. Each connection
// begins with another request.
func repeat(status int, requests []string) load.Load {
	return load.Load{Status: status, Request: func(buf []byte, connection, n int) []byte {
		return append(buf, requests[(31*connection+n)%len(requests)]...)
	}}
}

// perMember returns the requests that the function request makes for the members of the threads,
// maxRequests at most. It takes the first member of all threads before the second one, so that
// successive requests go to different threads.
func perMember(threads []seed.Thread, request func(t seed.Thread, bearer string) string) (all []string) {
	for m := range threads[0].Bearers {
		for _, t := range threads {
			if len(all) < maxRequests {
				all = append(all, request(t, t.Bearers[m]))
			}
		}
	}
	return all
}

func sendsTo(_ context.Context, g *growth, s *grown, threads []seed.Thread) (load.Load, error) {
	var w load.World
	for _, t := range threads {
		w.Threads = append(w.Threads, t.Thread)
	}
	return load.NewSends(s.server, w, g.Size, g.o.Connections[0]).Load(), nil
}

func firstPages(_ context.Context, _ *growth, s *grown, threads []seed.Thread) (load.Load, error) {
	return repeat(http.StatusOK, perMember(threads, func(t seed.Thread, bearer string) string {
		return get(s.server, bearer, fmt.Sprintf("/chat/threads/%s/messages?maxPageSize=%d&%s", t.ID, pageSize, apiVersion))
	})), nil
}

// deepPages returns a load that requests a page of messages from the middle of each thread.
func deepPages(ctx context.Context, _ *growth, s *grown, threads []seed.Thread) (load.Load, error) {
	conn, err := load.Dial(ctx, s.server)
	if err != nil {
		return load.Load{}, err
	}
	defer conn.Close()
	threads = threads[:min(deepThreads, len(threads))]
	paths := map[string]string{}
	for _, t := range threads {
		if paths[t.ID], err = middle(conn, s.server, t); err != nil {
			return load.Load{}, fmt.Errorf("read thread %s: %w", t.ID, err)
		}
	}
	return repeat(http.StatusOK, perMember(threads, func(t seed.Thread, bearer string) string {
		return get(s.server, bearer, paths[t.ID])
	})), nil
}

// middle reads the messages of a thread page by page up to the thread's middle, and returns the
// path of the next page.
func middle(conn *load.Conn, s *load.Server, t seed.Thread) (string, error) {
	step := min(100, t.Sent/4+1) // number of messages of a page, small enough for the buffer of conn
	path := fmt.Sprintf("/chat/threads/%s/messages?maxPageSize=%d&%s", t.ID, step, apiVersion)
	for read := 0; read < t.Sent/2; read += step {
		status, body, err := conn.Do([]byte(get(s, t.Bearers[0], path)))
		if err != nil {
			return "", err
		}
		var page struct{ NextLink string }
		if err := json.Unmarshal(body, &page); err != nil || status != http.StatusOK || page.NextLink == "" {
			return "", fmt.Errorf("status %d and no next page after %d of %d messages (%v)", status, read+step, t.Sent, err)
		}
		next, err := url.Parse(page.NextLink)
		if err != nil {
			return "", err
		}
		path = next.RequestURI()
	}
	return strings.Replace(path, fmt.Sprint("maxPageSize=", step), fmt.Sprint("maxPageSize=", pageSize), 1), nil
}

func gets(_ context.Context, _ *growth, s *grown, threads []seed.Thread) (load.Load, error) {
	var all []string
	// the nth known message of each thread, then the next one of each thread
	for n := 0; len(all) < maxRequests && n < maxRequests; n++ {
		for _, t := range threads {
			if n < len(t.Some) && len(all) < maxRequests {
				// The multiplier spreads successive requests over the whole thread.
				id := t.Some[7919*n%len(t.Some)]
				all = append(all, get(s.server, t.Bearers[n%len(t.Bearers)], fmt.Sprintf("/chat/threads/%s/messages/%d?%s", t.ID, id, apiVersion)))
			}
		}
	}
	return repeat(http.StatusOK, all), nil
}

func receiptsFor(_ context.Context, _ *growth, s *grown, threads []seed.Thread) (load.Load, error) {
	return repeat(http.StatusOK, perMember(threads, func(t seed.Thread, bearer string) string {
		return post(s.server, bearer, "/chat/threads/"+t.ID+"/readReceipts", fmt.Sprintf(`{"chatMessageId":"%d"}`, t.LastID))
	})), nil
}

// addAndRemove returns a load that adds a guest to the thread and removes the guest again, then
// does the same with the next guest. Each round continues where the last one ended, so two rounds
// must not use the load at the same time.
func addAndRemove(s *grown, t seed.Thread) load.Load {
	var all []string
	for _, guest := range s.world.Guests {
		all = append(all,
			post(s.server, t.Bearers[0], "/chat/threads/"+t.ID+"/participants/:add", fmt.Sprintf(`{"participants":[{"communicationIdentifier":{"rawId":%q}}]}`, guest)),
			post(s.server, t.Bearers[0], "/chat/threads/"+t.ID+"/participants/:remove", fmt.Sprintf(`{"rawId":%q}`, guest)))
	}
	next := 0
	return load.Load{
		Status: http.StatusCreated, Also: http.StatusNoContent,
		Request:  func(buf []byte, _, _ int) []byte { return append(buf, all[next%len(all)]...) },
		Answered: func(int, int, []byte) error { next++; return nil },
	}
}
