package apiver

// Feature is the name of a part of the contract that only some api-versions have, such as "thread
// metadata". Routes, formats and the in tags of wire fields name their feature. The empty Feature
// is the part that all versions have.
type Feature string

// history says in which api-versions each feature exists. It has one row for each change of the
// contract (docs/contract/api-versions.md §10). Previews branched off the stable versions, so a
// feature may exist in an older and a newer version but not between them.
var history = map[*List]map[Feature][]Span{
	Chat: {
		// The oldest version has other routes and bodies than all later versions.
		"thread members":      {{Until: "2020-11-01-preview3"}},
		"thread participants": {{Since: "2020-11-01-preview3"}},

		// Identifiers
		"flat ids":              {{Until: "2021-01-27-preview4"}}, // users are strings, such as senderId
		"identifier models":     {{Since: "2021-01-27-preview4"}}, // users are CommunicationIdentifierModel
		"kinds":                 {{Since: "2023-07-01-preview"}},  // identifiers have the member kind
		"Teams apps":            {{Since: "2024-03-07"}},
		"Teams extension users": {{Since: "2025-03-15"}},
		"phone details":         {{Since: "2025-03-15"}}, // isAnonymous and assertedId

		// Threads and participants
		"participants by id": {{Since: "2020-11-01-preview3", Until: "2021-01-27-preview4"}}, // in these versions, the path of a request that removes a participant has the participant's id
		// The request header with the idempotency token is named idempotency-token.
		"idempotency-token": {{Since: "2021-03-01-preview5", Until: "2021-03-07"}},
		// The request header with the idempotency token is named repeatability-request-id.
		"repeatability-request-id": {{Since: "2020-11-01-preview3", Until: "2021-03-01-preview5"}, {Since: "2021-03-07"}},
		"errors object":            {{Since: "2020-11-01-preview3", Until: "2021-03-01-preview5"}}, // refused participants are in errors.invalidParticipants
		"invalid participants":     {{Since: "2021-03-01-preview5"}},                               // refused participants are in invalidParticipants
		"thread metadata": { // metadata of threads and of participants
			{Since: "2023-07-01-preview", Until: "2023-11-07"},
			{Since: "2023-11-15-preview", Until: "2024-03-07"},
			{Since: "2024-03-15-preview"},
		},
		// These versions have roles of participants, and a route that updates a participant.
		"roles":              {{Since: "2021-10-01-preview7", Until: "2023-04-01-preview"}},
		"retention":          {{Since: "2024-03-15-preview"}},
		"messaging policies": {{Since: "2024-06-05-preview", Until: "2025-03-15"}},

		// Messages
		"message metadata": {{Since: "2021-04-05-preview6"}},
		// In these versions, a typing notification has a body with the sender's name.
		"typing names":  {{Since: "2021-04-05-preview6"}},
		"attachments":   {{Since: "2023-04-01-preview"}},
		"content types": {{Since: "2023-04-01-preview", Until: "2023-11-07"}}, // attachments have a content type
		// These versions have routes for images, and requests that send or edit a message may have
		// attachments.
		"images":            {{Since: "2024-03-15-preview", Until: "2025-03-15"}},
		"policy violations": {{Since: "2024-06-05-preview", Until: "2025-03-15"}},

		// Errors
		// In these versions, a request for a thread that does not exist gets the same 403 as a
		// request of a user who is not in the thread.
		"hidden threads": {{Since: "2020-11-01-preview3", Until: "2021-01-27-preview4"}},
		// In these versions, the body of an error is the error itself, without a JSON member around
		// it.
		"flat errors": {{Until: "2020-11-01-preview3"}},
		// The JSON member around an error is named Error instead of error.
		"Error bodies":              {{Since: "2020-11-01-preview3", Until: "2021-03-01-preview5"}},
		"ChatError bodies":          {{Since: "2021-03-01-preview5", Until: "2021-03-07"}},
		"CommunicationError bodies": {{Since: "2021-03-07"}},
	},
	Identity: {
		// these versions have the routes and bodies of Microsoft's administration packages
		"flat identities":   {{Until: "2021-02-22-preview1"}},
		"nested identities": {{Since: "2021-02-22-preview1"}},
		// In these versions, a request that exchanges a Teams token has only the token in its body.
		"Teams tokens":   {{Since: "2021-03-31-preview1", Until: "2022-06-01"}},
		"Teams exchange": {{Since: "2022-06-01"}},
		"token lifetime": {{Since: "2022-10-01"}}, // the field expiresInMinutes
		"custom ids":     {{Since: "2025-03-02-preview", Until: "2025-06-30"}},
		"Entra access":   {{Since: "2025-03-02-preview", Until: "2025-06-30"}},
		"Teams Phone":    {{Since: "2025-03-02-preview"}},
	},
}

// spans holds the version ranges of every feature, collected from history.
var spans = func() map[Feature][]Span {
	all := map[Feature][]Span{"": {{}}}
	for _, features := range history {
		for name, s := range features {
			if all[name] != nil {
				panic("apiver: history has two rows for " + name)
			}
			all[name] = s
		}
	}
	return all
}()

// Has reports whether the version has the feature. It panics if history has no row for f.
func (f Feature) Has(v Version) bool {
	in, ok := spans[f]
	if !ok {
		panic("apiver: history has no row for " + f)
	}
	for _, s := range in {
		if s.Has(v) {
			return true
		}
	}
	return false
}

// Features returns the names of all features of the API, in no order.
func (l *List) Features() []Feature {
	var names []Feature
	for name := range history[l] {
		names = append(names, name)
	}
	return names
}
