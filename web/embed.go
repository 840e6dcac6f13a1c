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

// Chat returns the files of the chat page: index.html, and below assets/chat/ the files that the
// page loads. The names of these files contain a hash of their content.
func Chat() fs.FS { return sub("dist/chat") }

// Console returns the files of the operator's console: index.html, and below assets/console/ the
// files that the page loads. The names of these files contain a hash of their content.
func Console() fs.FS { return sub("dist/console") }

// sub returns the files below a folder of the built pages, which the program embeds.
func sub(folder string) fs.FS {
	files, err := fs.Sub(dist, folder)
	if err != nil {
		panic(err) // Sub fails only if folder is not a valid path
	}
	return files
}
