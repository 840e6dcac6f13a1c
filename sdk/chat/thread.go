package chat

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/confab-chat/confab/sdk/internal/pipeline"
)

// ThreadClient is for all that happens inside one thread: messages, participants,
// receipts and typing. [Client.NewThreadClient] makes one.
//
// It is immutable and safe for concurrent use, and shares everything with the
// Client that made it.
type ThreadClient struct {
	client *Client
	id     string
	path   string // of the thread, escaped; "" for an id that cannot be one
}

// ID returns the id of the thread.
func (t *ThreadClient) ID() string { return t.id }

// GetProperties returns the thread's topic, creator and the rest of its
// properties (docs/contract/chat.md §3.3). It is retried after any failure that may pass.
func (t *ThreadClient) GetProperties(ctx context.Context) (ThreadProperties, error) {
	var p ThreadProperties
	err := t.do(ctx, pipeline.Request{
		Operation: "get thread", Method: http.MethodGet, Status: http.StatusOK,
	}, &p)
	return p, err
}

// UpdateTopic gives the thread another topic (docs/contract/chat.md §3.4), and its messages a system
// message that tells so.
//
// It is retried after any failure that may pass. Where an attempt did its work and
// its answer was lost, the next one changes nothing, and may write a second system
// message.
func (t *ThreadClient) UpdateTopic(ctx context.Context, topic string) error {
	return t.update(ctx, "update thread", updateThreadRequest{Topic: &topic})
}

// UpdateThreadOptions is what [ThreadClient.Update] changes. What is zero stays.
type UpdateThreadOptions struct {
	// Topic is the new topic.
	Topic string

	// Metadata sets these keys. Others keep their values.
	Metadata map[string]string

	// RemoveMetadata takes these keys away.
	RemoveMetadata []string

	// RetentionPolicy replaces the policy. RetentionPolicy{Kind: RetentionKindNone}
	// takes it away.
	RetentionPolicy RetentionPolicy
}

// Update changes the thread's topic, metadata and retention policy, any of them
// (docs/contract/chat.md §3.4). It is an error when nothing is given to change, and when a key of the
// metadata is both set and removed.
// Metadata and retention policy need a service of 2025-03-15.
//
// It is retried as UpdateTopic is.
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
	// Unverified: null takes a key of a thread away, as a merge patch has it. No
	// recording removes one.
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

// patch is a merge patch that sets the keys of set and gives those of remove the
// value removed.
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

// do sends a request whose Path is below the thread.
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

// escapeID is an id as one segment of a path. An empty segment, and one that every
// proxy would take out of the path, would address something else.
func escapeID(operation, what, id string) (string, error) {
	switch id {
	case "":
		return "", invalid(operation, "%s id is empty", what)
	case ".", "..":
		return "", invalid(operation, "%s id %q is no id", what, id)
	}
	return delimiters.Replace(url.PathEscape(id)), nil
}

// delimiters are escaped as most SDKs of the service do: 19%3A...%40thread.v2 (docs/contract/chat.md §1).
var delimiters = strings.NewReplacer(":", "%3A", "@", "%40")
