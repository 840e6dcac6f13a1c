package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/localca"
)

// NotOursError means that the folder in the setting data holds files of other programs. The server
// refuses such a folder, because it may be the wrong one and nobody would notice if the server
// made a new store in it.
type NotOursError struct {
	Path string
	Has  []string // names of up to three files or folders in the folder Path
}

// Error returns a message that names the folder and some of the files in it.
func (e *NotOursError) Error() string {
	return fmt.Sprintf("%s is not a data folder: it holds %s, and no server's data", e.Path, strings.Join(e.Has, ", "))
}

// NoParentError means that neither the data folder nor its parent folder exists. The server then
// does not create the data folder.
type NoParentError struct{ Path string }

// Error returns a message that names the data folder and its parent folder.
func (e *NoParentError) Error() string {
	return fmt.Sprintf("the data folder %s is not made, because there is no folder %s", e.Path, filepath.Dir(e.Path))
}

// foreign returns the names of up to three files or folders of other programs in a data folder. It
// returns nil if the folder contains data of a server. It ignores files that may exist before the
// first start: the lost+found of a file system, hidden files, such as in a home folder, a
// confab.yaml and other files that the settings name. If chats are in a database and the
// certificate is the user's own, a server leaves nothing in the folder by which it could be
// recognized, so foreign then returns nil.
func foreign(c config.Config) ([]string, error) {
	if c.Database != "" && c.TLSCert != "" {
		return nil, nil
	}
	entries, err := os.ReadDir(c.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var strange []string
	named := c.Files()
	for _, e := range entries {
		switch name := e.Name(); {
		case name == storeName, name == runtimeName, name == socketName:
			return nil, nil // accept the folder, because a server has used it before
		case name == tlsName:
			ours, err := localca.Only(filepath.Join(c.Data, name))
			if err != nil {
				return nil, err
			}
			if !ours {
				strange = append(strange, name)
			}
		case name == lostFound, name == config.FileName, strings.HasPrefix(name, "."), slices.Contains(named, filepath.Join(c.Data, name)):
		default:
			strange = append(strange, name)
		}
	}
	return strange[:min(len(strange), 3)], nil
}

// CheckData fails if a server must not use the data folder of the settings: with
// *UnfinishedError, *IsBackupError, *NotOursError or *NoParentError. It changes nothing.
func CheckData(c config.Config) error {
	if err := checkPlace(c); err != nil {
		return err
	}
	return checkData(c)
}

// Names of files in a data folder that belong neither to the store nor to the certificate
// authority.
const (
	runtimeName = "server.json" // name of the file in which package main describes the running server
	lostFound   = "lost+found"  // name of a folder that many file systems have at their root
)

// checkPlace fails with *NoParentError if neither the data folder nor its parent folder exists,
// because a server must not create a new store at a mistyped path. It does not check the default
// folder, which a development server creates with its parents.
func checkPlace(c config.Config) error {
	if c.InMemory() || c.Data == "" || !c.Explicit("data") {
		return nil
	}
	if _, err := os.Stat(c.Data); !errors.Is(err, fs.ErrNotExist) {
		return nil // accept the folder if it exists; any other error will appear when the server uses the folder
	}
	if _, err := os.Stat(filepath.Dir(c.Data)); errors.Is(err, fs.ErrNotExist) {
		return &NoParentError{Path: c.Data}
	}
	return nil
}
