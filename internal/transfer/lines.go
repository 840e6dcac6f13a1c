package transfer

// The structs below are the JSON forms of the records, one for each kind of line. Times are in
// epoch milliseconds. Optional fields that are zero or empty are left out.

type resourceLine struct {
	Kind  string    `json:"kind"`
	ID    string    `json:"id"`
	Cloud string    `json:"cloud,omitempty"` // name of the cloud, gcch or dod; left out for the public cloud
	Keys  []keyLine `json:"keys,omitempty"`  // the primary and the secondary access key, or no keys
}

type keyLine struct {
	Serial uint64 `json:"serial"`
	Secret []byte `json:"secret"` // base64
}

type userLine struct {
	Kind       string `json:"kind"`
	ID         string `json:"id"`
	State      string `json:"state"`
	DeletedAt  int64  `json:"deletedAt,omitempty"`
	Generation uint64 `json:"generation"`
	CustomID   string `json:"customId,omitempty"`
	IssuedAt   int64  `json:"tokenIssuedAt,omitempty"` // when the user's last token was issued
}

type threadLine struct {
	Kind          string            `json:"kind"`
	ID            string            `json:"id"`
	Revision      uint64            `json:"revision"`
	Topic         string            `json:"topic,omitempty"`
	CreatedBy     string            `json:"createdBy,omitempty"`
	CreatedOn     int64             `json:"createdOn,omitempty"`
	DeletedOn     int64             `json:"deletedOn,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	RetentionDays int32             `json:"retentionDays,omitempty"`
	LastID        int64             `json:"lastId,omitempty"`
	LastSequence  uint64            `json:"lastSequence,omitempty"`
	LastEvent     uint64            `json:"lastEvent,omitempty"`
	LastPosition  uint64            `json:"lastPosition,omitempty"`
	LastMessageOn int64             `json:"lastMessageOn,omitempty"`
}

type memberLine struct {
	Kind         string            `json:"kind"`
	Thread       string            `json:"thread"`
	User         string            `json:"user"`
	DisplayName  string            `json:"displayName,omitempty"`
	ShareHistory int64             `json:"shareHistory,omitempty"`
	JoinedOn     int64             `json:"joinedOn,omitempty"`
	Order        uint32            `json:"order,omitempty"`
	Intervals    [][2]uint64       `json:"intervals,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	RoleIDs      []string          `json:"roleIds,omitempty"`
	Left         *leftLine         `json:"left,omitempty"`
}

type leftLine struct {
	On            int64             `json:"on"`
	Sequence      uint64            `json:"sequence"`
	Topic         string            `json:"topic,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	RetentionDays int32             `json:"retentionDays,omitempty"`
}

type answerLine struct {
	Kind          string            `json:"kind"`
	Thread        string            `json:"thread"`
	Topic         string            `json:"topic,omitempty"`
	CreatedBy     string            `json:"createdBy,omitempty"`
	CreatedOn     int64             `json:"createdOn,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	RetentionDays int32             `json:"retentionDays,omitempty"`
	Invalid       []invalidLine     `json:"invalid,omitempty"`
}

type invalidLine struct {
	User    string `json:"user"`
	Code    string `json:"code"`
	Message string `json:"message,omitempty"`
}

type tokenLine struct {
	Kind    string `json:"kind"`
	Thread  string `json:"thread"`
	Caller  string `json:"caller"`
	Token   string `json:"token"`
	Message int64  `json:"message"`
}

type receiptLine struct {
	Kind    string `json:"kind"`
	Thread  string `json:"thread"`
	User    string `json:"user"`
	Message int64  `json:"message"`
	ReadOn  int64  `json:"readOn"`
}

type auditLine struct {
	Kind      string `json:"kind"`
	At        int64  `json:"at"`
	Number    uint64 `json:"number"`
	Refused   bool   `json:"refused,omitempty"`
	Who       string `json:"who,omitempty"`
	SignedIn  string `json:"signedIn"` // how the caller had signed in
	Role      string `json:"role,omitempty"`
	From      string `json:"from,omitempty"`
	Operation string `json:"operation"`
	Target    string `json:"target,omitempty"`
	Outcome   string `json:"outcome"`
	Status    int32  `json:"status,omitempty"`
	Request   string `json:"request,omitempty"`
	Attempts  uint64 `json:"attempts,omitempty"`
}

type eventLine struct {
	Kind     string `json:"kind"`
	Position uint64 `json:"position"`
	Day      uint32 `json:"day"`
	Thread   string `json:"thread,omitempty"`
	Number   uint64 `json:"number"`
	Event    string `json:"event"`
	Message  int64  `json:"message,omitempty"`
	Version  int64  `json:"version,omitempty"`
	Actor    string `json:"actor,omitempty"`
	At       int64  `json:"at,omitempty"`
}
