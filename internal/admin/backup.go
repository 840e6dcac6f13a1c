package admin

import (
	"errors"
	"net/http"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
)

// ErrBackup means that no backup was made. The response shows the text of an error that wraps
// ErrBackup.
var ErrBackup = errors.New("no backup was made")

// ErrExport means that an export failed because the server could not make the backup that the
// export reads. It is used instead of ErrBackup, because the operator did not ask for a backup.
var ErrExport = errors.New("the store was not copied for the export")

// forExport is the value of the query parameter "for" in a request for a backup that is the
// first step of an export.
const forExport = "export"

// ExportQuery is the query string of a request for a backup that is the first step of an export.
// The export is not a field of BackupRequest, because an older server ignores an unknown parameter
// but refuses an unknown field.
const ExportQuery = "?for=" + forExport

// BackupRequest asks the server to write a backup to a folder on its machine. The folder must
// contain only a file named ProofFile with the text Proof. The file proves that the client can
// write to the folder. A client that has only the secret of the TCP listener therefore cannot
// choose a folder of another user.
type BackupRequest struct {
	To    string `json:"to"` // an absolute path
	Proof string `json:"proof"`
	// WithoutCAKey leaves the key of the local certificate authority out of the backup.
	WithoutCAKey bool `json:"withoutCAKey,omitempty"`
	// Export means that the backup is the first step of an export. The server sets it from the
	// query string; it is not in the JSON.
	Export bool `json:"-"`
}

// ProofFile is the name of the file that contains BackupRequest.Proof, in the folder for the
// backup.
const ProofFile = ".confab-backup"

// Backup describes a finished backup.
type Backup struct {
	Folder   string `json:"folder"`
	Made     string `json:"made"`    // when the backup was made, in UTC
	Version  string `json:"version"` // version of Confab
	Resource string `json:"resource"`
	// Epoch and Position name the end of the event log. Epoch, Position and Rows were read from the
	// files of the finished backup.
	Epoch    string      `json:"epoch"`
	Position uint64      `json:"position"`
	Rows     core.Counts `json:"rows"`
}

// backup handles the request for a backup: it writes the backup to the folder that the request
// names.
func (h *Handler) backup(c *call) (any, error) {
	var req BackupRequest
	if err := c.decode(&req, false, "to, proof and withoutCAKey"); err != nil {
		return nil, err
	}
	c.target = req.To
	done := "backup made"
	switch what := c.query.Get("for"); what {
	case "":
	case forExport:
		req.Export, done = true, "store copied for an export"
	default:
		return nil, refuse(http.StatusBadRequest, codeParameter, "the parameter for is %s or missing, and %q is neither", forExport, clip.Text(what, maxEcho))
	}
	// Remove the write deadline: a backup to another disk copies all files, which may take
	// longer than the server's write timeout.
	if err := http.NewResponseController(c.w).SetWriteDeadline(time.Time{}); err != nil {
		return nil, err
	}
	b, err := h.MakeBackup(c.Context(), req)
	if err != nil {
		return nil, err
	}
	h.Logger.Info(done, "folder", b.Folder)
	return b, nil
}
