package wire

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func protocol(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/protocol.md")
	require.NoError(t, err)
	return string(doc)
}

var vector = regexp.MustCompile("(?m)^\\| `(\".*\")`.*? \\| `(.*)` \\| ([0-9]+) \\|$")

// Those who write a client in another language test it on the vectors of docs/protocol.md; so do we.
func TestTheProtocolsVectors(t *testing.T) {
	t.Parallel()
	rows := vector.FindAllStringSubmatch(protocol(t), -1)
	require.Len(t, rows, 8)
	for _, row := range rows {
		var id string
		require.NoError(t, json.Unmarshal([]byte(row[1]), &id), "%s", row[1])
		require.Equal(t, row[2], Token(id))
		require.Equal(t, row[3], strconv.Itoa(Partition(DefaultNamespace, id, 8)))
	}
}

// Every code of poison is explained to those who find it on a dead letter.
func TestTheProtocolExplainsEveryCode(t *testing.T) {
	t.Parallel()
	for _, code := range Codes() {
		require.Contains(t, protocol(t), "| `"+code+"` | ")
	}
	require.Contains(t, protocol(t), "`"+RejectedDuplicate+"`")
	require.Contains(t, protocol(t), "`"+RejectedUnknown+"`")
}

// Every body that the protocol shows is one that persistd takes.
func TestTheProtocolsBodiesAreGood(t *testing.T) {
	t.Parallel()
	doc := protocol(t)
	written := regexp.MustCompile(`persistd\.write\.default\.(run|checkpoint|attempt)\.(\S+) '(.*)'`).FindAllStringSubmatch(doc, -1)
	require.Len(t, written, 4)
	for _, m := range written {
		ev := subjects.Decode(Message{Subject: "persistd.log.0.default." + m[1] + "." + m[2], Body: []byte(m[3])})
		require.Nil(t, ev.Poison, m[3])
	}
	_, bodies, _ := strings.Cut(doc, "\n## Bodies\n")
	bodies, _, _ = strings.Cut(bodies, "\n## ")
	shown := jsonBlock.FindAllStringSubmatch(bodies, -1)
	require.Len(t, shown, 2)
	for _, m := range shown {
		require.Nil(t, subjects.Decode(logged(m[1])).Poison, m[1])
	}
	requireDocumented(t, doc, memberNames[:])
}

// requireDocumented is what require.Contains is, without showing the whole document.
func requireDocumented(t *testing.T, doc string, names []string) {
	t.Helper()
	for _, name := range names {
		if !strings.Contains(doc, "`"+name+"`") && !strings.Contains(doc, `"`+name+`"`) {
			t.Errorf("%s is not documented", name)
		}
	}
}

var jsonBlock = regexp.MustCompile("(?s)```json\n *(.*?)\n *```")

// Every verb is shown with a request and a reply, of members that there are; and there are no others.
func TestTheProtocolShowsEveryVerb(t *testing.T) {
	t.Parallel()
	type latest struct {
		LatestReply
		State json.RawMessage `json:"state"`
	}
	doc := protocol(t)
	for verb, types := range map[string][2]any{
		VerbLatest: {&LatestRequest{}, &latest{}}, VerbCommitted: {&CommittedRequest{}, nil}, VerbCheckpoint: {&CheckpointRequest{}, &CheckpointReply{}},
		VerbCheckpointV2: {&V2Request{}, &V2Reply{}}, VerbCheckpointsV2: {&V2ListRequest{}, &V2ListReply{}},
		VerbIdempotency: {&IdempotencyRequest{}, &IdempotencyReply{}}, VerbSteps: {&StepsRequest{}, &StepsReply{}}, VerbWatch: {&WatchRequest{}, &WatchReply{}},
		VerbRuns: {&RunsRequest{}, &RunsReply{}}, VerbAttempt: {&AttemptRequest{}, &AttemptReply{}}, VerbEvents: {&EventsRequest{}, &EventsReply{}},
		VerbEmitted: {&EmittedRequest{}, &EmittedReply{}},
	} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			requireDocumented(t, doc, append(jsonNames(reflect.TypeOf(types[0])), verb))
			requireDocumented(t, doc, jsonNames(reflect.TypeOf(types[1])))
			asked := regexp.MustCompile("(?s)persistd\\.read\\.default\\."+verb+` '([^']*)'(?: \| zstd -d)?\n *`+"```\n\n *(```json\n *(.*?)\n *```)?").FindAllStringSubmatch(doc, -1)
			require.NotEmpty(t, asked)
			replies := 0
			for _, m := range asked {
				requireMembers(t, m[1], types[0])
				if m[3] != "" && types[1] != nil {
					replies++
					requireMembers(t, m[3], types[1])
				}
			}
			require.Equal(t, types[1] != nil, replies > 0)
		})
	}
}

func requireMembers(t *testing.T, text string, v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(v), text)
}

// jsonNames are the members of a struct, and of the structs in it.
func jsonNames(typ reflect.Type) (names []string) {
	if typ == nil {
		return nil
	}
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() {
		return nil
	}
	for field := range typ.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
		names = append(names, jsonNames(field.Type)...)
	}
	return names
}
