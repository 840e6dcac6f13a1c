package chat

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strconv"
)

// The page sizes of MessagesSince: a program that asks often mostly finds few new messages.
const (
	fewMessages  = 20
	manyMessages = 200 // the largest page of the service
)

const sinceOperation = "messages since"

// MessagesSince returns each message of the thread that was created after the one with the ID
// cursor, once and oldest first. An empty cursor means all messages that the user may see. The loop
// ends with the newest message; to poll, store the ID of each message when it is handled, and call
// MessagesSince again with the last one, also in another process:
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
// It works with every service, because it needs only the list of messages, in which the message that
// changed last is first. The messages come in the order of their IDs, which grow with each new
// message of a thread. System messages are among them. No message is left out or repeated if others
// send, edit and delete meanwhile. A message is returned as it is when it is read: perhaps edited, or
// deleted, with DeletedOn and without content. A later edit or deletion does not return it again;
// where the service has an event stream, [Client.Events] reports these too.
//
// MessagesSince yields the first message after it has read all, and holds them in memory meanwhile.
// So it is not the way to read the history of a large thread: ListMessages is. To begin with the
// present, take the ID of the newest message from ListMessages as the first cursor. If few messages
// are new, MessagesSince sends one request. Temporary failures are retried. An error is yielded
// alone, without any message.
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

// messagesSince returns the messages of one loop of MessagesSince.
func (t *ThreadClient) messagesSince(ctx context.Context, cursor string) ([]Message, error) {
	r := sinceReader{thread: t, found: map[uint64]foundMessage{}}
	if cursor != "" {
		var err error
		if r.cursor, err = strconv.ParseUint(cursor, 10, 64); err != nil {
			return nil, invalid(sinceOperation, "the cursor %.40q is not the ID of a message", cursor)
		}
	}
	for {
		complete, err := r.readNewest(ctx)
		if err == nil && complete {
			return r.messages(), nil
		}
		if err == nil {
			err = r.readAll(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
}

// sinceReader reads the messages after a cursor from a list in which they move: an edit or a
// deletion moves a message to the top, past a reader of several pages.
//
// A page shows the thread at one moment. A message that moves while pages are read gets a sequence
// above all that the list had at the beginning. So after several pages the reader looks at the top
// again, until one page reaches down to what it has read before: at the moment of that page, each
// message was either in it, or has stayed in its place since before it was read there.
//
// The start time of the list cannot replace that. It has whole seconds, and the times of messages
// may go back when the clock of a server is set.
type sinceReader struct {
	thread *ThreadClient
	cursor uint64                  // ID after which messages are returned; 0: all
	read   uint64                  // every message that had a sequence up to this one was read; 0: none
	found  map[uint64]foundMessage // by ID
}

type foundMessage struct {
	Message
	sequence uint64
}

// readNewest reads the newest messages, in one page. It returns true if nothing is left to read.
func (r *sinceReader) readNewest(ctx context.Context) (complete bool, err error) {
	page, err := r.pager(fewMessages).NextPage(ctx)
	if err != nil {
		return false, err
	}
	_, reached, err := r.take(page.Values)
	return reached || page.Continuation == "", err
}

// readAll reads the list from the top down to what was read before, or to the cursor.
func (r *sinceReader) readAll(ctx context.Context) error {
	var top uint64
	for p := r.pager(manyMessages); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			return err
		}
		highest, reached, err := r.take(page.Values)
		if err != nil {
			return err
		}
		if top == 0 {
			top = highest
		}
		if reached {
			break
		}
	}
	r.read = max(r.read, top)
	return nil
}

func (r *sinceReader) pager(size int) *Pager[Message] {
	return threadPager[Message](r.thread, sinceOperation, "/messages", listOptions{maxPageSize: size})
}

// take keeps the messages of a page that were created after the cursor. It returns the highest
// sequence of the page, and whether the page has reached a message below which nothing is of use:
// one that was read before, or one that is not newer than the cursor and is where it was created,
// so that all below it are older.
func (r *sinceReader) take(page []Message) (highest uint64, reached bool, err error) {
	for _, m := range page {
		id, err1 := strconv.ParseUint(m.ID, 10, 64)
		sequence, err2 := strconv.ParseUint(m.SequenceID, 10, 64)
		if err := cmp.Or(err1, err2); err != nil {
			return 0, false, invalid(sinceOperation, "the service has sent a message whose id or sequenceId is no number: %w", err)
		}
		highest = max(highest, sequence)
		moved := m.Version != m.ID || !m.EditedOn.IsZero() || !m.DeletedOn.IsZero()
		switch {
		case sequence <= r.read, id <= r.cursor && !moved:
			reached = true
		case id > r.cursor && sequence > r.found[id].sequence:
			r.found[id] = foundMessage{m, sequence}
		}
	}
	return highest, reached, nil
}

// messages returns what was found, oldest first.
func (r *sinceReader) messages() []Message {
	all := make([]Message, 0, len(r.found))
	for _, id := range slices.Sorted(maps.Keys(r.found)) {
		all = append(all, r.found[id].Message)
	}
	return all
}
