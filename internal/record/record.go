// Package record writes the requests and responses of a development server to files, for bug
// reports and for the program compat/answers.
//
// [New] creates a folder for one start of a server. [Recorder.Handler] copies the requests and
// responses of a handler. One goroutine writes a file for each exchange, in the form of the
// recordings of Microsoft's service in internal/rest/testdata/recordings. Package exchange replaces
// tokens, keys and signatures by the word "sanitized".
//
// Memory, disk space and time have bounds (type bounds). A request waits only for a moment for a
// slow disk; after that, its exchange is left out. The log and the file incomplete.txt say how many
// exchanges are missing, and why.
package record

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/internal/exchange"
)

// Incomplete is the name of a file that says why a folder lacks exchanges.
const Incomplete = "incomplete.txt"

// bounds limits the memory, the disk space and the time that a Recorder uses.
type bounds struct {
	body      int           // the maximum number of bytes of one body
	held      int64         // the maximum number of bytes of all bodies in memory
	queue     int           // maximum number of exchanges that wait to be written
	patience  time.Duration // maximum time that a request waits for room in the queue
	bytes     int64         // maximum size of all files of one start of the server
	exchanges int64         // maximum number of exchanges of one start of the server
}

// usual has the bounds that New uses. Its bound for one body is enough for the largest page of
// messages.
var usual = bounds{body: 8 << 20, held: 64 << 20, queue: 256, patience: time.Second, bytes: 512 << 20, exchanges: 100_000}

// closePatience is the longest time that Close waits for the disk.
const closePatience = 20 * time.Second

// Options configures New. Folder is required.
type Options struct {
	Folder string           // the folder for the files; New creates it if it does not exist
	Source string           // name of the recorded server, such as "Confab 1.2.3"
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged
	// Bare reports whether exchanges of a path are recorded without bodies, and with api-version as
	// the only query parameter. The Recorder writes such exchanges when the response begins. nil:
	// all paths are recorded with bodies.
	Bare func(path string) bool
	// Path returns the escaped path of a request without its secrets. nil: no path has secrets.
	Path func(escaped string) string
}

// Recorder writes exchanges to files. Its methods are safe for concurrent use.
type Recorder struct {
	o      Options
	bounds bounds
	folder string
	put    func(path string, data []byte) error

	arrived atomic.Int64 // number of the newest request
	held    atomic.Int64 // number of bytes of bodies in memory
	full    atomic.Bool  // a bound was reached, so nothing more is recorded
	late    atomic.Int64 // number of exchanges dropped because the queue had no room for them in time
	left    atomic.Int64 // number of requests that came after full was set

	queue chan *entry
	stop  chan struct{} // closed by Close
	once  sync.Once
	ended chan struct{} // closed when run has returned

	// Only the goroutine that runs the method run uses the fields below.
	bytes, written int64
	why            string // why full was set
	noted          string // present content of the file Incomplete
}

// FolderError is the error for a folder that New cannot use.
type FolderError struct {
	Folder string
	Cause  error
}

// Error describes the failure without a remedy.
func (e *FolderError) Error() string {
	cause := e.Cause
	if path := (*fs.PathError)(nil); errors.As(cause, &path) {
		cause = path.Err
	}
	return fmt.Sprintf("the record cannot be written to %s: %v", e.Folder, cause)
}

// Remedy tells the user how to solve the problem.
func (e *FolderError) Remedy() string { return "name another folder with --record" }

// Unwrap returns the cause.
func (e *FolderError) Unwrap() error { return e.Cause }

// New creates o.Folder, if the folder does not exist, so that only this user may read it. In it,
// New creates a folder for the exchanges, whose name is the time, such as 20261128-210503. New
// starts a goroutine, which Close ends. It fails with a *FolderError.
func New(o Options) (*Recorder, error) { return newRecorder(o, usual, put) }

func newRecorder(o Options, b bounds, put func(path string, data []byte) error) (*Recorder, error) {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Recorder{o: o, bounds: b, put: put, queue: make(chan *entry, b.queue), stop: make(chan struct{}), ended: make(chan struct{})}
	err := os.MkdirAll(o.Folder, 0o700)
	if err == nil {
		r.folder, err = makeStart(o.Folder, o.Now())
	}
	if err != nil {
		return nil, &FolderError{o.Folder, err}
	}
	go r.run()
	return r, nil
}

// makeStart creates the folder for one start of a server, and returns its path. If a start in the
// same second, even of another process, already has this folder, makeStart adds a number to the
// name.
func makeStart(folder string, now time.Time) (string, error) {
	name := filepath.Join(folder, now.UTC().Format("20060102-150405"))
	path := name
	for i := 2; ; i++ {
		if err := os.Mkdir(path, 0o700); !errors.Is(err, fs.ErrExist) || i > 1000 {
			return path, err
		}
		path = name + "-" + strconv.Itoa(i)
	}
}

// Folder returns the path of the folder with the files of this Recorder.
func (r *Recorder) Folder() string { return r.folder }

// Close writes the exchanges in the queue, and ends the goroutine. Call Close when no handler runs
// any more. It fails if exchanges are missing, or if the disk takes longer than closePatience.
func (r *Recorder) Close() error {
	r.once.Do(func() { close(r.stop) })
	timer := time.NewTimer(closePatience)
	defer timer.Stop()
	select {
	case <-r.ended:
	case <-timer.C:
		return fmt.Errorf("the record in %s is not complete: the disk took longer than %v", r.folder, closePatience)
	}
	if r.noted != "" {
		return fmt.Errorf("the record in %s is not complete: see %s there", r.folder, Incomplete)
	}
	return nil
}

// add passes an exchange to the goroutine that writes the files. If the queue is full, it waits
// for at most bounds.patience and then drops the exchange.
func (r *Recorder) add(e *entry) {
	select {
	case r.queue <- e:
		return
	default:
	}
	timer := time.NewTimer(r.bounds.patience)
	defer timer.Stop()
	select {
	case r.queue <- e:
		return
	case <-timer.C:
	case <-r.stop:
	}
	r.held.Add(-e.held)
	if r.late.Add(1) == 1 {
		r.o.Logger.Error("exchanges are missing in the record: the disk is too slow", "folder", r.folder)
	}
}

// run writes the exchanges until Close is called and the queue is empty.
func (r *Recorder) run() {
	defer close(r.ended)
	for {
		select {
		case e := <-r.queue:
			r.write(e)
			continue
		default:
		}
		r.note()
		select {
		case e := <-r.queue:
			r.write(e)
		case <-r.stop:
			for len(r.queue) > 0 {
				r.write(<-r.queue)
			}
			r.note()
			return
		}
	}
}

// write writes the file of an exchange. If a bound is reached or the file cannot be written, write
// ends the recording.
func (r *Recorder) write(e *entry) {
	defer r.held.Add(-e.held)
	if r.full.Load() {
		r.left.Add(1)
		return
	}
	data := r.encode(e)
	switch size := int64(len(data)); {
	case r.bytes+size > r.bounds.bytes:
		r.end(fmt.Sprintf("it has %s, and a record has at most %s", sizeText(r.bytes), sizeText(r.bounds.bytes)))
	case r.written == r.bounds.exchanges:
		r.end(fmt.Sprintf("it has %d exchanges, the most of a record", r.written))
	default:
		err := r.put(filepath.Join(r.folder, e.fileName()), data)
		if err != nil {
			r.end(fmt.Sprintf("it cannot be written: %v", err))
			return
		}
		r.bytes += size
		r.written++
		return
	}
	r.left.Add(1)
}

// end stops the recording and keeps the files written so far. why is the reason for the file
// Incomplete.
func (r *Recorder) end(why string) {
	r.why = why
	r.full.Store(true)
	r.o.Logger.Error("the record ends here: "+why, "folder", r.folder, "exchanges", r.written)
}

// note writes the file Incomplete if more exchanges are missing than the file says.
func (r *Recorder) note() {
	var text strings.Builder
	if late := r.late.Load(); late > 0 {
		fmt.Fprintf(&text, "%d exchanges are missing, because the disk was too slow.\n", late)
	}
	if r.why != "" {
		fmt.Fprintf(&text, "The record ends with %d exchanges: %s. %d more came.\n", r.written, r.why, r.left.Load())
	}
	if text.String() == r.noted {
		return
	}
	r.noted = text.String()
	if err := r.put(filepath.Join(r.folder, Incomplete), []byte(r.noted)); err != nil {
		r.o.Logger.Error("cannot note that exchanges are missing in the record", "folder", r.folder, "error", err)
	}
}

// put writes a file that only this user may read. It writes to a temporary file and renames the
// temporary file, so that a reader never sees a part of the content.
func put(path string, data []byte) error {
	part := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".part")
	if err := os.WriteFile(part, data, 0o600); err != nil {
		os.Remove(part)
		return err
	}
	return os.Rename(part, path)
}

func sizeText(n int64) string { return strconv.FormatInt(n>>20, 10) + " MiB" }

// document is the JSON content of a file, in the form of the recordings of Microsoft's service.
type document struct {
	Name      string     `json:"name"`
	Source    string     `json:"source"`
	Exchanges []recorded `json:"exchanges"`
}

type recorded struct {
	Time         time.Time `json:"time"` // when the request arrived
	Milliseconds float64   `json:"milliseconds"`
	Request      request   `json:"request"`
	Response     response  `json:"response"`
}

type request struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"` // escaped, as it was sent
	Query   map[string]string `json:"query"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
	BodyCut bool              `json:"bodyCut,omitempty"`
}

type response struct {
	Status  int               `json:"status"` // status of the response; 0: the server closed the connection without a response
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
	BodyCut bool              `json:"bodyCut,omitempty"`
}

// encode returns the content of the file of an exchange.
func (r *Recorder) encode(e *entry) []byte {
	in, out := &e.copy.In, &e.copy.Out
	d := document{Name: fmt.Sprintf("%06d %s %s", e.number, e.method, e.path), Source: r.o.Source, Exchanges: []recorded{{
		Time: e.began.UTC(), Milliseconds: float64(e.took.Microseconds()) / 1000,
		Request:  request{e.method, e.path, exchange.Query(e.query, e.bare), exchange.Headers(e.header), exchange.JSON(in.Data), in.Cut},
		Response: response{e.copy.Status, exchange.Headers(e.copy.Answer), exchange.JSON(out.Data), out.Cut},
	}}}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(d); err != nil { // the error cannot occur: exchange.JSON always returns valid JSON
		panic(err)
	}
	return b.Bytes()
}
