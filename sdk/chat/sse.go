package chat

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// The limits of one message of an event stream. A chat message in an event takes less than 1 MB.
const (
	maxLine = 8 << 20 // maximum length in bytes of a line, and of all data lines of a message together
	maxID   = 4 << 10 // maximum length in bytes of a message's id, which becomes part of a URL
)

// frame is one message of a stream of server-sent events.
type frame struct {
	event string // name of the message in the stream; "" if the message is a heartbeat
	id    string // the cursor with which a client continues after this message; "" if the message has no cursor
	data  []byte
}

// frameReader reads a stream of server-sent events (docs/events.md).
type frameReader struct {
	r     *bufio.Reader
	first bool   // nothing was read yet
	long  []byte // the beginning of a line that is too long for the buffer of r
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReader(r), first: true}
}

// next returns the next complete message. At the end of the stream it drops an incomplete message
// and returns the error of the reader.
//
// next returns a brokenError for a line of unknown form, for a line or message over 8 MB, and for a
// message that has a name but no data, or data but no name. A browser would ignore a line of
// unknown form. next does not: a damaged message could look like a heartbeat, and its event would
// be lost.
func (f *frameReader) next() (frame, error) {
	var m frame
	var any, data bool // any: the message has a field; data: the message has a field named data
	for {
		line, err := f.line()
		if err != nil {
			return frame{}, err
		}
		if len(line) == 0 {
			if !any {
				continue
			}
			if (m.event != "") != data {
				return frame{}, brokenf("a message has a name and no data, or data and no name")
			}
			return m, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "": // a line that begins with a colon is a comment
			continue
		case "event":
			m.event = string(value)
		case "id":
			if len(value) > maxID {
				return frame{}, brokenf("an id has %d bytes", len(value))
			}
			m.id = string(value)
		case "data":
			if data {
				m.data = append(m.data, '\n')
			}
			if len(m.data)+len(value) > maxLine {
				return frame{}, brokenf("a message has more than %d bytes", maxLine)
			}
			m.data, data = append(m.data, value...), true
		case "retry": // the field retry is ignored: the client chooses its pauses itself
			continue
		default:
			return frame{}, brokenf("a line of %d bytes is none of server-sent events", len(line))
		}
		any = true
	}
}

// line returns the next line without its end, which is "\n" or "\r\n". The line is valid until the
// next call. line returns a brokenError for a line that is longer than maxLine, is not UTF-8 or has
// a control character that no message contains. If the stream ends within a line, line returns the
// error of the reader.
func (f *frameReader) line() ([]byte, error) {
	line, err := f.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		f.long = f.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) && len(f.long) <= maxLine {
			f.long = append(f.long, line...)
			line, err = f.r.ReadSlice('\n')
		}
		f.long = append(f.long, line...)
		line = f.long
		if cap(f.long) > 64<<10 {
			f.long = nil // free the memory of the long line, because long lines are rare
		}
	}
	if err == nil {
		line = bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))
	}
	switch {
	case len(line) > maxLine:
		return nil, brokenf("a line has more than %d bytes", maxLine)
	case err != nil:
		return nil, err
	}
	if f.first {
		line, f.first = bytes.TrimPrefix(line, []byte("\ufeff")), false // remove a byte order mark at the start of the stream
	}
	if !utf8.Valid(line) || bytes.IndexByte(line, 0) >= 0 || bytes.IndexByte(line, '\r') >= 0 {
		return nil, brokenf("a line of %d bytes is no text", len(line))
	}
	return line, nil
}

// brokenError is the error of a stream that does not have the form that docs/events.md describes.
// Its text contains no chat message, because errors are logged.
type brokenError struct{ problem string }

// Error returns the text "the event stream is broken" with the problem.
func (e brokenError) Error() string { return "the event stream is broken: " + e.problem }

func brokenf(format string, args ...any) error {
	return brokenError{fmt.Sprintf(format, args...)}
}
