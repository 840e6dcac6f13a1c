package gateway

import (
	"net/http"
	"time"
)

// bodyTime is the time within which a client must have sent the whole body of a request.
const bodyTime = 10 * time.Second

// LimitBody sets the deadline for reading the body of a request, if the request has one. A handler
// that ignores the body needs this deadline too, because net/http reads the whole body before it
// sends the response, and would wait for a slow client without end.
func LimitBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // fails with test recorders only
	}
}

// UnlimitBody removes the deadline that LimitBody has set. Call it after the body was read:
// otherwise net/http cancels the request's context at the deadline.
func UnlimitBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		http.NewResponseController(w).SetReadDeadline(time.Time{}) // fails with test recorders only
	}
}
