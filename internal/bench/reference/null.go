package reference

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/internal/bench/load"
)

// null is a handler that answers each send with a new message id. It looks up the bearer token and
// decodes the body. If it has a log, it appends the message to the log.
type null struct {
	callers map[string]bool // by bearer
	next    atomic.Int64
	log     *dataLog // or nil
}

func newNull(w load.World, l *dataLog) *null {
	n := &null{callers: callersOf(w), log: l}
	n.next.Store(time.Now().UnixMilli())
	return n
}

func callersOf(w load.World) map[string]bool {
	callers := map[string]bool{}
	for _, t := range w.Threads {
		for _, b := range t.Bearers {
			callers[b] = true
		}
	}
	return callers
}

func (n *null) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || !n.callers[bearer] {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var message struct{ Content, Type string }
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &message)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := strconv.FormatInt(n.next.Add(1), 10)
	if n.log != nil {
		if err := n.log.append(id + " " + r.URL.Path + " " + message.Content + "\n"); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	answer, err := json.Marshal(map[string]string{"id": id})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(http.StatusCreated)
	w.Write(answer)
}
