package admin

// Limits has the limits in force, and who is near or over one, the nearest first.
type Limits struct {
	Profile string     `json:"profile"` // azure, fair or off
	Limits  []Limit    `json:"limits"`
	Users   []LimitUse `json:"users"`
}

// Limit is one limit.
type Limit struct {
	Name   string `json:"name"`
	Scope  string `json:"scope"` // "by a user", "in a thread"
	Value  int64  `json:"value"`
	Unit   string `json:"unit"`             // requests, bytes, participants or connections
	Window int    `json:"window,omitempty"` // seconds; 0: at any time
}

// LimitUse says how much of a limit a user, or a thread, has used up.
type LimitUse struct {
	User   string `json:"user,omitempty"`
	Thread string `json:"thread,omitempty"`
	Limit  string `json:"limit"`
	Used   int64  `json:"used"`
	Of     int64  `json:"of"`
	Over   bool   `json:"over"` // the next request is refused
	Resets string `json:"resets"`
}

// MaxLimitUses is the most entries of Limits.Users.
const MaxLimitUses = 100

func (h *Handler) showLimits(*call) (any, error) { return h.Limits(), nil }

func (h *Handler) listSettings(*call) (any, error) {
	return map[string]any{"settings": h.Settings}, nil
}
