package transfer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"github.com/confab-chat/confab/internal/core"
)

// Options configures NewWriter.
type Options struct {
	Made int64 // time of the export, in epoch milliseconds
	Keys bool  // whether the export contains the access keys
}

// Writer writes an export. It keeps only one line in memory.
type Writer struct {
	out  *bufio.Writer
	line bytes.Buffer
	json *json.Encoder // encodes a line into the field line
	sum  hash.Hash     // hash of the lines so far
	keys bool
	rows core.Counts
	err  error // the first error of a write
}

// NewWriter returns a Writer that writes to out, and writes the first line. If that write fails,
// the next method call returns the error.
func NewWriter(out io.Writer, o Options) *Writer {
	w := &Writer{out: bufio.NewWriterSize(out, 1<<16), sum: sha256.New(), keys: o.Keys}
	w.json = json.NewEncoder(&w.line)
	w.json.SetEscapeHTML(false)
	w.put(header{Confab: "export", Format: Format, Made: o.Made})
	return w
}

// Write writes the line of a record. It leaves out access keys unless Options.Keys is true. Records
// must come in the order that core.Record documents.
func (w *Writer) Write(r core.Record) error {
	if resource, ok := r.(core.Resource); ok && !w.keys {
		resource.Keys = [2]core.AccessKeyRow{}
		r = resource
	}
	line, err := encode(r)
	if err != nil {
		return err
	}
	w.put(line)
	w.rows.Add(r)
	if _, first := r.(core.Resource); !first && w.rows.Rows()%sumEvery == 0 {
		w.put(sumLine{kindSum, w.checksum()})
	}
	return w.err
}

// Close writes the last line, flushes and returns the summary. It does not close the
// underlying writer.
func (w *Writer) Close() (Summary, error) {
	s := Summary{Rows: w.rows, Checksum: w.checksum()}
	w.put(trailer{kindTrailer, s})
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return s, w.err
}

func (w *Writer) checksum() string { return hex.EncodeToString(w.sum.Sum(nil)) }

// put writes a line and adds it to the checksum. It does nothing if an earlier write has failed.
func (w *Writer) put(line any) {
	if w.err != nil {
		return
	}
	w.line.Reset()
	if w.err = w.json.Encode(line); w.err != nil {
		return
	}
	if w.line.Len() > maxLine {
		w.err = fmt.Errorf("a row takes %d bytes, and a line of an export has %d at most", w.line.Len(), maxLine)
		return
	}
	w.sum.Write(w.line.Bytes())
	_, w.err = w.out.Write(w.line.Bytes())
}
