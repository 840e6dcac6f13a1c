package web

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

// Pages is an HTTP server for the files of one web page. It sends compressed files to clients that
// accept gzip. Its methods are safe for concurrent use.
type Pages struct {
	files func() map[string]*file
}

// file is the content of a file of a web page, plain and compressed, with its content type.
type file struct {
	kind          string // Content-Type
	plain, packed []byte // the file's content as it is, and compressed with gzip; packed is nil if gzip does not make it smaller
}

// NewPages returns a Pages for files, which Chat or Console returns. The Pages reads and compresses
// all files once, at the first request.
func NewPages(files fs.FS) *Pages {
	return &Pages{files: sync.OnceValue(func() map[string]*file { return load(files) })}
}

// Index writes the page, index.html. policy is the value of the header Content-Security-Policy.
func (p *Pages) Index(w http.ResponseWriter, r *http.Request, policy string) {
	w.Header().Set("Content-Security-Policy", policy)
	// Browsers must check for a new page each time. The page names its scripts and styles
	// by their hashes, and a newer server no longer has the files that an old page names.
	p.write(w, r, "index.html", "no-cache")
}

// Asset writes a script, style or other file of the page. The path of the request names the file,
// such as /assets/chat/index-CENxniN8.css. A browser may keep the file for ever, because the name
// contains a hash of the content. Asset answers 404 if there is no such file.
func (p *Pages) Asset(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	if !strings.HasPrefix(name, "assets/") {
		name = ""
	}
	p.write(w, r, name, "public, max-age=31536000, immutable")
}

// Licenses writes, as text, the licenses of the packages that the page's scripts contain.
func (p *Pages) Licenses(w http.ResponseWriter, r *http.Request) {
	p.write(w, r, "licenses.md", "no-cache")
}

// write writes the file with the given name and the header Cache-Control with the value
// caching. It answers 404 if there is no such file, and 405 to all methods but GET and HEAD.
func (p *Pages) write(w http.ResponseWriter, r *http.Request, name, caching string) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	f := p.files()[name]
	switch {
	case f == nil:
		w.Header().Set("Cache-Control", "no-store") // do not let browsers cache the 404, because the server may have the file after an upgrade
		http.Error(w, "this page has no such file", http.StatusNotFound)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the file can only be read", http.StatusMethodNotAllowed)
		return
	}
	body := f.plain
	if f.packed != nil && acceptsGzip(r) {
		body = f.packed
		w.Header().Set("Content-Encoding", "gzip")
	}
	for name, value := range map[string]string{
		"Content-Type": f.kind, "Content-Length": strconv.Itoa(len(body)), "Cache-Control": caching,
		"Vary": "Accept, Accept-Encoding, Origin", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		w.Header().Set(name, value)
	}
	w.Write(body)
}

// load reads and compresses all files of a page. The key of the map is the file's path.
func load(files fs.FS) map[string]*file {
	all := map[string]*file{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		plain, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		all[name] = &file{kind: kindOf(name), plain: plain, packed: pack(plain)}
		return nil
	})
	if err != nil {
		panic(err) // reading cannot fail, because the program embeds the files
	}
	return all
}

// kinds maps file extensions to content types, for all files that a build of the pages
// makes. The table is fixed because the operating system's table differs between
// machines, and a browser refuses a script of the wrong type.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".md": "text/plain; charset=utf-8", ".svg": "image/svg+xml", ".json": "application/json",
}

func kindOf(name string) string {
	if kind := kinds[path.Ext(name)]; kind != "" {
		return kind
	}
	return "application/octet-stream"
}

// pack returns the text compressed with gzip, or nil if the compressed text is no smaller.
func pack(plain []byte) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is invalid
	}
	z.Write(plain) // ignore the error, because writing to a bytes.Buffer cannot fail
	z.Close()
	if b.Len() >= len(plain) {
		return nil
	}
	return b.Bytes()
}

// acceptsGzip reports whether the client accepts responses in gzip. It does if its header
// Accept-Encoding names gzip without q=0.
func acceptsGzip(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(part, ";")
			if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
				continue
			}
			key, weight, _ := strings.Cut(strings.TrimSpace(parameters), "=")
			q, err := strconv.ParseFloat(strings.TrimSpace(weight), 64)
			return !(strings.EqualFold(strings.TrimSpace(key), "q") && err == nil && q == 0)
		}
	}
	return false
}
