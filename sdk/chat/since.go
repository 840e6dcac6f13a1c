package chat

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strconv"
)

// The page sizes of MessagesSince. Its first request asks for a small page, because a program that
// polls often usually finds few new messages.
const (
	fewMessages  = 20
	manyMessages = 200 // the largest page of the service
)

const sinceOperation = "messages since"

// MessagesSince returns each message of the thread that was created after the one with the ID
// cursor, once and oldest first. With an empty cursor it returns all messages that the user may
// see. The loop ends after the newest message. To poll, store the ID of each message that is
// handled, and call MessagesSince again with the last ID, also in another process:
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
// MessagesSince reads all new messages into memory before it yields the first one. To read the
// history of a large thread, use ListMessages. To receive only messages that are sent from now on,
// use the ID of the newest message in ListMessages as the first cursor. If few messages are new,
// MessagesSince sends one request. Temporary failures are retried. If MessagesSince fails, it
// yields only the error and no message.
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

// sinceReader reads the messages after a cursor from the list of messages, newest change first.
// While it reads several pages, an edit or a deletion may move a message to the top of the list,
// past the reader.
//
// A page shows the list at one moment. A message that moves gets a higher sequence than every
// message that was in the list before. So after several pages the reader requests the newest page
// again, until that page reaches a message that was read before. At that moment, each message is
// either in the page, or has not moved since it was read.
//
// The query parameter startTime cannot replace this: it has whole seconds, and the times of
// messages may go back when the clock of a server is set.
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

// readAll reads pages, newest messages first, until take reports that the remaining pages need not
// be read.
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

// take stores the messages of a page that were created after the cursor. It returns the highest
// sequence in the page. reached is true if the pages below need not be read: if the page contains a
// message that was read before, or a message that is not newer than the cursor and was never edited
// or deleted, so that all messages below it are older.
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

// messages returns the messages that were found, oldest first.
func (r *sinceReader) messages() []Message {
	all := make([]Message, 0, len(r.found))
	for _, id := range slices.Sorted(maps.Keys(r.found)) {
		all = append(all, r.found[id].Message)
	}
	return all
}
