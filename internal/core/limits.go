package core

import "cmp"

// Limits are the greatest sizes that the service accepts. A field of zero sets no
// limit. For Content and Metadata the bounds maxContent and maxMetadata apply then.
type Limits struct {
	Participants int // participants of a thread when some are added
	PerRequest   int // participants in one request to create a thread or to add some
	Content      int // bytes of a message's content
	Metadata     int // bytes of all keys and values of one thread or participant
	// Receipts is the greatest number of participants with which a thread's
	// receipts are listed. In a larger thread the list is empty, and sending a
	// receipt still succeeds (docs/contract/chat.md §4.3). Nobody is told of a typing
	// notification there (docs/contract/chat.md §4.4).
	Receipts int
}

// Bounds in bytes that apply if Limits.Content or Limits.Metadata is zero.
const (
	maxContent  = 1 << 20
	maxMetadata = 64 << 10
)

// checkCount returns a BadRequest if n exceeds limit. A limit of 0 allows any n.
func (l Limits) checkCount(field string, n, limit int) error {
	if limit > 0 && n > limit {
		return Invalid(field, "%d %s are too many: at most %d are allowed.", n, field, limit)
	}
	return nil
}

// checkContent returns a BadRequest if a message's content has more UTF-8 bytes
// than allowed, is not UTF-8 or contains NUL. Unverified: that the limit is in
// bytes (docs/contract/chat.md §9).
func (l Limits) checkContent(content string) error {
	limit := cmp.Or(l.Content, maxContent)
	if len(content) > limit {
		return Invalid("content", "The content field has %d bytes; at most %d are allowed.", len(content), limit)
	}
	return checkText("content", content, limit)
}

// checkMetadata returns a BadRequest if the keys and values together have too many
// bytes, or if one of them is not UTF-8 or contains NUL.
func (l Limits) checkMetadata(field string, m map[string]string) error {
	limit := cmp.Or(l.Metadata, maxMetadata)
	for k, v := range m {
		if err := cmp.Or(checkText(field, k, limit), checkText(field, v, limit)); err != nil {
			return err
		}
	}
	if size := sizeOf(m); size > limit {
		return Invalid(field, "The %s field has %d bytes in all; at most %d are allowed.", field, size, limit)
	}
	return nil
}
