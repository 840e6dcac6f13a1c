package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// listed returns the first entries of a list of the operator's API, as the JSON of the response.
// The argument most is the maximum number of entries. path is relative to admin.Prefix, and member
// is the name of the JSON member that contains the entries of a page. more reports whether the list
// has further entries.
func listed(ctx context.Context, c *apiClient, path string, query url.Values, member string, most int) (found []json.RawMessage, more bool, err error) {
	found = []json.RawMessage{}
	query.Set("limit", fmt.Sprint(max(1, min(most, 1000))))
	for {
		page := map[string]json.RawMessage{}
		if err := c.operate(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return nil, false, err
		}
		var items []json.RawMessage
		if err := json.Unmarshal(page[member], &items); err != nil {
			return nil, false, fmt.Errorf("read the server's answer: %w", err)
		}
		next := ""
		if raw, ok := page["next"]; ok {
			if err := json.Unmarshal(raw, &next); err != nil {
				return nil, false, fmt.Errorf("read the server's answer: %w", err)
			}
		}
		found = append(found, items...)
		if len(found) >= most || next == "" {
			return found[:min(len(found), most)], next != "" || len(found) > most, nil
		}
		query.Set("next", next)
	}
}

// longestEvent is the longest line, in bytes, of an event stream that readEvents accepts.
const longestEvent = 4 << 20

// readEvents reads a stream of server-sent events and calls the given function for every event. It
// returns the first error of that function or of reading the stream. The error is io.EOF if the
// server ended the stream.
func readEvents(stream io.Reader, each func(kind string, data []byte) error) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, longestEvent)
	kind, data := "", []byte(nil)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "":
			if data != nil {
				if err := each(kind, bytes.TrimSuffix(data, []byte("\n"))); err != nil {
					return err
				}
			}
			kind, data = "", nil
		case name == "event":
			kind = value
		case name == "data":
			data = append(append(data, value...), '\n')
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.EOF
}

// streamEnd returns the failure to show to the user after an event stream ended with err.
func streamEnd(err error) error {
	f := &failure{what: "the server has ended the connection", next: "if it was restarted, run the command again", cause: err}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		f.what += ": " + rootCause(err).Error()
	}
	return f
}
