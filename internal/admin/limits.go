package admin

// Limits has the limits of the server, and the users and threads that are near a limit or over it,
// sorted by how near they are.
type Limits struct {
	Profile string     `json:"profile"` // azure, fair or off
	Limits  []Limit    `json:"limits"`
	Users   []LimitUse `json:"users"`
}

// Limit describes a limit.
type Limit struct {
	Name   string `json:"name"`
	Scope  string `json:"scope"` // "by a user", "in a thread"
	Value  int64  `json:"value"`
	Unit   string `json:"unit"`             // requests, bytes, participants or connections
	Window int    `json:"window,omitempty"` // length in seconds of the period in which the limit counts; 0: the limit does not depend on time
}

// LimitUse says how much of a limit a user or a thread has used.
type LimitUse struct {
	User   string `json:"user,omitempty"`
	Thread string `json:"thread,omitempty"`
	Limit  string `json:"limit"`
	Used   int64  `json:"used"`
	Of     int64  `json:"of"`
	Over   bool   `json:"over"` // the server refuses the next request
	Resets string `json:"resets"`
}

// MaxLimitUses is the maximum number of entries in Limits.Users.
const MaxLimitUses = 100

func (h *Handler) showLimits(*call) (any, error) { return h.Limits(), nil }

func (h *Handler) listSettings(*call) (any, error) {
	return map[string]any{"settings": h.Settings}, nil
}
