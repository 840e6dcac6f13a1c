package chat

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// TestModelsKeep decodes JSON into each model and encodes it again. No member of the JSON may be
// lost. It uses values that occur in no recorded traffic.
func TestModelsKeep(t *testing.T) {
	const alice = `{"rawId":"8:acs:a_b","communicationUser":{"id":"8:acs:a_b"}}`
	for _, test := range []struct {
		name  string
		model func() any
		text  string
	}{
		{"deleted message", of[Message], `{"id":"1","type":"text","sequenceId":"9","version":"2","content":{"message":""},"senderDisplayName":"","createdOn":"2022-05-26T07:59:32Z","senderCommunicationIdentifier":` + alice + `,"deletedOn":"2022-05-26T07:59:33Z"}`},
		{"no attachments", of[Message], `{"id":"1","type":"html","sequenceId":"9","version":"2","content":{"message":"<b>","attachments":[]},"createdOn":"2022-05-26T07:59:32Z"}`},
		{"attachments", of[Message], `{"id":"1","type":"text","sequenceId":"9","version":"2","content":{"message":"","attachments":[{"id":"a","attachmentType":"image","name":"n","url":"u","previewUrl":"p"},{"id":"b","attachmentType":"hologram"}]},"createdOn":"2022-05-26T07:59:32Z"}`},
		{"unknown message type", of[Message], `{"id":"1","type":"poll","sequenceId":"9","version":"2","createdOn":"2022-05-26T07:59:32Z"}`},
		{"unknown message type with a text", of[Message], `{"id":"1","type":"poll","sequenceId":"9","version":"2","content":{"message":"?"},"createdOn":"2022-05-26T07:59:32Z"}`},
		{"unknown identifier", of[ReadReceipt], `{"senderCommunicationIdentifier":{"rawId":"99:future:x"},"chatMessageId":"1","readOn":"2022-05-26T07:59:32Z"}`},
		{"empty metadata", of[ThreadProperties], `{"id":"1","topic":"","createdOn":"2022-05-26T07:59:32Z","createdByCommunicationIdentifier":` + alice + `,"metadata":{}}`},
		{"retention", of[ThreadProperties], `{"id":"1","topic":"","createdOn":"2022-05-26T07:59:32Z","createdByCommunicationIdentifier":` + alice + `,"retentionPolicy":{"kind":"threadCreationDate","deleteThreadAfterDays":60}}`},
		{"no days", of[RetentionPolicy], `{"kind":"threadCreationDate","deleteThreadAfterDays":0}`},
		{"no retention", of[RetentionPolicy], `{"kind":"none"}`},
		{"unknown retention", of[RetentionPolicy], `{"kind":"lunarEclipse"}`},
		{"refusals", of[CreateThreadResult], `{"chatThread":{"id":"1","topic":"","createdOn":"2022-05-26T07:59:32Z","createdByCommunicationIdentifier":` + alice + `},"invalidParticipants":[{"target":"8:acs:a_b","code":"403","message":"m"}]}`},
		{"deleted thread", of[ThreadItem], `{"id":"1","topic":"t","deletedOn":"2021-09-07T19:57:03Z","lastMessageReceivedOn":"2021-09-07T19:57:03Z"}`},
		{"bare thread", of[ThreadItem], `{"id":"1","topic":"t"}`},
		{"participant", of[Participant], `{"communicationIdentifier":` + alice + `,"displayName":"A","shareHistoryTime":"1970-01-01T00:00:00Z","metadata":{"k":""}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			roundTrip(t, test.name, test.model, json.RawMessage(test.text))
		})
	}
}

// TestModelsBear decodes invalid values, which no correct service sends. Decoding must succeed or
// return an error, and must not panic.
func TestModelsBear(t *testing.T) {
	for operation, model := range models {
		for _, text := range []string{
			`null`, `{}`, `[]`, `"x"`, `5`, `true`, `{"id":null,"value":null,"chatThread":null,"invalidParticipants":null}`,
			`{"value":[null,{},{"id":5}]}`, `{"content":null,"createdOn":null,"senderCommunicationIdentifier":null,"metadata":null}`,
			`{"content":{"participants":[null],"attachments":[null],"initiatorCommunicationIdentifier":null}}`,
			`{"createdOn":"yesterday"}`, `{"metadata":{"k":5}}`, `{"invalidParticipants":[null,{"target":null}]}`,
			`{"retentionPolicy":{"kind":null,"deleteThreadAfterDays":null}}`, `{"retentionPolicy":{"deleteThreadAfterDays":1e99}}`,
		} {
			for _, m := range model {
				if m == nil {
					continue
				}
				v := m()
				if json.Unmarshal([]byte(text), v) != nil {
					continue
				}
				if _, err := json.Marshal(v); err != nil {
					t.Errorf("%s: %s decodes and does not encode: %v", operation, text, err)
				}
			}
		}
	}
}

func TestTimesAreWholeSecondsInUTC(t *testing.T) {
	at := time.Date(2022, 5, 26, 9, 59, 32, 987654321, time.FixedZone("", 2*60*60))
	text, err := json.Marshal([]any{
		Participant{Identifier: communication.NewUser("8:acs:a_b"), ShareHistoryTime: at},
		Message{CreatedOn: at, EditedOn: at},
		ThreadProperties{CreatedOn: at}, ThreadItem{DeletedOn: at}, ReadReceipt{ReadOn: at},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(text), `"2022-05-26T07:59:32Z"`); got != 6 {
		t.Errorf("%d times in whole seconds, want 6: %s", got, text)
	}
}

func TestRetentionKindFollowsFromDays(t *testing.T) {
	text, err := json.Marshal(createThreadRequest{Topic: "t", RetentionPolicy: RetentionPolicy{DeleteThreadAfterDays: 60}})
	if got, want := string(text), `{"topic":"t","retentionPolicy":{"kind":"threadCreationDate","deleteThreadAfterDays":60}}`; got != want || err != nil {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

// FuzzModels decodes arbitrary input into every model. If decoding succeeds, encoding must succeed,
// and decoding the encoded text must return the same value.
func FuzzModels(f *testing.F) {
	f.Add([]byte(`{"value":[{"id":"1","type":"text","content":{"message":"","attachments":[{}]},"createdOn":"2022-05-26T07:59:32Z"}],"nextLink":"x"}`))
	f.Add([]byte(`{"chatThread":{"id":"1","retentionPolicy":{"kind":"none"}},"invalidParticipants":[{"target":"8:acs:a_b"}]}`))
	f.Add([]byte(`{"value":[{"communicationIdentifier":{"phoneNumber":{"value":"1_2"}},"shareHistoryTime":"9999-12-31T23:59:59.9+23:59"}]}`))
	f.Add([]byte(`{"createdOn":"0000-01-01T00:00:00+23:59","metadata":{"a":null}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for operation, model := range models {
			for _, m := range model {
				if m == nil {
					continue
				}
				first := m()
				if json.Unmarshal(text, first) != nil {
					continue
				}
				once, err := json.Marshal(first)
				if err != nil {
					// JSON cannot hold a year after 9999, and converting a time to UTC may move it
					// into the year 10000. Ignore this error.
					if strings.Contains(err.Error(), "year outside of range") {
						continue
					}
					t.Fatalf("%s: %s does not encode: %v", operation, text, err)
				}
				second := m()
				if err := json.Unmarshal(once, second); err != nil {
					t.Fatalf("%s: %s became %s, which does not decode: %v", operation, text, once, err)
				}
				twice, err := json.Marshal(second)
				if err != nil || !reflect.DeepEqual(value(t, once), value(t, twice)) {
					t.Fatalf("%s: %s became %s, then %s, %v", operation, text, once, twice, err)
				}
			}
		}
	})
}
