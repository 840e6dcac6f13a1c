// Package web contains the built web pages: the chat page and the operator's console. Their
// sources, in TypeScript, are in this folder. `make web-build` builds them into dist, which is
// committed so that a build of Confab needs no Node.js.
package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist/chat all:dist/console
var dist embed.FS

// Chat returns the files of the chat page: index.html, and below assets/chat/ the files that it
// loads, whose names contain a hash of their content.
func Chat() fs.FS { return sub("dist/chat") }

// Console returns the files of the operator's console: index.html, and below assets/console/ the
// files that it loads, whose names contain a hash of their content.
func Console() fs.FS { return sub("dist/console") }

// sub returns the embedded files below a folder.
func sub(folder string) fs.FS {
	files, err := fs.Sub(dist, folder)
	if err != nil {
		panic(err) // a folder that is not a valid path
	}
	return files
}
