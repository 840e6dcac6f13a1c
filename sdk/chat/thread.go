package chat

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/confab-chat/confab/sdk/internal/pipeline"
)

// ThreadClient accesses the messages, participants, receipts and typing notifications of one
// thread. [Client.NewThreadClient] returns one.
//
// A ThreadClient is safe for concurrent use, and shares its connections and state with the Client
// that created it.
type ThreadClient struct {
	client *Client
	id     string
	path   string // escaped URL path of the thread; "" if the thread's id is invalid
}

// ID returns the id of the thread.
func (t *ThreadClient) ID() string { return t.id }

// GetProperties returns the topic, the creator and the other properties of the thread
// (docs/contract/chat.md §3.3). Temporary failures are retried.
func (t *ThreadClient) GetProperties(ctx context.Context) (ThreadProperties, error) {
	var p ThreadProperties
	err := t.do(ctx, pipeline.Request{
		Operation: "get thread", Method: http.MethodGet, Status: http.StatusOK,
	}, &p)
	return p, err
}

// UpdateTopic changes the topic of the thread (docs/contract/chat.md §3.4). The service adds a
// system message about the new topic.
//
// Temporary failures are retried. If an attempt changes the topic but its response is lost, the
// retry may add a second system message.
func (t *ThreadClient) UpdateTopic(ctx context.Context, topic string) error {
	return t.update(ctx, "update thread", updateThreadRequest{Topic: &topic})
}

// UpdateThreadOptions are the changes that [ThreadClient.Update] makes. A field with the zero value
// changes nothing.
type UpdateThreadOptions struct {
	// Topic is the new topic.
	Topic string

	// Metadata holds the metadata keys to set, with their new values. Other keys of the thread keep
	// their values.
	Metadata map[string]string

	// RemoveMetadata lists the keys to remove.
	RemoveMetadata []string

	// RetentionPolicy replaces the thread's policy. RetentionPolicy{Kind: RetentionKindNone}
	// removes the policy.
	RetentionPolicy RetentionPolicy
}

// Update changes the topic, the metadata or the retention policy of the thread, or several of them
// (docs/contract/chat.md §3.4). It fails if options change nothing, or if they both set and remove
// a metadata key. Metadata and retention policy require API version 2025-03-15.
//
// Temporary failures are retried. As with UpdateTopic, a retry after a lost response may add a
// second system message about the topic.
func (t *ThreadClient) Update(ctx context.Context, options *UpdateThreadOptions) error {
	const operation = "update thread"
	var o UpdateThreadOptions
	if options != nil {
		o = *options
	}
	var r updateThreadRequest
	if o.Topic != "" {
		r.Topic = &o.Topic
	}
	// The value null removes a key from a thread's metadata, as in any JSON merge patch.
	// Unverified: no recorded traffic removes a key.
	metadata, err := patch(operation, o.Metadata, o.RemoveMetadata, nil)
	if err != nil {
		return err
	}
	r.Metadata, r.RetentionPolicy = metadata, o.RetentionPolicy
	if r.Topic == nil && metadata == nil && o.RetentionPolicy == (RetentionPolicy{}) {
		return invalid(operation, "there is nothing to change")
	}
	return t.update(ctx, operation, r)
}

func (t *ThreadClient) update(ctx context.Context, operation string, r updateThreadRequest) error {
	return t.do(ctx, pipeline.Request{
		Operation: operation, Method: http.MethodPatch, Status: http.StatusNoContent, Body: r, MergePatch: true,
	}, nil)
}

type updateThreadRequest struct {
	Topic           *string            `json:"topic,omitempty"`
	Metadata        map[string]*string `json:"metadata,omitempty"`
	RetentionPolicy RetentionPolicy    `json:"retentionPolicy,omitzero"`
}

// patch returns the metadata member of a JSON merge patch. It contains the keys of the argument set
// with their values. It also contains the keys in the argument remove, with the value in the
// argument removed, which makes the server remove a key. It returns nil if set and remove are
// empty, and an error if both contain the same key.
func patch(operation string, set map[string]string, remove []string, removed *string) (map[string]*string, error) {
	if len(set) == 0 && len(remove) == 0 {
		return nil, nil
	}
	m := make(map[string]*string, len(set)+len(remove))
	for key, value := range set {
		m[key] = &value
	}
	for _, key := range remove {
		if _, ok := set[key]; ok {
			return nil, invalid(operation, "metadata key %q is both set and removed", key)
		}
		m[key] = removed
	}
	return m, nil
}

// do sends a request whose path is relative to the path of the thread.
func (t *ThreadClient) do(ctx context.Context, r pipeline.Request, out any) error {
	if t.path == "" {
		_, err := threadPath(r.Operation, t.id)
		return err
	}
	r.Path = t.path + r.Path
	return t.client.do(ctx, r, out)
}

func threadPath(operation, id string) (string, error) {
	segment, err := escapeID(operation, "thread", id)
	return "/chat/threads/" + segment, err
}

// escapeID returns id escaped as one segment of a URL path. It fails for "", "." and "..", because
// proxies remove such segments, and the request would then address another resource. The argument
// what names the kind of id in the error message.
func escapeID(operation, what, id string) (string, error) {
	switch id {
	case "":
		return "", invalid(operation, "%s id is empty", what)
	case ".", "..":
		return "", invalid(operation, "%s id %q is no id", what, id)
	}
	return delimiters.Replace(url.PathEscape(id)), nil
}

// delimiters escapes the characters : and @ in an id. url.PathEscape does not escape them, but most
// SDKs of the service do: 19%3A...%40thread.v2 (docs/contract/chat.md §1).
var delimiters = strings.NewReplacer(":", "%3A", "@", "%40")
