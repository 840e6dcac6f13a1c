package rest

import (
	"net/url"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
)

// idempotencyHeaders lists the names of the request header with an idempotency token. Each name
// has the feature of the api-versions that use it.
var idempotencyHeaders = []struct {
	in   apiver.Feature
	name string
}{
	{"repeatability-request-id", "Repeatability-Request-Id"},
	{"idempotency-token", "Idempotency-Token"},
}

// idempotencyToken returns the request's idempotency token, or "" if it has none. A repeated
// request with the same token does not create a second thread or message. Azure documents the
// header only for creating threads (docs/contract/chat.md §3.1). Unverified: that it may be used
// for sends.
func (req *request) idempotencyToken() string {
	if name := req.idempotencyHeader(); name != "" {
		return req.Header.Get(name)
	}
	return ""
}

// idempotencyHeader returns the name of the header with an idempotency token at the request's
// api-version, or "" if that version has no such header.
func (req *request) idempotencyHeader() string {
	for _, h := range idempotencyHeaders {
		if h.in.Has(req.version) {
			return h.name
		}
	}
	return ""
}

func (h *Handler) createThread(req *request) (any, error) {
	var in wire.CreateChatThreadRequest
	if err := h.decode(req, &in); err != nil {
		return nil, err
	}
	cmd, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	cmd.Token = req.idempotencyToken()
	thread, invalid, err := h.core.CreateThread(req.Context(), req.caller, cmd)
	if err != nil {
		return nil, err
	}
	h.locate(req, thread.ID)
	out := &wire.CreateChatThreadResult{ChatThread: wire.ThreadFromCore(thread)}
	out.Errors, out.InvalidParticipants = wire.InvalidFromCore(invalid)
	return out, nil
}

// locate sets req.thread to the id of a new thread, for the access log, and req.location to its
// URL, for the Location header.
func (h *Handler) locate(req *request, thread string) {
	req.thread = thread
	req.location = string(h.appendThreadURL(nil, req, thread))
}

func (h *Handler) listThreads(req *request) (any, error) {
	ts, next, err := h.pageOfThreads(req)
	if err != nil {
		return nil, err
	}
	return &wire.ChatThreadsItemCollection{Value: wire.ThreadsFromCore(ts), NextLink: next}, nil
}

// pageOfThreads returns the threads of the page that a request asks for, and the link to the next
// page, or "" if there is none.
func (h *Handler) pageOfThreads(req *request) (ts []core.ThreadEntry, next string, err error) {
	q, err := req.threadsPage()
	if err != nil {
		return nil, "", err
	}
	most := int64(smallPage) // the greatest size of the page in bytes; twice as many bytes are reserved, for its rows and for its JSON
	if q.Expand.LastMessage && int64(q.Limit)*previewRow > most {
		most = int64(q.Limit) * previewRow
		err := h.reserve(req, most)
		if err == errNoMemory { // a short page needs little memory
			q.Limit, most = smallPage/previewRow, smallPage
			err = h.reserve(req, most)
		}
		if err != nil {
			return nil, "", err
		}
	}
	page, err := h.core.ExpandThreads(req.Context(), q)
	for err == nil && q.Expand.LastMessage {
		fit := fittingThreads(page.Threads, int(most))
		if fit == len(page.Threads) {
			break
		}
		q.Limit = fit // list again with the smaller limit, because only the store can return the cursor after a shorter page
		page, err = h.core.ExpandThreads(req.Context(), q)
	}
	if err != nil {
		return nil, "", err
	}
	if page.Next != (core.ThreadsCursor{}) {
		next = h.nextThreadsLink(req, page.Next, q.Since)
	}
	return page.Threads, next, nil
}

// previewRow is the greatest size, in bytes, of the texts of one thread in a list of threads with
// their last messages. These texts are the topic, and either the content and the sender's name of
// the last message or the participants that a system message names.
const previewRow = 4 << 10

// fittingThreads returns the number of threads from the front whose texts together have at most
// the given number of bytes as JSON. The size as JSON matters because a character may take six
// times as many bytes there as in the store. The result is at least 1 unless ts is empty.
func fittingThreads(ts []core.ThreadEntry, most int) int {
	bytes := 0
	for i := range ts {
		bytes += wire.StringSize(ts[i].Topic)
		if m := ts[i].LastMessage; m != nil {
			bytes += messageSize(m)
		}
		if bytes > most && i > 0 {
			return i
		}
	}
	return len(ts)
}

func (h *Handler) getThread(req *request) (any, error) {
	properties, err := h.core.Thread(req.Context(), req.caller, req.thread)
	if err != nil {
		return nil, err
	}
	return wire.ThreadFromCore(properties), nil
}

func (h *Handler) updateThread(req *request) (any, error) {
	var in wire.UpdateChatThreadRequest
	if err := h.decode(req, &in); err != nil {
		return nil, err
	}
	cmd, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	return nil, h.core.UpdateThread(req.Context(), req.caller, req.thread, cmd)
}

func (h *Handler) deleteThread(req *request) (any, error) {
	return nil, h.core.DeleteThread(req.Context(), req.caller, req.thread)
}

// appendThreadURL appends the URL of a thread to b, for the Location header. It escapes the colons
// of the thread's id but not the at-sign, as was recorded (docs/contract/chat.md §3.1).
func (h *Handler) appendThreadURL(b []byte, req *request, thread string) []byte {
	b = append(h.appendBaseURL(b, req), "/chat/threads/"...)
	for _, c := range []byte(url.PathEscape(thread)) {
		if c == ':' {
			b = append(b, "%3A"...)
		} else {
			b = append(b, c)
		}
	}
	return b
}
