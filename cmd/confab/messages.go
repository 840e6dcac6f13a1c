package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/tty"
)

func newThreadMessages() *cobra.Command {
	var follow bool
	var last int
	cmd := clientOf(&cobra.Command{
		Use:   "messages ID",
		Short: "Show a thread's messages",
		Long: `Show the last messages of a thread as stored, the oldest first: the time, who
wrote it, and the text. With --follow, go on with what is written, edited and
deleted from now on, until Ctrl-C. With both --follow and --json, each message is
one line of JSON.

Messages are read through the operator's door, and each reading leaves a record in
the server's log. A production server allows it only if it was started with the
setting admin-reads-messages.`,
		Example: examples("thread messages 19:...@thread.v2", "thread messages 19:...@thread.v2 --follow"),
		Args:    oneArg("the id of a thread"),
	}, func(cmd *cobra.Command, args []string, c *apiClient, asJSON bool) error {
		if last < 0 {
			return usage(cmd, "--last is a number from 0 up")
		}
		return showMessages(cmd, c, messagesQuery{thread: args[0], last: last, follow: follow, asJSON: asJSON})
	}, true)
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with later messages, until Ctrl-C")
	cmd.Flags().IntVar(&last, "last", 100, "`number` of messages to begin with")
	return cmd
}

// messagesQuery holds the argument and the flags of the command `thread messages`.
type messagesQuery struct {
	thread         string
	last           int
	follow, asJSON bool
}

func (q messagesQuery) path() string { return "threads/" + url.PathEscape(q.thread) + "/messages" }

func showMessages(cmd *cobra.Command, c *apiClient, q messagesQuery) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	found, err := lastMessages(ctx, c, q)
	switch {
	case ctx.Err() != nil:
		return exitCode(130)
	case err != nil:
		return err
	}
	out := cmd.OutOrStdout()
	if q.asJSON && !q.follow {
		return printJSON(out, admin.Messages{Messages: found})
	}
	seen := uint64(0)
	for _, m := range found {
		if seen = m.Sequence; q.asJSON {
			err = writeLine(out, m)
		} else {
			_, err = io.WriteString(out, messageLine(m, tty.Of(out)))
		}
		if err != nil {
			return err
		}
	}
	if !q.follow {
		if len(found) == 0 && q.last > 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "no messages")
		}
		return nil
	}
	if q.last == 0 { // with --last 0, print no messages that exist already
		var t admin.Thread
		if err := c.operate(ctx, http.MethodGet, "threads/"+url.PathEscape(q.thread), nil, &t); err != nil {
			return err
		}
		seen = t.LastSequence
	}
	return followMessages(ctx, out, c, q, seen)
}

// lastMessages returns the newest messages of a thread, at most q.last of them, in the order in
// which they were sent.
func lastMessages(ctx context.Context, c *apiClient, q messagesQuery) ([]admin.Message, error) {
	found := []admin.Message{}
	for next := ""; ; {
		var page admin.Messages
		path := q.path()
		if next != "" {
			path += "?next=" + url.QueryEscape(next)
		}
		if err := c.operate(ctx, http.MethodGet, path, nil, &page); err != nil {
			return nil, err
		}
		found = append(found, page.Messages...)
		if next = page.Next; next == "" || len(found) >= q.last {
			break
		}
	}
	found = found[:min(len(found), q.last)]
	slices.Reverse(found)
	return found, nil
}

// followMessages prints the messages of a thread whose sequence number is greater than seen, and
// then each new message when it arrives. It returns when ctx is done or the server ends the
// response.
func followMessages(ctx context.Context, out io.Writer, c *apiClient, q messagesQuery, seen uint64) error {
	res, err := c.operateStream(ctx, fmt.Sprintf("%s/follow?after=%d", q.path(), seen))
	if err != nil {
		if ctx.Err() != nil {
			return exitCode(130)
		}
		return err
	}
	defer res.Close()
	err = readEvents(res, func(kind string, data []byte) error {
		if kind != "message" {
			return nil
		}
		if q.asJSON {
			return writeLine(out, json.RawMessage(data))
		}
		var m admin.Message
		if err := json.Unmarshal(data, &m); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		_, err := io.WriteString(out, messageLine(m, tty.Of(out)))
		return err
	})
	if ctx.Err() != nil {
		return exitCode(130)
	}
	return followEnd(ctx, c, q, err)
}

// followEnd returns the error to show when the server has ended the response that followMessages
// reads. The error says that the thread was deleted or, if it exists, that the server has ended the
// connection.
func followEnd(ctx context.Context, c *apiClient, q messagesQuery, err error) error {
	var t admin.Thread
	if gone := c.operate(ctx, http.MethodGet, "threads/"+url.PathEscape(q.thread), nil, &t); gone == nil && t.DeletedOn != "" {
		return &failure{what: "the thread was deleted on " + t.DeletedOn}
	}
	return streamEnd(err)
}

// messageIndent is the number of blanks before the text of a long message. If the text does not fit
// on the line with the message's sender, it is printed below that line.
const messageIndent = 4

// messageLine formats a message for a person to read, with its time, sender and text. The end of
// the sender's id follows the sender's name, because users can choose any name. A text that is too
// long for the line is printed below it, in as many lines as it needs.
func messageLine(m admin.Message, on tty.Screen) string {
	who, text := sender(m.Sender, m.SenderDisplayName), m.Content
	switch m.Type {
	case "topicUpdated":
		who, text = sender(m.Initiator, ""), "(topic) "+tty.Quote(m.Content)
	case "participantAdded", "participantRemoved":
		var names []string
		for _, p := range m.Participants {
			names = append(names, sender(p.ID, p.DisplayName))
		}
		who, text = sender(m.Initiator, ""), "(added) "+strings.Join(names, ", ")
		if m.Type == "participantRemoved" {
			text = "(removed) " + strings.Join(names, ", ")
		}
	}
	switch {
	case m.DeletedOn != "":
		text = "(deleted)"
	case m.EditedOn != "":
		text += "  (edited)"
	}
	text = printable(strings.Join(strings.Fields(text), " "), 4000)
	line := m.CreatedOn + "  " + pad(who, 22) + "  "
	if on.Columns > 0 && tty.Width(line)+tty.Width(text) > on.Columns {
		return strings.TrimRight(line, " ") + "\n" + strings.Repeat(" ", messageIndent) + on.Wrap(messageIndent, text) + "\n"
	}
	return strings.TrimRight(line+text, " ") + "\n"
}

// sender formats the sender of a message as the name and the end of the user's id:
// "Ann ...9c2f41d0". If name is empty, it returns only the end of the id.
func sender(id, name string) string {
	const end = 8
	if len(id) > end {
		id = "..." + id[len(id)-end:]
	}
	return strings.TrimSpace(printable(name, 60) + " " + printable(id, 60))
}

// writeLine writes v as one line of JSON.
func writeLine(w io.Writer, v any) error {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(line.Bytes())
	return err
}
