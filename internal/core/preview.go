package core

import (
	"strings"
	"unicode/utf8"
)

// Limits of the preview and the unread count that a list of threads shows for each thread.
const (
	// MaxUnread is the number of unread messages at which counting stops.
	MaxUnread = 100
	// RecentMessages is the number of a thread's newest messages, by id, that are read to find the
	// last visible message and to count the unread ones. Without this limit, a thread with a
	// million messages that do not count, such as the user's own, would be read to its beginning.
	// With the limit, a page of 100 threads in which the user has sent the newest messages reads
	// 20,000 messages. The limit is twice MaxUnread, so the count is right if at least half of the
	// messages count.
	RecentMessages = 2 * MaxUnread
	// MaxPreview is the greatest size of the content of a preview, in bytes.
	MaxPreview = 1024
)

// UnreadBy reports whether the message counts as unread for a participant who has not read up
// to it: the participant may see it, somebody else has sent it, and it is not deleted. System
// messages have no sender and do not count.
func (m *Message) UnreadBy(me *Member) bool {
	return m.Sender != "" && m.Sender != me.User && m.DeletedOn == 0 && me.Sees(m)
}

// Preview returns a copy of a message for a list of threads. The copy has no metadata, and at most
// MaxPreview bytes of content, cut between two characters. Of the participants that a system
// message names, the copy has the first one, and further ones up to MaxPreview bytes. The copy
// shares no memory with m, whose strings may be parts of a large row.
func (m *Message) Preview() *Message {
	p := *m
	p.Metadata, p.Fingerprint, p.Participants = nil, Fingerprint{}, nil
	p.Content = strings.Clone(cut(m.Content, MaxPreview))
	p.Sender, p.SenderDisplayName, p.Initiator = strings.Clone(m.Sender), strings.Clone(m.SenderDisplayName), strings.Clone(m.Initiator)
	size := 0
	for i, u := range m.Participants {
		if size += len(u.User) + len(u.DisplayName); i > 0 && size > MaxPreview {
			break
		}
		u.User, u.DisplayName = strings.Clone(u.User), strings.Clone(u.DisplayName)
		p.Participants = append(p.Participants, u)
	}
	return &p
}

// cut returns the longest prefix of s with at most n bytes that does not end within a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
