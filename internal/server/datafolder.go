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

// NotOursError means that a folder named as the data folder holds files that are not a server's.
// If a server made a new store there, nobody would notice that the folder is the wrong one.
type NotOursError struct {
	Path string
	Has  []string // names of up to three files or folders in it
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

// foreign returns the names of up to three files or folders that are not a server's, from a data
// folder that has no server's data. It returns nil if the folder has a server's data. It ignores
// what may be there before the first start: the lost+found of a file system, hidden files, such
// as those of a home folder, a confab.yaml and other files that the settings name. If chats are
// in a database and the certificate is the user's own, the server leaves nothing in the folder,
// so foreign ignores everything.
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
			return nil, nil // a server has run here
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
	runtimeName = "server.json" // package main writes this file, which describes the running server
	lostFound   = "lost+found"  // a folder at the root of a file system
)

// checkPlace fails with *NoParentError if neither the data folder nor its parent folder exists:
// a mistyped path must not become a new server. It does not check the default folder, because a
// development server creates that with its parents.
func checkPlace(c config.Config) error {
	if c.InMemory() || c.Data == "" || !c.Explicit("data") {
		return nil
	}
	if _, err := os.Stat(c.Data); !errors.Is(err, fs.ErrNotExist) {
		return nil // the folder exists; other errors appear when the server uses it
	}
	if _, err := os.Stat(filepath.Dir(c.Data)); errors.Is(err, fs.ErrNotExist) {
		return &NoParentError{Path: c.Data}
	}
	return nil
}
