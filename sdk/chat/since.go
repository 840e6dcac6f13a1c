package chat

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"math"
	"slices"
	"strconv"
)

// The page sizes of MessagesSince. Its first request asks for a small page, because a program that
// polls often usually finds few new messages.
const (
	fewMessages  = 20
	manyMessages = 200 // the largest page size that the service allows
)

// moreLooks limits the pages that MessagesSince reads to catch up with a thread that changes
// meanwhile. If the first reading took n pages, MessagesSince fails after n+moreLooks further
// pages.
const moreLooks = 10

const sinceOperation = "messages since"

// MessagesSince returns each message of the thread that was created after the message with the ID
// cursor, once and oldest first. With an empty cursor it returns all messages that the user may
// see. The loop ends after the newest message. To poll, store the ID of each message that is
// handled, and call MessagesSince again with the last ID. Another process may make the next call:
//
//	for {
//		for m, err := range thread.MessagesSince(ctx, cursor) {
//			if err != nil {
//				return err
//			}
//			handle(m)
//			cursor = m.ID // store it to continue later
//		}
//		select {
//		case <-time.After(5 * time.Second):
//		case <-ctx.Done():
//			return ctx.Err()
//		}
//	}
//
// MessagesSince works with every service, because it needs only the list of messages. The messages,
// which include system messages, come in the order of their IDs; each new message of a thread has a
// higher ID. No message is left out or repeated if others send, edit and delete messages meanwhile.
// A message may already be edited, or deleted, with DeletedOn and without content. A message that
// is edited or deleted later is not returned again; if the service has an event stream,
// [Client.Events] reports edits and deletions.
//
// MessagesSince yields the first message after it has read all messages, and holds them in memory
// meanwhile. To read the history of a large thread, use ListMessages instead. To begin with the
// present, use the Version of the first message that ListMessages returns as the first cursor: no
// message that exists then has a greater ID, and all messages that are sent later have greater
// ones. Do not use the ID of that message, which may be an old message that somebody has edited.
//
// MessagesSince sends one request if fewer than 20 messages were sent, edited or deleted since
// the cursor's message was sent, and two if fewer than 200 were. If the user is added to the
// thread again with more history, messages become visible that are older than the cursor.
// MessagesSince does not return these; ListMessages does.
//
// Temporary failures are retried. An error is yielded alone, without any message. MessagesSince
// fails instead of reading for ever if a hundred or more messages of the thread change during each
// request. Call it again then with the same cursor, or use [Client.Events].
func (t *ThreadClient) MessagesSince(ctx context.Context, cursor string) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		messages, err := t.messagesSince(ctx, cursor)
		if err != nil {
			yield(Message{}, err)
			return
		}
		for _, m := range messages {
			if !yield(m, nil) {
				return
			}
		}
	}
}

// messagesSince returns the messages that one loop over MessagesSince yields.
func (t *ThreadClient) messagesSince(ctx context.Context, cursor string) ([]Message, error) {
	r := sinceReader{thread: t, found: map[uint64]foundMessage{}}
	if cursor != "" {
		var err error
		if r.cursor, err = strconv.ParseUint(cursor, 10, 64); err != nil {
			return nil, invalid(sinceOperation, "the cursor %.40q is not the ID of a message", cursor)
		}
	}
	if complete, err := r.readNewest(ctx); err != nil || complete {
		return r.messages(), err
	}
	pages, err := r.readDown(ctx, math.MaxInt)
	for left := pages + moreLooks; err == nil && pages > 1; left -= pages {
		pages, err = r.readDown(ctx, left)
	}
	return r.messages(), err
}

// sinceReader reads the messages after a cursor from the list of messages, newest change first.
// While it reads several pages, an edit or a deletion may move a message to the top of the list,
// past the reader.
//
// A page shows the thread at one moment. A message that moves while pages are read gets a higher
// sequence number than all messages had at the beginning. So after several pages the reader reads
// the top of the list again, until a single page reaches down to messages that were read before. At
// the moment of that page, each message was either in the page, or had not moved since the reader
// read it. Each repetition reads only the messages that have changed since the previous one began,
// so the repetitions become shorter, unless the thread changes faster than it is read.
//
// The query parameter startTime cannot replace this method: it has whole seconds, and the times of
// messages may go back when the clock of a server is set.
type sinceReader struct {
	thread *ThreadClient
	cursor uint64                  // only messages whose ID is greater than cursor are returned; 0 returns all messages
	read   uint64                  // the reader has read every message whose sequence number is at most read; 0 if it has read none
	found  map[uint64]foundMessage // the messages found so far, by ID
}

type foundMessage struct {
	Message
	sequence uint64
}

// readNewest reads one page with the newest messages. complete is true if no older page needs to be
// read.
func (r *sinceReader) readNewest(ctx context.Context) (complete bool, err error) {
	page, err := r.pager(fewMessages).NextPage(ctx)
	if err != nil {
		return false, err
	}
	_, reached, err := r.take(page.Values)
	return reached || page.Continuation == "", err
}

// readDown reads the list from the top down to messages that were read before, or to the cursor,
// and returns the number of pages that it took. If it took one page, nothing is left to read. It
// fails if more than limit pages are necessary.
func (r *sinceReader) readDown(ctx context.Context, limit int) (pages int, err error) {
	var top uint64
	for p, reached := r.pager(manyMessages), false; p.More() && !reached; pages++ {
		if pages == limit {
			return pages, invalid(sinceOperation, "the thread changes faster than it is read; try again with the same cursor")
		}
		page, err := p.NextPage(ctx)
		if err != nil {
			return pages, err
		}
		var highest uint64
		if highest, reached, err = r.take(page.Values); err != nil {
			return pages, err
		}
		if top == 0 {
			top = highest
		}
	}
	r.read = max(r.read, top)
	return pages, nil
}

func (r *sinceReader) pager(size int) *Pager[Message] {
	return threadPager[Message](r.thread, sinceOperation, "/messages", listOptions{maxPageSize: size})
}

// take keeps the messages of a page that were created after the cursor. It returns the highest
// sequence number of the page. reached is true if the following pages need not be read, because
// this page contains a message that was read before, or a message that last changed before the
// cursor's message was sent. The list is ordered by version, highest first (docs/contract/chat.md
// §5.1), so the following pages contain only smaller versions, and a message's ID is never greater
// than its version. The list of a user who has left the thread has one harmless exception: a
// message that was deleted later has a greater version than its position in the list tells.
func (r *sinceReader) take(page []Message) (highest uint64, reached bool, err error) {
	for _, m := range page {
		id, err1 := strconv.ParseUint(m.ID, 10, 64)
		version, err2 := strconv.ParseUint(m.Version, 10, 64)
		sequence, err3 := strconv.ParseUint(m.SequenceID, 10, 64)
		if err := cmp.Or(err1, err2, err3); err != nil {
			return 0, false, invalid(sinceOperation, "the service has sent a message whose id, version or sequenceId is no number: %w", err)
		}
		highest = max(highest, sequence)
		switch {
		case sequence <= r.read, version <= r.cursor:
			reached = true
		case id > r.cursor && sequence > r.found[id].sequence:
			r.found[id] = foundMessage{m, sequence}
		}
	}
	return highest, reached, nil
}

// messages returns the messages that were found, oldest first.
func (r *sinceReader) messages() []Message {
	all := make([]Message, 0, len(r.found))
	for _, id := range slices.Sorted(maps.Keys(r.found)) {
		all = append(all, r.found[id].Message)
	}
	return all
}
