package transfer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"unicode/utf8"

	"github.com/confab-chat/confab/internal/core"
)

// ErrNewer means that an export has a newer format than this package can read.
var ErrNewer = errors.New("the export was written by a newer version of Confab")

// Error says which line of an export is invalid, and why.
type Error struct {
	Line int // number of the line, from 1
	Err  error
}

// Error returns the line number and the cause.
func (e *Error) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Reader reads the records of an export. It keeps only one line in memory.
type Reader struct {
	in       *bufio.Reader
	buf      []byte    // holds a line that is longer than the buffer of in
	sum      hash.Hash // hash of the lines so far
	at       int       // number of the current line, from 1
	verified int       // number of the latest correct checksum line
	last     sortKey   // sort key of the latest record
	started  bool      // true after the header was read
	rows     core.Counts
	summary  Summary
	err      error // the first error that Next has returned; io.EOF after the last line
}

// NewReader returns a Reader of the export in.
func NewReader(in io.Reader) *Reader {
	return &Reader{in: bufio.NewReaderSize(in, 1<<16), sum: sha256.New()}
}

// Next returns the next record. After the last line it fails with io.EOF if the file is complete,
// and otherwise with an *Error. Further calls return the same error.
func (r *Reader) Next() (core.Record, error) {
	if r.err != nil {
		return nil, r.err
	}
	record, err := r.next()
	if err != nil && err != io.EOF {
		err = &Error{r.at, err}
	}
	r.err = err
	return record, err
}

// Summary returns the counts and the checksum in the last line. It is zero until Next has
// reached the last line.
func (r *Reader) Summary() Summary { return r.summary }

func (r *Reader) next() (core.Record, error) {
	for {
		line, err := r.line()
		if err != nil {
			return nil, err
		}
		if !r.started {
			if err := readHeader(line); err != nil {
				return nil, err
			}
			r.started = true
			r.sum.Write(line)
			continue
		}
		kind, err := kindOf(line)
		if err != nil {
			return nil, err
		}
		switch kind {
		case kindTrailer:
			return nil, r.readTrailer(line)
		case kindSum:
			if err := r.verify(line, sumLine{kindSum, r.checksum()}); err != nil {
				return nil, err
			}
			r.sum.Write(line)
			continue
		}
		r.sum.Write(line)
		record, err := decode(kind, line)
		if err == nil {
			err = r.checkOrder(record)
		}
		if err != nil {
			return nil, err
		}
		r.rows.Add(record)
		return record, nil
	}
}

// readHeader checks the first line. It fails with ErrNewer for a newer format.
func readHeader(line []byte) error {
	var h header
	if err := json.Unmarshal(line, &h); err != nil || h.Confab != "export" {
		return errors.New("this is not an export of Confab")
	}
	if h.Format > Format {
		return fmt.Errorf("%w: its format is %d, this version knows up to %d", ErrNewer, h.Format, Format)
	}
	if h.Format < 1 {
		return fmt.Errorf("there is no format %d", h.Format)
	}
	return nil
}

// readTrailer checks the last line. It returns io.EOF if the line is correct and the file ends
// after it.
func (r *Reader) readTrailer(line []byte) error {
	if !r.last.isSet() {
		return errors.New("the export names no resource")
	}
	r.summary = Summary{r.rows, r.checksum()}
	if err := r.verify(line, trailer{kindTrailer, r.summary}); err != nil {
		return err
	}
	switch _, err := r.in.ReadByte(); {
	case err == nil:
		r.at++
		return errors.New("there is more behind the last line")
	case err != io.EOF: // this read to the end also makes a gzip reader check its checksum
		return err
	}
	return io.EOF
}

func (r *Reader) checksum() string { return hex.EncodeToString(r.sum.Sum(nil)) }

// verify fails unless the line is the JSON form of want, which the reader has computed from the
// lines before it.
func (r *Reader) verify(line []byte, want any) error {
	text, err := json.Marshal(want)
	if err != nil {
		return err
	}
	if !bytes.Equal(line, append(text, '\n')) {
		return fmt.Errorf("the checksum or the count does not fit: the file was altered between line %d and here", r.verified+1)
	}
	r.verified = r.at
	return nil
}

// line returns the next line with its newline. The slice is valid until the next call. It
// fails if the line is longer than maxLine or not UTF-8, and at the end of the file.
func (r *Reader) line() ([]byte, error) {
	r.at++
	r.buf = r.buf[:0]
	for {
		piece, err := r.in.ReadSlice('\n')
		switch {
		case err == nil && len(r.buf) == 0:
			return validLine(piece)
		case err == nil || errors.Is(err, bufio.ErrBufferFull):
			if r.buf = append(r.buf, piece...); len(r.buf) > maxLine {
				return nil, fmt.Errorf("the line is longer than %d bytes", maxLine)
			}
			if err == nil {
				return validLine(r.buf)
			}
		case errors.Is(err, io.EOF):
			return nil, errors.New("the file is cut off: it has no last line that says so")
		default:
			return nil, err
		}
	}
}

func validLine(line []byte) ([]byte, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("the line is not UTF-8 text")
	}
	return line, nil
}

// kindOf returns the value of the member "kind" of a line. It fails if "kind" is not the first
// member.
func kindOf(line []byte) (string, error) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"kind":"`))
	kind, _, ok2 := bytes.Cut(rest, []byte(`"`))
	if !ok || !ok2 {
		return "", errors.New(`the line does not begin with {"kind":"`)
	}
	return string(kind), nil
}

// checkOrder fails if the record has the same key as the previous one, or is not in the order
// that core.Record documents.
func (r *Reader) checkOrder(record core.Record) error {
	p := sortKeyOf(record)
	if err := p.check(); err != nil {
		return err
	}
	switch {
	case !r.last.isSet() && p.rank != rankResource:
		return errors.New("the resource has to come first")
	case r.last.isSet() && p.compare(r.last) <= 0:
		return errors.New("the line stands in the wrong place, or comes twice")
	case p.rank == rankEvent && p.number != r.rows.Events+1:
		return fmt.Errorf("the event has position %d instead of %d", p.number, r.rows.Events+1)
	}
	r.last = p
	return nil
}
