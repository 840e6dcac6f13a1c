package rest

// noImages handles the requests that upload, get and delete an image. It always fails with a 501,
// because this server stores no images: only previews of the contract had these routes, for
// meetings of Microsoft Teams.
func (h *Handler) noImages(*request) (any, error) {
	return nil, notServed("This server stores no images. Send a link to the image instead.")
}
