package measure

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/confab-chat/confab/internal/bench/load"
)

// pageSize is the number of messages of a page that is measured.
const pageSize = 50

// List measures requests for a page of the newest messages of a thread.
func List(ctx context.Context, o Options) (Report, error) {
	return part{
		name: "list", what: fmt.Sprintf("pages of %d messages, each of ", pageSize),
		threads: 200, members: 2, references: []string{"page"}, connections: []int{64, 256}, start: startList,
		bars: func(r *Report) {
			for _, c := range r.Cells {
				r.rate("page", c.Connections, 0.35, 0.5)
			}
		},
	}.run(ctx, o)
}

// startList starts Confab with messages in each thread. It also starts reference servers, which
// answer every request with the bytes that Confab returns for a page of its first thread.
func startList(ctx context.Context, p part, b *bench) (s stage, err error) {
	server, err := b.startConfab(ctx)
	if err != nil {
		return s, err
	}
	world, err := load.Populate(ctx, server, p.threads, p.members)
	if err != nil {
		return s, fmt.Errorf("create threads: %w", err)
	}
	// The 16 connections send enough messages to each thread for a full page and some more, so that
	// the page has a link to the next one.
	const connections, rounds = 16, 4
	s.messages = load.NewSends(server, world, b.Size, connections)
	if err := load.Fill(ctx, server, s.messages, connections, rounds*p.threads); err != nil {
		return s, fmt.Errorf("fill threads: %w", err)
	}
	pages, err := load.NewPages(ctx, server, world, pageSize)
	if err != nil {
		return s, err
	}
	s.subjects = []subject{{confab, server, pages.Load()}}
	body := filepath.Join(b.Dir, "page.json")
	if err := os.WriteFile(body, pages.Body(), 0o600); err != nil {
		return s, err
	}
	for _, kind := range p.references {
		server, world, err := b.startReference(ctx, kind, p.threads, p.members, "--body", body)
		if err != nil {
			return s, err
		}
		pages, err := load.NewPages(ctx, server, world, pageSize)
		if err != nil {
			return s, err
		}
		s.subjects = append(s.subjects, subject{kind, server, pages.Load()})
	}
	return s, nil
}
