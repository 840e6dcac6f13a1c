package admin

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

func (h *Handler) showClock(c *call) (any, error)  { return h.dev(c, "clock", nil) }
func (h *Handler) listFaults(c *call) (any, error) { return h.dev(c, "faults", nil) }
func (h *Handler) addFault(c *call) (any, error)   { return h.dev(c, "faults", c.body) }

func (h *Handler) clearFaults(c *call) (any, error) {
	_, err := h.dev(c, "faults", nil)
	return nil, err
}

// advanceClock moves the server's clock forward. The request has either a duration, in the form
// that /dev/clock accepts, or a number of seconds.
func (h *Handler) advanceClock(c *call) (any, error) {
	var in struct{ Advance any }
	if err := c.decode(&in, false, "advance"); err != nil {
		return nil, err
	}
	text := c.body
	if seconds, ok := in.Advance.(float64); ok {
		if seconds <= 0 || seconds > 1e9 {
			return nil, refuse(http.StatusBadRequest, codeBody, "advance is a number of seconds above 0, or a duration such as 1h30m")
		}
		text = fmt.Appendf(nil, `{"advance":%q}`, time.Duration(seconds*float64(time.Second)).String())
	}
	c.target = cmp.Or(fmt.Sprint(in.Advance), c.target)
	return h.dev(c, "clock", text)
}

// dev sends the body to a path of the development routes (Options.Dev). It returns the JSON of the
// response. If the route refuses, dev returns an error with the route's status and message.
func (h *Handler) dev(c *call, path string, body []byte) (any, error) {
	r, err := http.NewRequestWithContext(c.Context(), c.Method, "http://localhost/dev/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	w := &answered{header: http.Header{}}
	h.Dev.ServeHTTP(w, r)
	if w.status >= 400 {
		var refused struct{ Error struct{ Message string } }
		if json.Unmarshal(w.body.Bytes(), &refused) != nil {
			return nil, fmt.Errorf("the development routes answer %d", w.status)
		}
		return nil, &refusal{w.status, codeBody, refused.Error.Message}
	}
	return json.RawMessage(w.body.Bytes()), nil
}

// answered is an http.ResponseWriter that keeps a small response in memory.
type answered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *answered) Header() http.Header         { return w.header }
func (w *answered) WriteHeader(status int)      { w.status = status }
func (w *answered) Write(b []byte) (int, error) { return w.body.Write(b) }
